// The verb top: a table of all members that is renewed at an interval. It asks each member for its
// status and, at the same address, for its metrics (GET /metrics). A value that a member does not
// report is shown as "-".
#include <algorithm>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "client/cli/cause.h"
#include "client/cli/cli.h"
#include "client/cli/command.h"
#include "client/cli/http_get.h"
#include "client/cli/human.h"
#include "client/cli/samples.h"
#include "client/cli/table.h"
#include "client/cli/usage.h"
#include "client/clock.h"
#include "client/endpoint.h"

namespace raftkv::client {
namespace {

using Json = nlohmann::ordered_json;

constexpr absl::Duration kAskMax = absl::Seconds(2);  // for one member, so that top goes on

struct TopArguments {
  double interval = 2;  // seconds
  int64_t count = 0;    // 0: until Ctrl-C
};

// The answers of a member at one time.
struct Answer {
  MonotonicTime at;
  absl::StatusOr<StatusResult> status = absl::UnknownError("not asked");
  absl::Duration took;
  std::optional<Samples> samples;
};

struct Watched {
  uint64_t id = 0;
  std::string name;
  std::string address;  // host:port
  std::unique_ptr<Client> client;
  std::optional<Answer> before;
  Answer now;
};

// A row of the view. What is not known is nullopt.
struct Row {
  std::string name;
  std::string address;
  std::string role;
  std::optional<int64_t> lag;                            // committed entries that are not applied
  std::optional<double> writes, reads;                   // per second
  std::optional<double> write_p99, read_p99, fsync_p99;  // seconds
  std::optional<double> answer;                          // seconds
  std::optional<int64_t> db_size, clients;
  std::string error;
};

bool IsWrite(std::string_view labels) {
  return labels.find("\"etcdserverpb.KV\"") != labels.npos &&
         (labels.find("\"Put\"") != labels.npos || labels.find("\"Txn\"") != labels.npos ||
          labels.find("\"DeleteRange\"") != labels.npos);
}
bool IsRead(std::string_view labels) {
  return labels.find("\"etcdserverpb.KV\"") != labels.npos &&
         labels.find("\"Range") != labels.npos;  // Range and RangeStream
}
bool IsGood(std::string_view labels) { return labels.find("grpc_code=\"OK\"") != labels.npos; }
bool Any(std::string_view) { return true; }

std::string RoleOf(const StatusResult& status) {
  if (HasHalted(status.errors)) return "halted";
  if (status.is_learner) return "learner";
  if (status.leader == 0) return "no leader";
  return status.leader == status.header.member_id ? "leader" : "follower";
}

// Calls ended with success per second, since `before`.
std::optional<double> Rate(const Samples& now, const Samples& before, double seconds,
                           bool (*kind)(std::string_view)) {
  const auto good = [kind](std::string_view labels) { return kind(labels) && IsGood(labels); };
  const auto last = now.Sum("grpc_server_handled_total", good);
  if (!last || seconds <= 0) return std::nullopt;
  const double first = before.Sum("grpc_server_handled_total", good).value_or(0);
  return std::max(0.0, *last - first) / seconds;  // less than before: the member has restarted
}

Row RowOf(const Watched& member) {
  Row row;
  row.name = member.name;
  row.address = member.address;
  const Answer& now = member.now;
  if (!now.status.ok()) {
    row.role = "down";
    row.error = std::string(now.status.status().message());
    return row;
  }
  const StatusResult& status = *now.status;
  row.role = RoleOf(status);
  row.lag = static_cast<int64_t>(status.raft_index -
                                 std::min(status.raft_index, status.raft_applied_index));
  row.answer = absl::ToDoubleSeconds(now.took);
  row.db_size = status.db_size;
  std::vector<std::string> errors = status.errors;
  // The role shows that there is no leader. The other errors say why.
  if (errors.size() > 1) std::erase(errors, "etcdserver: no leader");
  row.error = absl::StrJoin(errors, ", ");
  if (!now.samples) return row;
  if (const auto lag = now.samples->Value("raftkv_apply_lag_entries")) {
    row.lag = static_cast<int64_t>(*lag);
  }
  if (const auto clients = now.samples->Value("raftkv_client_connections")) {
    row.clients = static_cast<int64_t>(*clients);
  }
  if (!member.before || !member.before->samples) return row;
  const Samples& before = *member.before->samples;
  const double seconds = absl::ToDoubleSeconds(now.at - member.before->at);
  row.writes = Rate(*now.samples, before, seconds, IsWrite);
  row.reads = Rate(*now.samples, before, seconds, IsRead);
  constexpr char kCalls[] = "grpc_server_handling_seconds";
  row.write_p99 = now.samples->QuantileSince(before, kCalls, IsWrite, 0.99);
  row.read_p99 = now.samples->QuantileSince(before, kCalls, IsRead, 0.99);
  row.fsync_p99 =
      now.samples->QuantileSince(before, "etcd_disk_wal_fsync_duration_seconds", Any, 0.99);
  return row;
}

class Top {
 public:
  Top(const Context& context, const TopArguments& arguments)
      : context_(context),
        limit_(std::min({kAskMax, context.command_timeout,
                         std::max(absl::Seconds(arguments.interval), absl::Milliseconds(200))})) {}

