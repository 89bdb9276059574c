#ifndef RAFTKV_TESTS_E2E_PROCESS_H_
#define RAFTKV_TESTS_E2E_PROCESS_H_

// One child process with its output in a file, for tests on real processes.
//
// A child never outlives its test: the kernel kills it when the thread that started it ends (so
// start children from the test's own thread), and the destructor kills it when the test leaves the
// scope. Waiting is polling with a deadline; nothing here sleeps for a fixed time.

#include <sys/types.h>

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"

namespace raftkv::e2e {

// Polls `condition` until it holds; false when `timeout` passes first.
bool Eventually(absl::Duration timeout, const std::function<bool()>& condition);

struct Command {
  std::vector<std::string> argv;                        // argv[0] is a path, or is found on PATH
  std::map<std::string, std::string> environment = {};  // added to our own
  std::string directory = "";                           // to run in; empty: ours
  std::string input_file = "/dev/null";                 // its standard input
};

class Process {
 public:
  // Output of both kinds is appended to `output_file`.
  Process(const Command& command, const std::string& output_file);
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  pid_t pid() const { return pid_; }
  bool Running();
  void Signal(int signal);
  void Kill();  // SIGKILL, and waits for the end

  // The exit code, 128 + N if signal N ended it, or nullopt if it still runs after `timeout`.
  std::optional<int> Wait(absl::Duration timeout);

 private:
  bool Reap(int options);

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

// A fresh directory under the system's temporary one, removed with all it holds. With
// kKeepOnFailure it stays for the reader when the test has failed, and its name is printed.
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

// Ports that nobody listens on, different at each call. They lie below the range from which the
// kernel takes the ports of outgoing connections, so a stopped member finds its own free again.
std::vector<int> FreePorts(int count);

}  // namespace raftkv::e2e

#endif  // RAFTKV_TESTS_E2E_PROCESS_H_
