// The verbs lock and elect: they take a lock or a leadership, and keep it until a signal comes, the
// command ends, or the lease or the key is lost.
#include <functional>
#include <memory>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "client/cli/cli.h"
#include "client/cli/command.h"
#include "client/cli/usage.h"

namespace raftkv::client {
namespace {

constexpr int kNotFound = 127;  // as shells: the command does not exist
constexpr int kNotRun = 126;    // it exists, but cannot be run
// How long the lease may take to be revoked at the end.
constexpr absl::Duration kReleaseMax = absl::Seconds(2);
// From when a command is told to end, because the lock is lost, until it is killed.
constexpr absl::Duration kStopGrace = absl::Seconds(5);
// From a failed read or watch of the own key to the next one.
constexpr absl::Duration kWatchAgainAfter = absl::Milliseconds(200);

struct LockArguments {
  std::string name;
  std::vector<std::string> command;  // the words before --
  int64_t ttl = 10;                  // as etcdctl
};

struct ElectArguments {
  std::string name;
  std::string proposal;
  bool listen = false;
  int64_t ttl = 60;  // as etcdctl
};

// Why a lock or a leadership ends: a signal has come, or the lease or the key is lost. It is told
// by threads of Interrupts, Session and KeyWatch.
class Ending {
 public:
  // `what`: "the lock", for example.
  Ending(const Context& context, std::string what) : context_(context), what_(std::move(what)) {}

  void OnSignal(int number) {
    std::shared_ptr<Command> command;
    {
      absl::MutexLock lock(&mutex_);
      interrupted_ = true;
      command = command_;
    }
    if (command == nullptr) return;
    // A terminal sends SIGINT to the command, too, if both are in one group.
    if (number != SIGINT || command->own_group()) command->Signal(number);
  }

  void OnLost(const absl::Status& why) {
    std::shared_ptr<Command> command;
    {
      absl::MutexLock lock(&mutex_);
      if (lost_) return;
      lost_ = true;
      command = command_;
    }
    context_.Fail(kExitFailed, absl::StrCat(what_, " is lost: ", why.message(),
                                            command == nullptr ? "" : "; stopping the command"));
    if (command != nullptr) command->Stop(kStopGrace);
  }

  // From now on the command gets signals, and is stopped if the lease is lost. False: it is over
  // already.
  bool SetCommand(std::shared_ptr<Command> command) {
    absl::MutexLock lock(&mutex_);
    command_ = std::move(command);
    return !interrupted_ && !lost_;
  }

  void Wait() {
    absl::MutexLock lock(&mutex_);
    mutex_.Await(absl::Condition(
        +[](Ending* self)
             ABSL_NO_THREAD_SAFETY_ANALYSIS { return self->interrupted_ || self->lost_; },
        this));
  }

  bool interrupted() {
    absl::MutexLock lock(&mutex_);
    return interrupted_;
  }
  bool lost() {
    absl::MutexLock lock(&mutex_);
    return lost_;
  }

 private:
  const Context& context_;
  const std::string what_;
  absl::Mutex mutex_;
  bool interrupted_ ABSL_GUARDED_BY(mutex_) = false;
  bool lost_ ABSL_GUARDED_BY(mutex_) = false;
  std::shared_ptr<Command> command_ ABSL_GUARDED_BY(mutex_);
};

absl::Status KeyIsGone(const std::string& key) {
  return absl::FailedPreconditionError(absl::StrCat(
      "its key ", key, " is gone: somebody deleted it, or its lease has expired or was revoked"));
}

// Watches the key of an owner, which another client may delete, also by revoking the lease. The
// session learns of a revoked lease only when it renews it, and does not look at the key. While no
// endpoint answers, nothing is told: the session then counts the time.
class KeyWatch {
 public:
  // `created`: the key's create_revision. `on_gone` is called once at most, from a thread, which
  // the destructor waits for.
  KeyWatch(Client& client, const std::string& key, int64_t created,
           std::function<void(const absl::Status&)> on_gone)
      : client_(client),
        key_(key),
        created_(created),
        on_gone_(std::move(on_gone)),
        thread_([this](const std::stop_token& stop) { Run(stop); }) {}

 private:
  void Run(const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      const auto own = client_.Call(RangeRequest(key_), {.cancel = stop});
      if (own.ok()) {
        const bool exists = !own->kvs.empty() && own->kvs[0].create_revision == created_;
        if (!exists || AwaitDeletion(own->header.revision + 1, stop)) {
          return on_gone_(KeyIsGone(key_));
        }
      }
      if (!stop.stop_requested()) absl::SleepFor(kWatchAgainAfter);
    }
  }