  // Renews the list of members. If it cannot be read, because there is no leader, for example, the
  // last list stays; at first, that is the list of endpoints. Error: no endpoint can be reached.
  absl::Status FindMembers() {
    if (lister_ == nullptr) lister_ = ConnectTo(context_.endpoints);
    const auto list = lister_->MemberList();
    if (NeverSent(list.status())) return list.status();
    if (!list.ok()) {
      if (members_.empty()) AddEndpoints();
      return absl::OkStatus();
    }
    std::vector<Watched> members;
    for (const Member& member : list->members) {
      if (member.client_urls.empty()) continue;  // it has not started yet
      const auto same = std::find_if(members_.begin(), members_.end(), [&](const Watched& known) {
        return known.id == member.id && known.client != nullptr;
      });
      if (same != members_.end()) {
        members.push_back(std::move(*same));
        continue;
      }
      const auto address = ParseEndpoint(member.client_urls.front());
      if (address.ok()) members.push_back(NewMember(member.id, member.name, *address));
    }
    members_ = std::move(members);
    return absl::OkStatus();
  }

  void AskAll() {
    std::vector<std::thread> threads;
    for (Watched& member : members_) {
      threads.emplace_back([this, &member] {
        if (member.now.status.ok()) member.before = std::move(member.now);
        member.now = Ask(member);
      });
    }
    for (std::thread& thread : threads) thread.join();
    revision_before_ = std::exchange(revision_, 0);
    const MonotonicTime asked_before = std::exchange(asked_, Now());
    seconds_ = absl::ToDoubleSeconds(asked_ - asked_before);
    for (const Watched& member : members_) {
      if (!member.now.status.ok()) continue;
      const StatusResult& status = *member.now.status;
      revision_ = std::max(revision_, status.header.revision);
      if (status.raft_term < term_) continue;
      if (status.raft_term > term_ || status.leader != 0) leader_ = status.leader;
      term_ = status.raft_term;
    }
  }

  std::string AsTable() const {
    std::string text =
        absl::StrCat(absl::FormatTime("%H:%M:%S", absl::Now(), absl::LocalTimeZone()), "  leader ",
                     LeaderName(), "  term ", term_, "  revision ", revision_);
    if (const auto rate = RevisionRate()) absl::StrAppendFormat(&text, " (+%.0f/s)", *rate);
    Table table({"NAME", "ADDRESS", "ROLE", "APPLY LAG", "WRITES/S", "READS/S", "WRITE P99",
                 "READ P99", "FSYNC P99", "ANSWER", "DB SIZE", "CLIENTS"});
    std::string errors;
    for (const Watched& member : members_) {
      const Row row = RowOf(member);
      table.Add({row.name, row.address, row.role, Number(row.lag), Number(row.writes),
                 Number(row.reads), Time(row.write_p99), Time(row.read_p99), Time(row.fsync_p99),
                 Time(row.answer), row.db_size ? HumanBytes(*row.db_size) : "-",
                 Number(row.clients)});
      if (!row.error.empty()) absl::StrAppend(&errors, row.address, ": ", row.error, "\n");
    }
    return absl::StrCat(text, "\n", table.Render(), errors);
  }

  std::string AsJson() const {
    Json json = {{"time", absl::FormatTime(absl::RFC3339_sec, absl::Now(), absl::UTCTimeZone())},
                 {"leader", LeaderName()},
                 {"term", term_},
                 {"revision", revision_}};
    if (const auto rate = RevisionRate()) json["revisions_per_second"] = *rate;
    json["members"] = Json::array();
    for (const Watched& member : members_) {
      const Row row = RowOf(member);
      Json one = {{"name", row.name}, {"address", row.address}, {"role", row.role}};
      const auto add = [&one](const char* name, const auto& value) {
        if (value) one[name] = *value;
      };
      add("apply_lag", row.lag);
      add("writes_per_second", row.writes);
      add("reads_per_second", row.reads);
      add("write_p99_seconds", Finite(row.write_p99));
      add("read_p99_seconds", Finite(row.read_p99));
      add("fsync_p99_seconds", Finite(row.fsync_p99));
      add("answer_seconds", row.answer);
      add("db_size", row.db_size);
      add("client_connections", row.clients);
      if (!row.error.empty()) one["error"] = row.error;
      json["members"].push_back(std::move(one));
    }
    return json.dump(-1, ' ', false, Json::error_handler_t::replace);
  }

