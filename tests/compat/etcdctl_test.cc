// Runs the same etcdctl command lines, in the same order, against etcd and against raftkv, and
// compares output, errors and exit codes. The two clusters run one after the other on the same
// ports and with the same name. So they have the same ids, and ids are compared too.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <regex>
#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "tests/e2e/cluster.h"

namespace raftkv::e2e {
namespace {

struct Line {
  std::vector<std::string> arguments;
  std::string input;  // on standard input
};

std::string Replace(const std::string& text, const char* pattern, const char* with) {
  return std::regex_replace(text, std::regex(pattern), with);
}

// Reads tests/compat/commands.txt. Its head describes the format.
std::vector<Line> ReadCommandLines() {
  std::vector<Line> lines;
  const std::string file = ReadFile(RAFTKV_SOURCE_DIR "/tests/compat/commands.txt");
  for (absl::string_view text : absl::StrSplit(file, '\n', absl::SkipEmpty())) {
    if (text[0] == '#') continue;
    Line line;
    if (const size_t at = text.find(" <<"); at != absl::string_view::npos) {
      const absl::string_view input = text.substr(at + 3);
      line.input = Replace(std::string(absl::StripLeadingAsciiWhitespace(input)), R"(\\n)", "\n");
      text = text.substr(0, at);
    }
    for (absl::string_view word : absl::StrSplit(text, ' ')) {
      size_t bytes = 0;
      if (absl::ConsumePrefix(&word, "<") && absl::SimpleAtoi(word, &bytes)) {
        line.input = std::string(bytes, 'x');
      } else {
        line.arguments.emplace_back(word == "''" ? "" : word);
      }
    }
    lines.push_back(std::move(line));
  }
  return lines;
}

template <typename Response>
std::string DecodedAs(const std::string& bytes, bool any_member) {
  Response response;
  if (bytes.empty() || !response.ParseFromString(bytes)) return bytes;
  response.mutable_header()->set_raft_term(0);
  if (any_member) response.mutable_header()->set_member_id(0);
  return response.DebugString();
}

// Decodes the output of -w protobuf to text. `any_member`: several endpoints were given, so any
// member may have answered, and its id is not compared.
std::string Decode(const std::string& verb, const std::string& bytes, bool any_member) {
  if (verb == "get") return DecodedAs<etcdserverpb::RangeResponse>(bytes, any_member);
  if (verb == "put") return DecodedAs<etcdserverpb::PutResponse>(bytes, any_member);
  if (verb == "txn") return DecodedAs<etcdserverpb::TxnResponse>(bytes, any_member);
  if (verb == "del") return DecodedAs<etcdserverpb::DeleteRangeResponse>(bytes, any_member);
  return DecodedAs<etcdserverpb::MemberListResponse>(bytes, any_member);
}

// Matches the hash of an endpoint in every format of `endpoint hashkv`.
constexpr char kHash[] = R"re(("hash":|"Hash" : |[0-9], |[0-9] \| )(\d+))re";

// Returns all hashes in the output of `endpoint hashkv`.
std::set<std::string> Hashes(const std::string& text) {
  const std::regex pattern(kHash);
  std::set<std::string> hashes;
  for (std::sregex_iterator it(text.begin(), text.end(), pattern), end; it != end; ++it) {
    hashes.insert((*it)[2].str());
  }
  return hashes;
}

// Masks what may differ between two clusters (term, leader, log positions, version, sizes, times)
// and what differs between two runs of etcdctl.
std::string Mask(const Line& line, std::string text, bool any_member) {
  text = Replace(text, R"re("(raft_term|raftTerm|RaftTerm)"( ?: ?)\d+)re", "\"$1\"$2T");
  if (any_member) text = Replace(text, R"re("(member_id|MemberID)"( ?: ?)\d+)re", "\"$1\"$2M");
  text = Replace(text, R"re("ts":"[^"]*")re", "\"ts\":\"\"");
  text = Replace(text, "client-[0-9a-f-]{36}/[0-9.:]+", "CLIENT");
  text = Replace(text, R"re("attempt":\d+)re", "\"attempt\":N");
  // The ids of leases are random, and their time passes.
  text = Replace(text, R"re(("lease":|"Lease" : |"ID":|"id":|"ID" : )[1-9]\d{12,})re", "$1LEASE");
  text = Replace(text, R"re(\b(lease |^)[0-9a-f]{16}\b)re", "$1LEASE");
  text = Replace(text, R"re(\n[0-9a-f]{16}\b)re", "\nLEASE");
  text = Replace(text, R"re((remaining\(|"ttl":)\d+)re", "$1TIME");
  if (line.arguments[0] == "lease" && line.arguments.size() > 1 &&
      line.arguments[1] == "timetolive") {
    text = Replace(text, R"re("TTL" : \d+)re", "\"TTL\" : TIME");
  }
  if (line.arguments[0] != "endpoint") return text;
  text = Replace(text, R"re((took = |"took":")[0-9.]+(ms|s|\xc2\xb5s))re", "$1TIME");
  text = Replace(text, R"re([0-9.]+(ms|s|\xc2\xb5s) )re", "TIME ");  // table of endpoint health
  text = Replace(text,
                 R"re("(version|dbSize|leader|raftIndex|raftAppliedIndex|dbSizeInUse)":[^,}]+)re",
                 "\"$1\":X");
  text =
      Replace(text, R"re("(Version|DBSize|Leader|RaftIndex|RaftAppliedIndex|DBSizeInUse)" : .*)re",
              "\"$1\" : X");
  // Fields: endpoint, ID, version, size, leader, learner, term, index, applied index, errors.
  text = Replace(
      text,
      R"re((, |\| +)[0-9.]+((, | +\| +))[0-9.]+ [kM]?B((, | +\| +))(true|false)((, | +\| +)false(, | +\| +))\d+(, | +\| +)\d+(, | +\| +)\d+)re",
      "$1VERSION$2SIZE$4LEADS$7TERM$10INDEX$11APPLIED");
  text = Replace(text, " +", " ");
  text = Replace(text, "-+", "-");
  if (line.arguments[1] == "hashkv") return Replace(text, kHash, "$1HASH");
  if (line.arguments[1] == "health") {  // printed in the order of the answers
    std::vector<std::string> lines = absl::StrSplit(text, '\n');
    std::sort(lines.begin(), lines.end());
    text = absl::StrJoin(lines, "\n");
    text = Replace(text, R"re(\{"endpoint":"[0-9.:]+")re", "{\"endpoint\":\"E\"");
  }
  return text;
}

struct Outcome {
  std::string command;
  std::string out;
  std::string err;
  int exit_code = 0;
};

class Session {
 public:
  // `program`: the command line client that runs the lines.
  Session(Product product, const std::vector<int>& ports, std::string program = "etcdctl")
      : program_(std::move(program)),
        cluster_({.product = product, .name = "compat", .ports = ports}) {
    cluster_.StartAll();
    ready_ = cluster_.WaitForLeader() >= 0;
  }
  bool ready() const { return ready_; }

