#ifndef RAFTKV_TESTS_E2E_PROCESS_H_
#define RAFTKV_TESTS_E2E_PROCESS_H_

// A child process with its output in a file, for tests with real processes.
//
// A child never outlives its test. The destructor kills it. The kernel also kills it when the
// thread that started it ends, so start children from the test's own thread. All waiting is polling
// with a deadline; nothing here sleeps for a fixed time.

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"

namespace raftkv::e2e {

// Polls `condition` until it holds; false when `timeout` passes first.
bool Eventually(absl::Duration timeout, const std::function<bool()>& condition);
int64_t NowNanoseconds();  // of a monotonic clock

struct Command {
  std::vector<std::string> argv;                        // argv[0] is a path, or is found on PATH
  std::map<std::string, std::string> environment = {};  // added to that of this process
  std::string directory = "";                           // working directory; empty: this process's
  std::string input_file = "/dev/null";                 // its standard input
};

// The exit code of a program in which a sanitizer has reported an error (.ci/sanitize).
inline constexpr int kSanitizerExit = 99;

// If the child ends with kSanitizerExit, the test fails, also if the test was about to kill it.
class Process {
 public:
  // Appends standard output and standard error to `output_file`.
  Process(const Command& command, const std::string& output_file);
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  pid_t pid() const { return pid_; }
  bool Running();
  void Signal(int signal);
  void Pause();  // SIGSTOP, and waits until all its threads have stopped
  void Kill();   // SIGKILL, and waits for the end

  // The exit code, 128 + N if signal N ended it, or nullopt if it still runs after `timeout`.
  std::optional<int> Wait(absl::Duration timeout);

 private:
  bool Reap(int options);

  const std::string output_file_;
  pid_t pid_ = -1;
  std::optional<int> exit_code_;
};

struct Finished {
  int exit_code = 0;  // -1: it did not end in time and was killed
  std::string out;
  std::string err;
};

// Runs a command to its end.
Finished RunToEnd(const Command& command, absl::Duration timeout = absl::Seconds(20));

std::string ReadFile(const std::string& path);
void WriteFile(const std::string& path, const std::string& content);

// A new directory below the system's temporary directory. The destructor removes it. With
// kKeepOnFailure, it is kept and its name is printed if the test has failed.
class TempDir {
 public:
  enum class Policy { kRemove, kKeepOnFailure };
  explicit TempDir(Policy policy = Policy::kRemove);
  ~TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  const std::string& path() const { return path_; }

 private:
  const Policy policy_;
  std::string path_;
};

// Ports on which no process listens, different at each call. They are below the range from which
// the kernel takes the ports of outgoing connections, so the port of a stopped member stays free.
std::vector<int> FreePorts(int count);

}  // namespace raftkv::e2e

#endif  // RAFTKV_TESTS_E2E_PROCESS_H_
