// The exit codes of raftkv-server, for every thread that ends the process. README, "The server",
// explains them.
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