  std::vector<Outcome> RunOnTheFirst(const std::vector<Line>& lines) {
    std::vector<Outcome> outcomes;
    for (const Line& line : lines) {
      outcomes.push_back(RunOne(line, cluster_.client_address(0), /*all=*/false));
    }
    return outcomes;
  }

  // Runs all lines with each single endpoint, then with all endpoints.
  std::vector<Outcome> RunAll(const std::vector<Line>& lines) {
    std::vector<Outcome> outcomes;
    for (int i = 0; i <= cluster_.size(); ++i) {
      const bool all = i == cluster_.size();
      const std::string endpoints =
          all ? absl::StrJoin(cluster_.client_addresses(), ",") : cluster_.client_address(i);
      for (const Line& line : lines) outcomes.push_back(RunOne(line, endpoints, all));
    }
    return outcomes;
  }

 private:
  // Waits until every member has applied everything that was written so far. A linearizable read
  // through each member does that. Returns false if one fails.
  bool CatchUpAll() {
    for (int i = 0; i < cluster_.size(); ++i) {
      if (!cluster_.Get(i, "k").ok()) return false;
    }
    return true;
  }

  // Replaces @N by the store's revision minus N, and $LEASE.
  std::string WithRevisions(std::string text) {
    text = Replace(text, R"(\$LEASE)", lease_.c_str());
    std::smatch found;
    if (!std::regex_search(text, found, std::regex("@(\\d+)"))) return text;
    const int64_t revision = cluster_.Get(0, "k").response.header().revision();
    return absl::StrCat(found.prefix().str(), revision - std::stoll(found[1]),
                        found.suffix().str());
  }

