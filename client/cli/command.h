// Runs a command for `watch` and `lock`, and handles the signals that end `lock` and `elect`.
#ifndef RAFTKV_CLIENT_CLI_COMMAND_H_
#define RAFTKV_CLIENT_CLI_COMMAND_H_

#include <signal.h>
#include <sys/types.h>

#include <array>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace raftkv::client {

// A child process that has the standard output and error of this one. One thread calls Run; the
// other calls may come from any thread at any time.
class Command {
 public:
  struct Options {
    std::vector<std::string> argv;         // argv[0] is looked up in PATH
    std::vector<std::string> environment;  // NAME=VALUE, besides the variables of this process
    bool reads_input = false;              // false: its standard input is /dev/null
    bool ends_with_us = false;  // the kernel sends it SIGTERM when the thread that runs it ends
    // It leads a process group of its own: signals reach the processes that it starts, too. Not for
    // a command that reads a terminal, which would stop a group in the background.
    bool own_group = false;
  };
  explicit Command(Options options) : options_(std::move(options)) {}

  // Runs it to its end. Returns its exit code: 128 + N if signal N ended it, as shells do. Error:
  // it could not be started. Call it once.
  absl::StatusOr<int> Run();
  // Sends a signal to it or its group, at once or when it starts. Does nothing after its end.
  void Signal(int number);
  bool own_group() const { return options_.own_group; }
  // Sends SIGTERM, waits for its end, and sends SIGKILL after `grace`.
  void Stop(absl::Duration grace);

 private:
  pid_t target() const { return options_.own_group ? -pid_ : pid_; }  // of kill
  enum class State { kNotStarted, kRuns, kEnded };

  absl::Status Start();

  const Options options_;
  std::mutex mutex_;  // guards what follows. Not absl::Mutex, whose waits depend on the wall clock
  std::condition_variable ended_;
  State state_ = State::kNotStarted;
  pid_t pid_ = 0;
  int pending_ = 0;  // a signal that came before it was started
};

// While it exists, the first SIGINT, SIGTERM and SIGHUP do not end the process: `on_signal` is
// called instead, from a thread. A second one of the same kind ends the process. A signal that is
// ignored stays ignored. At most one Interrupts may exist.
class Interrupts {
 public:
  explicit Interrupts(std::function<void(int number)> on_signal);
  ~Interrupts();
  Interrupts(const Interrupts&) = delete;
  Interrupts& operator=(const Interrupts&) = delete;

 private:
  static constexpr std::array<int, 3> kSignals = {SIGINT, SIGTERM, SIGHUP};

  std::array<struct sigaction, kSignals.size()> before_ = {};
  std::thread thread_;
};

}  // namespace raftkv::client

#endif  // RAFTKV_CLIENT_CLI_COMMAND_H_