  // False: the watch has ended, so the key must be read again.
  bool AwaitDeletion(int64_t revision, const std::stop_token& stop) {
    const auto watcher =
        client_.Watch(key_, {.start_revision = revision, .puts = false}, {.cancel = stop});
    if (!watcher.ok()) return false;
    const auto batch = (*watcher)->Next();
    return batch.ok() && !batch->events.empty();
  }

  Client& client_;
  const std::string key_;
  const int64_t created_;
  const std::function<void(const absl::Status&)> on_gone_;
  std::jthread thread_;  // last: it uses the other members
};

// What to print, and the exit code, after the wait has failed.
int WaitFailed(const absl::Status& status, const Session& session, Ending* ending,
               const Context& context) {
  if (absl::IsCancelled(status)) return context.Fail(kExitFailed, "interrupted while waiting");
  if (session.status().ok()) return context.Fail(status);
  ending->OnLost(session.status());
  return kExitFailed;
}

// Prints the key, then waits. Returns the exit code so far.
int HoldUntilTheEnd(Client* client, const std::string& key, Ending* ending,
                    const Context& context) {
  const auto own = client->Range(key);
  if (!own.ok()) return context.Fail(own.status());
  if (own->kvs.empty()) {
    ending->OnLost(KeyIsGone(key));
    return kExitFailed;
  }
  context.MakeOutput().Get(*own, /*value_only=*/false, /*count_only=*/false);
  context.streams.out.flush();
  if (!context.streams.out) return kExitIo;
  ending->Wait();
  return ending->lost() ? kExitFailed : kExitOk;
}

// Revokes the lease, if the cluster answers soon, and so ends `what`. Returns the exit code.
int Release(Session* session, const std::string& what, int code, const Context& context) {
  const absl::Status closed = session->Close(absl::Now() + kReleaseMax);
  if (closed.ok()) return code;
  const int failed = context.Fail(
      kExitFailed,
      absl::StrCat("cannot release ", what, ", which ends with its lease, after at most ",
                   absl::FormatDuration(session->ttl()), ": ", closed.message()));
  return code != kExitOk ? code : failed;
}

int RunWith(const Mutex& mutex, std::vector<std::string> words, Ending* ending,
            const Context& context) {
  const auto command = std::make_shared<Command>(
      Command::Options{.argv = std::move(words),
                       .environment = {absl::StrCat("ETCD_LOCK_KEY=", mutex.key()),
                                       absl::StrCat("ETCD_LOCK_REV=", mutex.locked_revision()),
                                       absl::StrCat("RAFTKV_LOCK_TOKEN=", mutex.fencing_token())},
                       .reads_input = true,
                       .ends_with_us = true,
                       .own_group = !context.streams.in_is_terminal});
  if (!ending->SetCommand(command)) {
    return ending->lost() ? kExitFailed : context.Fail(kExitFailed, "interrupted");
  }
  const absl::StatusOr<int> code = command->Run();
  if (!code.ok()) {
    return context.Fail(absl::IsNotFound(code.status()) ? kNotFound : kNotRun,
                        code.status().message());
  }
  return ending->lost() ? static_cast<int>(kExitFailed) : *code;
}

int Lock(const LockArguments& arguments, const Context& context) {
  if (context.format == Format::kTable) return context.NoTable();
  std::vector<std::string> words = arguments.command;
  words.insert(words.end(), context.command.begin(), context.command.end());
  const auto client = context.Connect();
  Ending ending(context, "the lock");
  const auto session = Session::Open(
      *client, {.ttl = absl::Seconds(arguments.ttl),
                .on_lost = [&ending](const absl::Status& why) { ending.OnLost(why); }});
  if (!session.ok()) return context.Fail(session.status());
  Mutex mutex(session->get(), arguments.name);
  const Interrupts interrupts([&](int number) {
    mutex.Cancel();
    ending.OnSignal(number);
  });
  const absl::Status locked = mutex.Lock();
  int code = kExitOk;
  if (!locked.ok()) {
    code = WaitFailed(locked, **session, &ending, context);
  } else {
    // It ends before the lease is revoked.
    const KeyWatch watch(*client, mutex.key(), mutex.fencing_token(),
                         [&ending](const absl::Status& why) { ending.OnLost(why); });
    code = words.empty() ? HoldUntilTheEnd(client.get(), mutex.key(), &ending, context)
                         : RunWith(mutex, std::move(words), &ending, context);
  }
  return Release(session->get(), "the lock", code, context);
}

int Campaign(const ElectArguments& arguments, const Context& context) {
  const auto client = context.Connect();
  Ending ending(context, "the leadership");
  const auto session = Session::Open(
      *client, {.ttl = absl::Seconds(arguments.ttl),
                .on_lost = [&ending](const absl::Status& why) { ending.OnLost(why); }});
  if (!session.ok()) return context.Fail(session.status());
  Election election(session->get(), arguments.name);
  const Interrupts interrupts([&](int number) {
    election.Cancel();
    ending.OnSignal(number);
  });
  const absl::Status elected = election.Campaign(arguments.proposal);
  int code = kExitOk;
  if (!elected.ok()) {
    code = WaitFailed(elected, **session, &ending, context);
  } else {
    const KeyWatch watch(*client, election.key(), election.fencing_token(),
                         [&ending](const absl::Status& why) { ending.OnLost(why); });
    code = HoldUntilTheEnd(client.get(), election.key(), &ending, context);
  }
  return Release(session->get(), "the leadership", code, context);
}

// Prints each leader, until a signal comes.
int Observe(const ElectArguments& arguments, const Context& context) {
  const auto client = context.Connect();
  LeaderObserver observer(client.get(), arguments.name);
  const Interrupts interrupts([&observer](int) { observer.Cancel(); });
  Output output = context.MakeOutput();
  for (;;) {
    const auto leader = observer.Next();
    if (absl::IsCancelled(leader.status())) return kExitOk;
    if (!leader.ok()) return context.Fail(leader.status());
    output.Get({.header = leader->header, .kvs = {leader->leader}, .count = 1},
               /*value_only=*/false, /*count_only=*/false);
    context.streams.out.flush();
    if (!context.streams.out) return kExitIo;
  }
}

int Elect(const ElectArguments& arguments, bool has_proposal, const Context& context) {
  if (context.format == Format::kTable) return context.NoTable();
  if (arguments.listen && has_proposal) {
    return context.BadArguments("elect: give a proposal or --listen, not both");
  }
  if (arguments.listen) return Observe(arguments, context);
  if (!has_proposal) {
    return context.BadArguments(
        "elect: give a proposal to become the leader, or --listen to see who leads");
  }
  return Campaign(arguments, context);
}

void AddTtl(CLI::App& verb, int64_t& ttl) {
  AddNumber(verb, "--ttl", ttl, "the lease's time to live in seconds")
      ->check(CLI::Validator(
          [](const std::string& text) { return text == "0" ? std::string("0 is too short") : ""; },
          ""))
      ->capture_default_str();
}

}  // namespace

