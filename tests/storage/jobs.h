#ifndef RAFTKV_TESTS_STORAGE_JOBS_H_
#define RAFTKV_TESTS_STORAGE_JOBS_H_

// Work done by a process of its own that then ends as if killed: no destructor, nothing closed or
// flushed. (RocksDB has threads, so a plain fork cannot use it: the test binary starts itself
// anew.)

#include <string>

namespace raftkv {

// Runs the job `name` on `path` in a child; its wait status.
int RunJob(const std::string& name, const std::string& path);

// The same for a job that must get as far as killing itself with SIGKILL (CHECKed).
void RunJobAndKill(const std::string& name, const std::string& path);

// The child's side; never returns.
[[noreturn]] void JobMain(const std::string& name, const std::string& path);

}  // namespace raftkv

#endif  // RAFTKV_TESTS_STORAGE_JOBS_H_
