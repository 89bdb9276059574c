// raftkv-server: one member of a cluster.

#include <grpc/support/log.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <iostream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "config/config.h"
#include "config/process.h"
#include "config/version.h"
#include "glog/logging.h"
#include "server/log_writer.h"
#include "server/restore.h"
#include "server/server.h"
#include "server/stop_limit.h"
#include "storage/base/exit_code.h"

namespace {

// A stop takes at most this and an election timeout.
constexpr absl::Duration kStopMax = absl::Seconds(30);

int Fail(const absl::Status& status) {
  raftkv::LogWriter::FlushInstalled();  // so that this line is the last one
  std::cerr << "raftkv-server: " << status.message() << std::endl;
  switch (status.code()) {
    case absl::StatusCode::kDataLoss:
      return raftkv::kExitDamaged;
    case absl::StatusCode::kInternal:
    case absl::StatusCode::kUnknown:
    case absl::StatusCode::kDeadlineExceeded:   // no member answered --join
    case absl::StatusCode::kResourceExhausted:  // the disk is full: there may be space later
      return raftkv::kExitFailed;
    default:
      return raftkv::kExitBadInput;
  }
}

void StartLogging(const raftkv::LogConfig& config) {
  google::InitGoogleLogging("raftkv-server");
  using raftkv::LogWriter;
  const bool json = config.format == "json";
  LogWriter* const writer =
      LogWriter::Start(json ? LogWriter::Format::kJson : LogWriter::Format::kText, STDERR_FILENO);
  writer->Install(config.level == "error"     ? google::ERROR
                  : config.level == "warning" ? google::WARNING
                                              : google::INFO);
  // gRPC's own log lines about connections are discarded: we log these events once, by member name.
  gpr_set_log_function([](gpr_log_func_args*) {});
}

// Debian's abseil is built with its deadlock detector on, which slows down every lock inside gRPC.
void SwitchOffDeadlockDetector() {
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
}

void RaiseFileLimit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

// The result of --check-config. `make run` reads the lines of the members.
void PrintConfig(const raftkv::Config& config) {
  std::cout << config.path << ": ok, cluster \"" << config.cluster_name << "\" with "
            << config.members.size() << (config.members.size() == 1 ? " member\n" : " members\n");
  for (const raftkv::MemberConfig& member : config.members) {
    std::cout << member.name << ": clients " << member.client_url << ", peers " << member.peer_url
              << ", data " << member.data_dir << "\n";
  }
  std::cout.flush();
}

// The key of the config file for a flag of etcd. Empty: there is no such flag or key.
std::string KeyOf(absl::string_view flag) {
  constexpr std::pair<absl::string_view, const char*> kKeys[] = {
      {"--data-dir", "data_dir"},
      {"--listen-client-urls", "listen_client_url"},
      {"--advertise-client-urls", "client_url"},
      {"--listen-peer-urls", "listen_peer_url"},
      {"--initial-advertise-peer-urls", "peer_url"},
      {"--initial-cluster", "a [[member]] for each member"},
      {"--initial-cluster-state", "state"},
      {"--heartbeat-interval", "heartbeat_interval"},
      {"--election-timeout", "election_timeout"},
      {"--max-request-bytes", "max_request_bytes"},
      {"--max-txn-ops", "max_txn_ops"},
      {"--quota-backend-bytes", "quota_backend_bytes"},
      {"--auto-compaction-mode", "auto_compaction_mode"},
      {"--auto-compaction-retention", "auto_compaction_retention"},
      {"--log-level", "level"},
      {"--log-format", "format"}};
  for (const auto& [etcd, key] : kKeys) {
    if (etcd == flag) return key;
  }
  return "";
}

// One line that says what is wrong with the command line.
std::string Explain(const CLI::App& app, const CLI::ParseError& error) {
  constexpr char kHelp[] = "; see raftkv-server --help";
  const std::vector<std::string> left = app.remaining();
  if (!left.empty() && left.front()[0] == '-') {
    const std::string flag = left.front().substr(0, left.front().find('='));
    if (flag == "--name") {
      return absl::StrCat("unknown flag --name; -n NAME chooses the member of the config file",
                          kHelp);
    }
    const std::string key = KeyOf(flag);
    return absl::StrCat("unknown flag ", flag, "; settings are in the config file",
                        key.empty() ? "" : ": ", key, kHelp);
  }
  if (!left.empty()) return absl::StrCat("unexpected argument \"", left.front(), "\"", kHelp);
  const absl::string_view what = error.what();
  const absl::string_view flag = what.substr(0, what.find(':'));
  if (dynamic_cast<const CLI::ArgumentMismatch*>(&error) != nullptr) {
    return absl::StrCat(
        flag, absl::EndsWith(what, " missing") ? " needs a value" : " is given more than once",
        kHelp);
  }
  return absl::StrCat(what, kHelp);
}

int RunRestore(raftkv::Config config, size_t self, const raftkv::RestoreArguments& arguments) {
  umask(077);
  SwitchOffDeadlockDetector();
  // The storage logs nothing that is not in the error message, too.
  google::InitGoogleLogging("raftkv-server");
  FLAGS_logtostderr = true;
  FLAGS_minloglevel = google::FATAL;
  const absl::StatusOr<std::string> restored = raftkv::Restore(
      std::move(config), self, arguments, isatty(STDERR_FILENO) == 1 ? &std::cerr : nullptr);
  if (!restored.ok()) return Fail(restored.status());
  std::cout << *restored << std::endl;
  return raftkv::kExitStopped;
}

// Waits for SIGINT, SIGTERM and SIGHUP on a thread of its own, which ends the process at once if
// the signal comes during the start. A start can take long: it verifies the log, or waits for a
// cluster to join. It is as safe to end it at any point as to crash there.
class StopSignals {
 public:
  // Call it before any other thread starts, because threads inherit the mask.
  StopSignals() {
    sigemptyset(&signals_);
    sigaddset(&signals_, SIGINT);
    sigaddset(&signals_, SIGTERM);
    // The terminal was closed. nohup makes a process ignore that.
    struct sigaction hangup = {};
    sigaction(SIGHUP, nullptr, &hangup);
    if (hangup.sa_handler != SIG_IGN) sigaddset(&signals_, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &signals_, nullptr);
  }

