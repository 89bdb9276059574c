#include "client/cli/command.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace raftkv::client {
namespace {

std::vector<char*> Pointers(const std::vector<std::string>& words) {
  std::vector<char*> pointers;
  for (const std::string& word : words) pointers.push_back(const_cast<char*>(word.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

// The variables of this process, except for those that `added` replaces, and `added`.
std::vector<std::string> Environment(const std::vector<std::string>& added) {
  std::vector<std::string> all = added;
  for (char** variable = environ; *variable != nullptr; ++variable) {
    const std::string_view text = *variable;
    const std::string_view name = text.substr(0, text.find('=') + 1);
    bool replaced = false;
    for (const std::string& each : added) replaced = replaced || each.starts_with(name);
    if (!replaced) all.emplace_back(text);
  }
  return all;
}

// The write end of the pipe to the thread of Interrupts.
int signal_pipe = -1;

void OnSignal(int number) {
  const int error = errno;
  const char byte = static_cast<char>(number);
  (void)!write(signal_pipe, &byte, 1);
  errno = error;
}

}  // namespace

// Between fork and exec, only functions that are safe in a signal handler may be called, because
// other threads may have held locks. So all memory is prepared before.
absl::Status Command::Start() {
  const std::vector<std::string> variables = Environment(options_.environment);
  const std::vector<char*> argv = Pointers(options_.argv), env = Pointers(variables);
  int failure[2];  // closed by exec; otherwise it gets errno
  if (pipe2(failure, O_CLOEXEC) != 0) return absl::ErrnoToStatus(errno, "pipe");
  const int input = options_.reads_input ? -1 : open("/dev/null", O_RDONLY | O_CLOEXEC);
  const pid_t parent = getpid();
  const pid_t child = fork();
  if (child == 0) {
    if (options_.own_group) setpgid(0, 0);
    if (input >= 0) dup2(input, STDIN_FILENO);
    if (options_.ends_with_us) {
      prctl(PR_SET_PDEATHSIG, SIGTERM);
      if (getppid() != parent) _exit(127);
    }
    execvpe(argv[0], argv.data(), env.data());
    const int error = errno;
    (void)!write(failure[1], &error, sizeof error);
    _exit(127);
  }
  const int fork_error = errno;
  close(failure[1]);
  if (input >= 0) close(input);
  int error = 0;
  if (child < 0) {
    error = fork_error;
  } else if (read(failure[0], &error, sizeof error) > 0) {
    waitpid(child, nullptr, 0);
  }
  close(failure[0]);
  if (error != 0) {
    return absl::ErrnoToStatus(error, absl::StrCat("cannot run \"", options_.argv[0], "\""));
  }
  pid_ = child;
  return absl::OkStatus();
}

absl::StatusOr<int> Command::Run() {
  {
    std::lock_guard lock(mutex_);
    const absl::Status started = Start();
    state_ = started.ok() ? State::kRuns : State::kEnded;
    if (!started.ok()) return started;
    if (pending_ != 0) kill(target(), pending_);
  }
  // Its id stays taken until waitpid, which is called under the lock. So Signal never reaches
  // another process.
  siginfo_t info = {};
  while (waitid(P_PID, pid_, &info, WEXITED | WNOWAIT) != 0 && errno == EINTR) {
  }
  std::lock_guard lock(mutex_);
  int status = 0;
  waitpid(pid_, &status, 0);
  state_ = State::kEnded;
  ended_.notify_all();
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

void Command::Signal(int number) {
  std::lock_guard lock(mutex_);
  if (state_ == State::kRuns) kill(target(), number);
  if (state_ == State::kNotStarted) pending_ = number;
}

void Command::Stop(absl::Duration grace) {
  Signal(SIGTERM);
  std::unique_lock lock(mutex_);
  const auto until = std::chrono::steady_clock::now() + absl::ToChronoMilliseconds(grace);
  if (ended_.wait_until(lock, until, [this] { return state_ != State::kRuns; })) return;
  kill(target(), SIGKILL);
}

Interrupts::Interrupts(std::function<void(int number)> on_signal) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return;  // then signals end the process
  signal_pipe = ends[1];
  thread_ = std::thread([from = ends[0], on_signal = std::move(on_signal)] {
    for (char number = 0; read(from, &number, 1) == 1 && number != 0;) on_signal(number);
    close(from);
  });
  struct sigaction action = {};
  action.sa_handler = OnSignal;
  action.sa_flags = SA_RESETHAND | SA_RESTART;
  for (size_t i = 0; i < kSignals.size(); ++i) {
    sigaction(kSignals[i], nullptr, &before_[i]);
    if (before_[i].sa_handler != SIG_IGN) sigaction(kSignals[i], &action, nullptr);
  }
}

Interrupts::~Interrupts() {
  if (!thread_.joinable()) return;
  for (size_t i = 0; i < kSignals.size(); ++i) sigaction(kSignals[i], &before_[i], nullptr);
  OnSignal(0);
  thread_.join();
  close(signal_pipe);
}

}  // namespace raftkv::client