  Outcome RunOne(const Line& line, const std::string& endpoints, bool all) {
    // Answers from a member's local state are comparable only once all members have caught up.
    const bool hashes = absl::StrContains(absl::StrJoin(line.arguments, " "), "hashkv");
    if (all || hashes) {
      EXPECT_TRUE(CatchUpAll());
    }
    Command command;
    command.argv = {program_, "--endpoints=" + endpoints};
    command.argv.insert(command.argv.end(), line.arguments.begin(), line.arguments.end());
    command.environment = {{"ETCDCTL_API", "3"}};
    command.input_file = cluster_.dir() + "/input";
    for (std::string& argument : command.argv) argument = WithRevisions(argument);
    WriteFile(command.input_file, WithRevisions(line.input));
    const Finished finished = RunToEnd(command);
    std::smatch granted;
    if (std::regex_search(finished.out, granted, std::regex("lease ([0-9a-f]{16}) granted"))) {
      lease_ = granted[1];
    }
    if (all && hashes && cluster_.options().product == Product::kRaftkv) {
      EXPECT_LE(Hashes(finished.out).size(), 1u) << finished.out;
    }
    Outcome outcome;
    outcome.command = absl::StrJoin(command.argv, " ");
    outcome.exit_code = finished.exit_code;
    const bool binary = absl::StrContains(outcome.command, "-w protobuf");
    outcome.out =
        binary ? Decode(line.arguments[0], finished.out, all) : Mask(line, finished.out, all);
    outcome.err = Mask(line, finished.err, all);
    return outcome;
  }

  const std::string program_;
  Cluster cluster_;
  bool ready_ = false;
  std::string lease_ = "7b";  // the one that was granted last
};

TEST(Etcdctl, PrintsTheSameForRaftkvAsForEtcd) {
  const std::vector<Line> lines = ReadCommandLines();
  ASSERT_GE(lines.size(), 60u);
  ASSERT_NE(EtcdProgram(), "");
  const std::vector<int> ports = FreePorts(6);
  const auto run = [&](Product product) {
    Session session(product, ports);
    EXPECT_TRUE(session.ready());
    return session.ready() ? session.RunAll(lines) : std::vector<Outcome>();
  };
  const std::vector<Outcome> expected = run(Product::kEtcd);
  ASSERT_FALSE(expected.empty());
  const std::vector<Outcome> actual = run(ProductUnderTest());
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    SCOPED_TRACE(expected[i].command);
    EXPECT_EQ(actual[i].out, expected[i].out);
    EXPECT_EQ(actual[i].err, expected[i].err);
    EXPECT_EQ(actual[i].exit_code, expected[i].exit_code);
  }
}

// Runs a watch that starts in the past, until it has printed what ends with `end`.
std::string RunWatch(Cluster& cluster, const std::string& program,
                     const std::vector<std::string>& arguments, const std::string& end) {
  Command command;
  command.argv = {program, "--endpoints=" + cluster.client_address(0), "watch"};
  command.argv.insert(command.argv.end(), arguments.begin(), arguments.end());
  command.environment = {{"ETCDCTL_API", "3"}};
  const std::string file = cluster.dir() + "/watch";
  WriteFile(file, "");
  Process process(command, file);
  EXPECT_TRUE(Eventually(absl::Seconds(10), [&] { return absl::EndsWith(ReadFile(file), end); }))
      << absl::StrJoin(command.argv, " ") << "\n"
      << ReadFile(file);
  process.Kill();
  return Replace(ReadFile(file), R"re("(raft_term|RaftTerm)"( ?: ?)\d+)re", "\"$1\"$2T");
}

TEST(Etcdctl, WatchPrintsTheSame) {
  ASSERT_NE(EtcdProgram(), "");
  struct Watch {
    std::vector<std::string> arguments;
    std::string end;
  };
  const std::vector<Watch> watches = {
      {{"k", "--rev=1"}, "PUT\nk\nlast\n"},
      {{"a", "z", "--rev=3", "--prev-kv"}, "k\n\nk\nlast\n"},
      {{"--prefix", "dir/", "--rev=1"}, "DELETE\ndir/a\n\n"},
      {{"k", "--rev=1", "-w", "json"}, "\"Created\":false}\n"},
      {{"k", "--rev=1", "--prev-kv", "-w", "fields"}, "\"Lease\" : 0\n"},
      {{"dir/a", "--rev=1", "--", "sh", "-c",
        "echo $ETCD_WATCH_REVISION $ETCD_WATCH_EVENT_TYPE $ETCD_WATCH_KEY $ETCD_WATCH_VALUE"},
       "\"DELETE\" \"dir/a\" \"\"\n"}};
  const std::vector<int> ports = FreePorts(2);
  const auto run = [&](Product product, bool ours) {
    std::vector<std::string> printed;
    Cluster cluster({.product = product, .size = 1, .name = "compat", .ports = ports});
    cluster.StartAll();
    EXPECT_EQ(cluster.WaitForLeader(), 0);
    for (const auto& [key, value] : std::vector<std::pair<std::string, std::string>>{
             {"k", "1"}, {"dir/a", "2"}, {"k", ""}, {"dir/b", "3"}}) {
      EXPECT_TRUE(cluster.Put(0, key, value).ok());
    }
    EXPECT_TRUE(Delete(cluster.connection(0), "dir/a").ok());
    EXPECT_TRUE(cluster.Put(0, "k", "last").ok());
    for (const Watch& watch : watches) {
      printed.push_back(RunWatch(cluster, "etcdctl", watch.arguments, watch.end));
    }
    if (!ours) return printed;
    for (size_t i = 0; i < watches.size(); ++i) {
      if (watches[i].arguments.back() == "json") continue;  // zero fields differ (docs/cli.md)
      EXPECT_EQ(RunWatch(cluster, BuiltProgram("raftkv"), watches[i].arguments, watches[i].end),
                printed[i]);
    }
    return printed;
  };
  EXPECT_EQ(run(Product::kRaftkv, /*ours=*/true), run(Product::kEtcd, /*ours=*/false));
}