void AddLockVerbs(CLI::App& app, Context& context) {
  CLI::App* lock = app.add_subcommand("lock", "Takes a lock, and holds it until Ctrl-C");
  auto arguments = std::make_shared<LockArguments>();
  lock->add_option("name", arguments->name, "the lock")->required();
  lock->add_option("command", arguments->command, "run it with the lock held, then unlock");
  AddTtl(*lock, arguments->ttl);
  lock->footer(
      "Only one holds the lock at a time. The others wait, in the order in which they came. With\n"
      "a command, the exit code is that of the command. If the lock is lost, because the lease\n"
      "could not be renewed or the key was deleted, the command is stopped and the exit code is "
      "1.\n"
      "The command has ETCD_LOCK_KEY, ETCD_LOCK_REV and RAFTKV_LOCK_TOKEN (a fencing token) in "
      "its\n"
      "environment:\n"
      "  raftkv lock backup -- ./backup.sh --full\n");
  context.OnVerb(lock, [arguments, &context] { return Lock(*arguments, context); });

  CLI::App* elect =
      app.add_subcommand("elect", "Becomes the leader of an election, or observes it");
  auto wanted = std::make_shared<ElectArguments>();
  elect->add_option("name", wanted->name, "the election")->required();
  CLI::Option* proposal = elect->add_option(
      "proposal", wanted->proposal, "what observers see while this one leads, such as an address");
  elect->add_flag("-l,--listen", wanted->listen, "print each leader and what it proposes");
  AddTtl(*elect, wanted->ttl);
  elect->footer(
      "Waits until it is the leader, prints its key and its proposal, and leads until Ctrl-C. If\n"
      "the leadership is lost, because the lease could not be renewed or the key was deleted, the\n"
      "exit code is 1.\n"
      "  raftkv elect scheduler 10.0.0.7:8080\n"
      "  raftkv elect scheduler --listen\n");
  context.OnVerb(elect, [wanted, proposal, &context] {
    return Elect(*wanted, proposal->count() > 0, context);
  });
}

}  // namespace raftkv::client
