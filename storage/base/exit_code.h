// The exit codes of raftkv-server. Whatever thread finds that the process cannot go on takes its
// code from here. README, "Configuration", lists them for operators.
#ifndef RAFTKV_STORAGE_BASE_EXIT_CODE_H_
#define RAFTKV_STORAGE_BASE_EXIT_CODE_H_

namespace raftkv {

enum ExitCode : int {
  kExitStopped = 0,   // asked to stop, or removed from the cluster
  kExitFailed = 1,    // an internal error, a full disk at the start, or a stop that hung
  kExitBadInput = 2,  // a bad configuration, flag or data directory
  kExitDamaged = 66,  // damaged data, or a data directory that was removed
};

}  // namespace raftkv

#endif  // RAFTKV_STORAGE_BASE_EXIT_CODE_H_