// The lines of `move-leader` in one cluster, in which the second member must lead at the end.
std::vector<std::string> MoveLeader(Product product, const std::vector<int>& ports,
                                    const std::string& program) {
  Cluster cluster({.product = product, .name = "compat", .ports = ports});
  cluster.StartAll();
  EXPECT_GE(cluster.WaitForLeader(), 0);
  const std::string all = absl::StrJoin(cluster.client_addresses(), ",");
  const auto run = [&](const std::string& target, const std::string& format) {
    const Finished finished =
        RunToEnd({.argv = {program, "--endpoints=" + all, "move-leader", target, "-w", format},
                  .environment = {{"ETCDCTL_API", "3"}}});
    return absl::StrCat(finished.exit_code, " ", finished.out);
  };
  const auto id = [&](int i) {
    return absl::StrCat(absl::Hex(cluster.Status(i).response.header().member_id()));
  };
  std::vector<std::string> lines;
  // A transfer to the member that leads already changes nothing.
  run(id(0), "simple");
  for (const char* format : {"simple", "json"}) {
    for (const int i : {2, 1}) {
      lines.push_back(run(id(i), format));
      EXPECT_EQ(cluster.WaitForLeader(), i);
    }
  }
  lines.push_back(run("x", "simple"));
  return lines;
}

TEST(Etcdctl, MovesTheLeader) {
  ASSERT_NE(EtcdProgram(), "");
  const std::vector<int> ports = FreePorts(6);
  const auto expected = MoveLeader(Product::kEtcd, ports, "etcdctl");
  EXPECT_EQ(MoveLeader(ProductUnderTest(), ports, "etcdctl"), expected);
  EXPECT_EQ(MoveLeader(ProductUnderTest(), ports, BuiltProgram("raftkv")), expected);
}

// What a cluster with an alarm prints, and how it ends.
std::vector<std::string> Alarms(Product product, const std::vector<int>& ports,
                                const std::string& program) {
  Cluster cluster({.product = product, .name = "compat", .ports = ports});
  cluster.StartAll();
  EXPECT_GE(cluster.WaitForLeader(), 0);
  Connection& connection = cluster.connection(0);
  etcdserverpb::AlarmRequest raise;
  raise.set_action(etcdserverpb::AlarmRequest::ACTIVATE);
  raise.set_alarm(etcdserverpb::NOSPACE);
  raise.set_memberid(5);
  EXPECT_TRUE(
      Call(connection, *connection.maintenance, &etcdserverpb::Maintenance::Stub::Alarm, raise)
          .ok());
  std::vector<std::string> lines;
  for (const std::string& command : {"alarm list", "put k v", "get k", "del k", "alarm disarm",
                                     "alarm disarm", "alarm list", "put k v"}) {
    std::vector<std::string> words = absl::StrSplit(command, ' ');
    words.insert(words.begin(), {program, "--endpoints=" + cluster.client_address(1)});
    const Finished finished = RunToEnd({.argv = words, .environment = {{"ETCDCTL_API", "3"}}});
    const bool denied = absl::StrContains(finished.err, "mvcc: database space exceeded");
    lines.push_back(
        absl::StrCat(command, ": ", finished.exit_code, " ", finished.out, denied ? "denied" : ""));
  }
  return lines;
}

TEST(Etcdctl, ListsAndDisarmsAlarms) {
  ASSERT_NE(EtcdProgram(), "");
  const std::vector<int> ports = FreePorts(6);
  const auto expected = Alarms(Product::kEtcd, ports, "etcdctl");
  EXPECT_THAT(expected[0], testing::HasSubstr("memberID:5 alarm:NOSPACE"));
  EXPECT_THAT(expected[1], testing::HasSubstr("denied"));
  EXPECT_EQ(Alarms(ProductUnderTest(), ports, "etcdctl"), expected);
  EXPECT_EQ(Alarms(ProductUnderTest(), ports, BuiltProgram("raftkv")), expected);
}

