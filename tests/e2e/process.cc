#include "tests/e2e/process.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <glog/logging.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <sstream>

#include "absl/time/clock.h"

namespace raftkv::e2e {
namespace {

namespace fs = std::filesystem;

// Starts a child. posix_spawn is not used, because it cannot set the parent death signal. vfork is
// used, because fork would run gRPC's fork handlers, which stop its threads in the middle of calls.
// Until exec the child runs in our memory, so it makes only system calls.
pid_t Start(const Command& command, int out, int err) {
  CHECK(!command.argv.empty());
  std::vector<std::string> environment;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string text = *entry;
    if (command.environment.count(text.substr(0, text.find('='))) == 0) environment.push_back(text);
  }
  for (const auto& [name, value] : command.environment) environment.push_back(name + "=" + value);

  std::vector<char*> argv, envp;
  for (const std::string& arg : command.argv) argv.push_back(const_cast<char*>(arg.c_str()));
  for (const std::string& entry : environment) envp.push_back(const_cast<char*>(entry.c_str()));
  argv.push_back(nullptr);
  envp.push_back(nullptr);
  const int input = open(command.input_file.c_str(), O_RDONLY | O_CLOEXEC);
  PCHECK(input >= 0) << command.input_file;
  const char* directory = command.directory.c_str();
  const pid_t parent = getpid();

  const pid_t pid = vfork();
  PCHECK(pid >= 0);
  if (pid != 0) {
    close(input);
    return pid;
  }
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(126);  // the parent ended before prctl
  signal(SIGINT, SIG_DFL);              // a shell lets what it runs in the background ignore it
  dup2(input, STDIN_FILENO);
  dup2(out, STDOUT_FILENO);
  dup2(err, STDERR_FILENO);
  if (*directory != '\0' && chdir(directory) != 0) _exit(126);
  execvpe(argv[0], argv.data(), envp.data());
  _exit(127);
}

int OpenOutput(const std::string& path) {
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  PCHECK(fd >= 0) << path;
  return fd;
}

bool IsFree(int port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  PCHECK(fd >= 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const bool free = bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0;
  close(fd);
  return free;
}

}  // namespace

bool Eventually(absl::Duration timeout, const std::function<bool()>& condition) {
  const absl::Time deadline = absl::Now() + timeout;
  while (!condition()) {
    if (absl::Now() > deadline) return false;
    absl::SleepFor(absl::Milliseconds(5));
  }
  return true;
}

int64_t NowNanoseconds() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

Process::Process(const Command& command, const std::string& output_file)
    : output_file_(output_file) {
  const int output = OpenOutput(output_file);
  pid_ = Start(command, output, output);
  close(output);
}

Process::~Process() { Kill(); }

bool Process::Reap(int options) {
  if (exit_code_.has_value()) return true;
  int status = 0;
  if (waitpid(pid_, &status, options) != pid_) return false;
  exit_code_ = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  if (*exit_code_ == kSanitizerExit) {
    ADD_FAILURE() << "a sanitizer has reported an error:\n" << ReadFile(output_file_);
  }
  return true;
}

bool Process::Running() { return !Reap(WNOHANG); }

void Process::Signal(int signal) {
  if (Running()) kill(pid_, signal);
}

// kill() returns before the threads have stopped. On a busy machine some go on for milliseconds.
void Process::Pause() {
  Signal(SIGSTOP);
  const auto stopped = [this] {
    siginfo_t info = {};
    waitid(P_PID, static_cast<id_t>(pid_), &info, WSTOPPED | WNOHANG | WNOWAIT);
    return info.si_pid == pid_ || !Running();
  };
  EXPECT_TRUE(Eventually(absl::Seconds(20), stopped)) << "process " << pid_ << " does not stop";
}

void Process::Kill() {
  Signal(SIGKILL);
  Reap(0);
}

std::optional<int> Process::Wait(absl::Duration timeout) {
  Eventually(timeout, [&] { return !Running(); });
  return exit_code_;
}

Finished RunToEnd(const Command& command, absl::Duration timeout) {
  TempDir dir;
  const std::string out_path = dir.path() + "/out", err_path = dir.path() + "/err";
  const int out = OpenOutput(out_path), err = OpenOutput(err_path);
  const pid_t pid = Start(command, out, err);
  close(out);
  close(err);
  int status = 0;
  bool ended = false;
  Eventually(timeout, [&] { return ended = waitpid(pid, &status, WNOHANG) == pid; });
  if (!ended) {
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
  }
  Finished finished;
  finished.exit_code = !ended                ? -1
                       : WIFSIGNALED(status) ? 128 + WTERMSIG(status)
                                             : WEXITSTATUS(status);
  finished.out = ReadFile(out_path);
  finished.err = ReadFile(err_path);
  return finished;
}

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream content;
  content << file.rdbuf();
  return content.str();
}

void WriteFile(const std::string& path, const std::string& content) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << content;
  CHECK(file.flush()) << path;
}

TempDir::TempDir(Policy policy) : policy_(policy) {
  std::string pattern = (fs::temp_directory_path() / "raftkv-e2e-XXXXXX").string();
  PCHECK(mkdtemp(pattern.data()) != nullptr);
  path_ = pattern;
}

TempDir::~TempDir() {
  if (policy_ == Policy::kKeepOnFailure && testing::Test::HasFailure()) {
    std::cerr << "logs and data of the failed test: " << path_ << "\n";
    return;
  }
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

std::vector<int> FreePorts(int count) {
  constexpr int kFirst = 15000, kEnd = 32000;
  // Tests of several build directories may run at the same time, so each starts at another port.
  static int next = kFirst + static_cast<int>(getpid() * 97 % (kEnd - kFirst));
  std::vector<int> ports;
  for (int tries = 0; static_cast<int>(ports.size()) < count; ++tries) {
    CHECK_LT(tries, kEnd - kFirst) << "no free port";
    const int port = next;
    next = next + 1 < kEnd ? next + 1 : kFirst;
    if (IsFree(port)) ports.push_back(port);
  }
  return ports;
}

}  // namespace raftkv::e2e