  // Call it once logging has started. The object must live until the process ends.
  void Start() {
    std::thread([this] { Wait(); }).detach();
  }
  // The start has ended. From now on a signal only ends AwaitOne.
  void OnStarted() {
    absl::MutexLock lock(&mutex_);
    started_ = true;
  }
  void AwaitOne() { received_.WaitForNotification(); }

 private:
  void Wait() {
    int number = 0;
    sigwait(&signals_, &number);
    absl::MutexLock lock(&mutex_);
    if (started_) return received_.Notify();
    LOG(INFO) << "stopped during the start";
    raftkv::LogWriter::FlushInstalled();
    _exit(raftkv::kExitStopped);
  }

  sigset_t signals_;
  absl::Mutex mutex_;
  bool started_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Notification received_;
};

// Serves until SIGINT, SIGTERM or SIGHUP. Returns the exit code.
int Serve(const raftkv::Config& config, size_t self, raftkv::Server::StartOptions options) {
  static StopSignals& signals = *new StopSignals;
  signal(SIGPIPE, SIG_IGN);
  umask(077);
  RaiseFileLimit();
  SwitchOffDeadlockDetector();
  StartLogging(config.log);
  signals.Start();

  options.on_removed = [] { kill(getpid(), SIGTERM); };
  absl::StatusOr<std::unique_ptr<raftkv::Server>> server =
      raftkv::Server::Start(config, self, options);
  if (!server.ok()) return Fail(server.status());
  signals.OnStarted();
  signals.AwaitOne();
  {
    const raftkv::StopLimit limit({.limit = kStopMax + config.election_timeout,
                                   .step = [&] { return (*server)->stop_step(); },
                                   .end_process = {}});
    (*server)->Stop();
  }
  raftkv::LogWriter::FlushInstalled();
  return raftkv::kExitStopped;
}

// What the command line says.
struct Arguments {
  std::string file, member;
  bool check = false;
  raftkv::Server::StartOptions start;
  raftkv::RestoreArguments restore;
};

void AddOptions(CLI::App& app, Arguments* to) {
  app.add_option("-c,--config", to->file,
                 "the cluster's TOML file (config/cluster.toml documents it)")
      ->check([](const std::string& file) {
        return file.empty() ? "-c is empty; name a config file, such as config/cluster.toml" : "";
      });
  app.add_option("-n,--member", to->member,
                 "the member of the file to run: its name or 1-based number");
  CLI::Option* check = app.add_flag(
      "--check-config", to->check,
      "check the file, and with -n the member's data directory, print the result and exit");
  CLI::Option* join = app.add_flag(
      "--join", to->start.join,
      "at the first start: join a running cluster, after raftkv member add; [cluster] state "
      "= \"existing\" means the same");
  CLI::Option* force = app.add_flag(
      "--force-new-cluster", to->start.force_new_cluster,
      "a majority is lost for good: become the only member; may lose writes (docs/cli.md)");
  force->excludes(join)->excludes(check);
  CLI::Option* from = app.add_option(
      "--restore", to->restore.file,
      "write the data directory of member -n from this backup, and exit (raftkv snapshot restore)");
  from->excludes(check)->excludes(join)->excludes(force);
  app.add_option("--bump-revision", to->restore.bump_revision,
                 "with --restore and --mark-compacted: raise the revision by this number")
      ->needs(from)
      ->check([](const std::string& text) {
        int64_t number = 0;
        const bool good = absl::SimpleAtoi(text, &number) && number > 0;
        return good ? "" : absl::StrCat(text, " is not a number from 1 on");
      });
  app.add_flag("--mark-compacted", to->restore.mark_compacted,
               "with --bump-revision: compact all revisions of the backup")
      ->needs(from);
  app.set_version_flag("--version", raftkv::VersionLines("raftkv-server"));
}

int PrintCheck(const raftkv::Config& config, const Arguments& arguments, size_t self) {
  const auto checked = raftkv::Server::CheckDataDirectory(config, self);
  if (!checked.ok()) return Fail(checked.status());
  for (const std::string& warning : checked->warnings) {
    std::cerr << "raftkv-server: warning: " << warning << std::endl;
  }
  std::cout << arguments.file << ": ok, member " << config.members[self].name << "; data directory "
            << checked->text << std::endl;
  return raftkv::kExitStopped;
}

int Run(Arguments arguments) {
  const auto needs_file = [&] {
    if (arguments.check) return "--check-config";
    if (arguments.start.join) return "--join";
    return arguments.member.empty() ? "" : "-n";
  };
  if (arguments.file.empty() && needs_file()[0] != '\0') {
    return Fail(absl::InvalidArgumentError(absl::StrCat(
        "there is no config file: ", needs_file(), " needs -c FILE, such as config/cluster.toml")));
  }
  absl::StatusOr<raftkv::Config> config =
      arguments.file.empty() ? absl::StatusOr<raftkv::Config>(raftkv::DefaultConfig())
                             : raftkv::LoadConfig(arguments.file);
  if (!config.ok()) return Fail(config.status());
  arguments.start.join |= config->cluster_state == "existing";
  if (arguments.check && arguments.member.empty()) {
    PrintConfig(*config);
    return raftkv::kExitStopped;
  }
  const absl::StatusOr<size_t> self = raftkv::FindMember(*config, arguments.member);
  if (!self.ok()) return Fail(self.status());
  if (arguments.check) return PrintCheck(*config, arguments, *self);
  if (!arguments.restore.file.empty()) {
    return RunRestore(*std::move(config), *self, arguments.restore);
  }
  return Serve(*config, *self, arguments.start);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app(
      "raftkv-server: one member of a replicated key-value store with the etcd v3 API.\n"
      "Without arguments: a single member, data in ./default.raftkv, clients on "
      "127.0.0.1:2379.");
  app.footer(
      "Exit codes: 0 asked to stop or removed from the cluster, 1 internal error, full disk at the "
      "start, a stop that hung, or no member answered --join, 2 bad configuration, flag or data "
      "directory, 66 damaged data, 134 aborted after a failed or hanging disk write or an internal "
      "error.");
  Arguments arguments;
  AddOptions(app, &arguments);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& e) {
    return app.exit(e);
  } catch (const CLI::ParseError& e) {
    return Fail(absl::InvalidArgumentError(Explain(app, e)));
  }
  return Run(std::move(arguments));
}