// What etcdctl saves from raftkv is a backup of raftkv, and what raftkv saves from etcd is etcd's.
TEST(Etcdctl, SavesSnapshots) {
  ASSERT_NE(EtcdProgram(), "");
  const auto run = [](std::vector<std::string> argv) {
    return RunToEnd({.argv = std::move(argv), .environment = {{"ETCDCTL_API", "3"}}});
  };
  for (const Product product : {Product::kEtcd, Product::kRaftkv}) {
    Cluster cluster({.product = product, .size = 1, .name = "compat"});
    cluster.StartAll();
    ASSERT_EQ(cluster.WaitForLeader(), 0);
    ASSERT_TRUE(cluster.Put(0, "k", "v").ok());
    for (const std::string& program : {std::string("etcdctl"), BuiltProgram("raftkv")}) {
      SCOPED_TRACE(program + (product == Product::kEtcd ? " with etcd" : " with raftkv"));
      const std::string file = cluster.dir() + "/saved";
      const Finished saved =
          run({program, "--endpoints=" + cluster.client_address(0), "snapshot", "save", file});
      EXPECT_EQ(saved.exit_code, 0) << saved.err;
      EXPECT_EQ(saved.out, "Snapshot saved at " + file + "\n");
      const Finished etcds = run({"etcdctl", "snapshot", "status", file});
      const Finished ours = run({BuiltProgram("raftkv"), "snapshot", "status", file});
      EXPECT_EQ(etcds.exit_code == 0, product == Product::kEtcd) << etcds.err;
      EXPECT_EQ(ours.exit_code == 0, product == Product::kRaftkv) << ours.err;
      if (product == Product::kEtcd) {
        EXPECT_THAT(ours.err, testing::HasSubstr("is not a backup of raftkv"));
      } else {
        EXPECT_THAT(etcds.err, testing::HasSubstr("invalid database"));
        EXPECT_THAT(ours.out, testing::HasSubstr(", 2, 1, ")) << "revision and keys";
      }
    }
  }
}

// Whether our command line program behaves differently from etcdctl on purpose (docs/cli.md).
bool DiffersOnPurpose(const Line& line) {
  const std::string text = absl::StrJoin(line.arguments, " ");
  if (std::regex_search(text, std::regex("-w (json|table|protobuf)"))) return true;
  // Ours sorts before the limit is applied. etcdctl sorts afterwards, unless it is given an order.
  if (absl::StrContains(text, "--sort-by") && !absl::StrContains(text, "--order")) return true;
  if (absl::StrContains(text, "--count-only -w fields")) return true;  // an error in etcdctl
  // Ours rejects arguments that make no sense.
  return std::regex_search(
      text, std::regex("--limit=-1|--rev=-5| a b c$| extra$|--keys-only --print-value-only"));
}

TEST(Etcdctl, PrintsTheSameAsRaftkvsCommandLine) {
  static constexpr const char* kVerbs[] = {"put", "get", "del", "txn", "compaction", "lease"};
  std::vector<Line> lines;
  for (Line& line : ReadCommandLines()) {
    const bool shared =
        std::find(std::begin(kVerbs), std::end(kVerbs), line.arguments[0]) != std::end(kVerbs) ||
        absl::StartsWith(absl::StrJoin(line.arguments, " "), "endpoint hashkv");
    if (shared && !DiffersOnPurpose(line)) lines.push_back(std::move(line));
  }
  const std::vector<int> ports = FreePorts(6);
  const auto run = [&](const std::string& program) {
    Session session(Product::kRaftkv, ports, program);
    EXPECT_TRUE(session.ready());
    return session.ready() ? session.RunOnTheFirst(lines) : std::vector<Outcome>();
  };
  const std::vector<Outcome> expected = run("etcdctl");
  const std::vector<Outcome> actual = run(BuiltProgram("raftkv"));
  ASSERT_EQ(expected.size(), lines.size());
  ASSERT_EQ(actual.size(), lines.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    SCOPED_TRACE(expected[i].command);
    EXPECT_EQ(actual[i].exit_code == 0, expected[i].exit_code == 0) << actual[i].err;
    // Error messages may differ.
    if (expected[i].exit_code == 0) {
      EXPECT_EQ(actual[i].out, expected[i].out);
    }
  }
}

}  // namespace
}  // namespace raftkv::e2e