 private:
  std::unique_ptr<Client> ConnectTo(const std::vector<std::string>& endpoints) const {
    Options options = context_.ClientOptions();
    options.endpoints = endpoints;
    options.request_timeout = limit_;
    options.dial_timeout = std::min(options.dial_timeout, limit_);
    return *Client::Connect(std::move(options));  // the options were checked
  }

  Watched NewMember(uint64_t id, const std::string& name, const std::string& address) const {
    Watched member;
    member.id = id;
    member.name = name;
    member.address = address;
    member.client = ConnectTo({address});
    return member;
  }

  void AddEndpoints() {
    for (const std::string& endpoint : context_.endpoints) {
      const auto address = ParseEndpoint(endpoint);
      if (address.ok()) members_.push_back(NewMember(0, "-", *address));
    }
  }

  Answer Ask(const Watched& member) const {
    Answer answer;
    answer.at = Now();
    answer.status = member.client->Status();
    answer.took = Now() - answer.at;
    if (!answer.status.ok()) {
      answer.status = context_.WithCause(answer.status.status(), member.address);
      return answer;
    }
    answer.at = Now();
    const auto page = HttpGet(member.address, "/metrics", limit_);
    if (page.ok()) answer.samples.emplace(*page);
    return answer;
  }

  std::string LeaderName() const {
    for (const Watched& member : members_) {
      if (leader_ != 0 && member.id == leader_) return member.name;
    }
    return "-";
  }
  std::optional<double> RevisionRate() const {
    if (revision_before_ == 0 || revision_ == 0 || seconds_ <= 0) return std::nullopt;
    return static_cast<double>(std::max<int64_t>(0, revision_ - revision_before_)) / seconds_;
  }

  template <typename Value>
  static std::string Number(const std::optional<Value>& value) {
    return value ? absl::StrFormat("%.0f", static_cast<double>(*value)) : "-";
  }
  static std::string Time(const std::optional<double>& seconds) {
    if (!seconds) return "-";
    if (std::isinf(*seconds)) return "long";
    return absl::StrFormat("%.1fms", *seconds * 1000);
  }
  static std::optional<double> Finite(const std::optional<double>& value) {
    return value && std::isfinite(*value) ? value : std::nullopt;
  }

  const Context& context_;
  const absl::Duration limit_;  // for each request
  std::unique_ptr<Client> lister_;
  std::vector<Watched> members_;
  MonotonicTime asked_;
  double seconds_ = 0;  // since the view before
  int64_t revision_ = 0, revision_before_ = 0;
  uint64_t term_ = 0, leader_ = 0;
};

// Ends the pauses when a signal comes.
class Pause {
 public:
  void End() {
    std::lock_guard lock(mutex_);
    ended_ = true;
    changed_.notify_all();
  }
  // False: the view ends.
  bool For(double seconds) {
    std::unique_lock lock(mutex_);
    return !changed_.wait_for(lock, std::chrono::duration<double>(seconds),
                              [this] { return ended_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool ended_ = false;
};

int RunTop(const TopArguments& arguments, const Context& context) {
  if (context.format == Format::kFields) {
    return context.Fail(kExitBadFormat, "fields not supported as output format");
  }
  if (arguments.interval < 0.1 || arguments.interval > 3600) {
    return context.BadArguments("--interval must be from 0.1 to 3600 seconds");
  }
  Top top(context, arguments);
  if (absl::Status found = top.FindMembers(); !found.ok()) return context.Fail(found);
  Pause pause;
  const Interrupts interrupts([&pause](int) { pause.End(); });
  std::ostream& out = context.streams.out;
  const bool json = context.format == Format::kJson;
  const bool live = context.streams.out_is_terminal && !json;
  for (int64_t shown = 0;;) {
    top.AskAll();
    if (live) out << "\033[H\033[2J";
    out << (json ? top.AsJson() : top.AsTable()) << "\n" << std::flush;
    if (!out) return kExitIo;
    if (++shown == arguments.count || !pause.For(arguments.interval)) return kExitOk;
    top.FindMembers().IgnoreError();
  }
}

}  // namespace

void AddTopVerb(CLI::App& app, Context& context) {
  CLI::App* top = app.add_subcommand("top", "Shows all members: roles, rates, lag, latencies");
  auto arguments = std::make_shared<TopArguments>();
  AddNumber(*top, "--interval", arguments->interval, "seconds from one view to the next")
      ->capture_default_str();
  AddNumber(*top, "--count", arguments->count, "end after this many views (0: at Ctrl-C)");
  top->footer(
      "On a terminal, each view replaces the one before. With -w json, each view is a line. Rates\n"
      "and latencies come from the metrics of the members, and are those since the view before.\n"
      "A P99 is the time within which 99% of the calls ended, rounded up to a bucket's limit.\n");
  context.OnVerb(top, [arguments, &context] { return RunTop(*arguments, context); });
}

}  // namespace raftkv::client
