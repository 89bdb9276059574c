#ifndef RAFTKV_TESTS_STORAGE_JOBS_H_
#define RAFTKV_TESTS_STORAGE_JOBS_H_

// Jobs that run in a child process, which then ends as if it was killed: no destructor runs,
// nothing is closed or flushed. RocksDB has threads, so a forked process cannot use it; the child
// is a new start of the test binary.

#include <string>

namespace raftkv {

// Runs the job `name` on `path` in a child process. Returns its wait status.
int RunJob(const std::string& name, const std::string& path);

// Likewise, and CHECKs that the job ended by killing itself with SIGKILL.
void RunJobAndKill(const std::string& name, const std::string& path);

// Runs the job in the child process. Never returns.
[[noreturn]] void JobMain(const std::string& name, const std::string& path);

}  // namespace raftkv

#endif  // RAFTKV_TESTS_STORAGE_JOBS_H_
