// Debian's etcdctl cannot tell raftkv from etcd: the same command lines, in the same order, give
// the same output, errors and exit codes. Both clusters run one after the other on the same ports
// and under the same name, hence with the same ids, so that ids are compared as well.

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

// tests/compat/commands.txt, whose head says what its lines mean.
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

// With several endpoints, any of them may have answered.
std::string Decode(const std::string& verb, const std::string& bytes, bool any_member) {
  if (verb == "get") return DecodedAs<etcdserverpb::RangeResponse>(bytes, any_member);
  if (verb == "put") return DecodedAs<etcdserverpb::PutResponse>(bytes, any_member);
  if (verb == "txn") return DecodedAs<etcdserverpb::TxnResponse>(bytes, any_member);
  if (verb == "del") return DecodedAs<etcdserverpb::DeleteRangeResponse>(bytes, any_member);
  return DecodedAs<etcdserverpb::MemberListResponse>(bytes, any_member);
}

// The hash of an endpoint in each format of `endpoint hashkv`.
constexpr char kHash[] = R"re(("hash":|"Hash" : |[0-9], |[0-9] \| )(\d+))re";

// All that a line of `endpoint hashkv` says each member hashes to.
std::set<std::string> Hashes(const std::string& text) {
  const std::regex pattern(kHash);
  std::set<std::string> hashes;
  for (std::sregex_iterator it(text.begin(), text.end(), pattern), end; it != end; ++it) {
    hashes.insert((*it)[2].str());
  }
  return hashes;
}

// What two clusters may rightly differ in: term, who leads, log positions, version, sizes and
// times; and what differs from run to run of etcdctl itself.
std::string Mask(const Line& line, std::string text, bool any_member) {
  text = Replace(text, R"re("(raft_term|raftTerm|RaftTerm)"( ?: ?)\d+)re", "\"$1\"$2T");
  if (any_member) text = Replace(text, R"re("(member_id|MemberID)"( ?: ?)\d+)re", "\"$1\"$2M");
  text = Replace(text, R"re("ts":"[^"]*")re", "\"ts\":\"\"");
  text = Replace(text, "client-[0-9a-f-]{36}/[0-9.:]+", "CLIENT");
  text = Replace(text, R"re("attempt":\d+)re", "\"attempt\":N");
  if (line.arguments[0] != "endpoint") return text;
  text = Replace(text, R"re((took = |"took":")[0-9.]+(ms|s|\xc2\xb5s))re", "$1TIME");
  text = Replace(text, R"re([0-9.]+(ms|s|\xc2\xb5s) )re", "TIME ");  // table of endpoint health
  text = Replace(text,
                 R"re("(version|dbSize|leader|raftIndex|raftAppliedIndex|dbSizeInUse)":[^,}]+)re",
                 "\"$1\":X");
  text =
      Replace(text, R"re("(Version|DBSize|Leader|RaftIndex|RaftAppliedIndex|DBSizeInUse)" : .*)re",
              "\"$1\" : X");
  // endpoint, ID, version, size, leads, learner, term, index, applied, errors
  text = Replace(
      text,
      R"re((, |\| +)[0-9.]+((, | +\| +))[0-9.]+ [kM]?B((, | +\| +))(true|false)((, | +\| +)false(, | +\| +))\d+(, | +\| +)\d+(, | +\| +)\d+)re",
      "$1VERSION$2SIZE$4LEADS$7TERM$10INDEX$11APPLIED");
  text = Replace(text, " +", " ");
  text = Replace(text, "-+", "-");
  if (line.arguments[1] == "hashkv") return Replace(text, kHash, "$1HASH");
  if (line.arguments[1] == "health") {  // in the order of the answers
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
  // `program`: what runs the lines.
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

  // The whole table on each endpoint alone, then on all of them.
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
  // Whether each member knows all that any was told.
  bool Settle() {
    for (int i = 0; i < cluster_.size(); ++i) {
      if (!cluster_.Get(i, "k").ok()) return false;
    }
    return true;
  }

  // @N becomes the revision N before the store's.
  std::string WithRevisions(const std::string& text) {
    std::smatch found;
    if (!std::regex_search(text, found, std::regex("@(\\d+)"))) return text;
    const int64_t revision = cluster_.Get(0, "k").response.header().revision();
    return absl::StrCat(found.prefix().str(), revision - std::stoll(found[1]),
                        found.suffix().str());
  }

  Outcome RunOne(const Line& line, const std::string& endpoints, bool all) {
    // What a member says by itself is equal only where everybody has heard of everything.
    const bool hashes = absl::StrContains(absl::StrJoin(line.arguments, " "), "hashkv");
    if (all || hashes) {
      EXPECT_TRUE(Settle());
    }
    Command command;
    command.argv = {program_, "--endpoints=" + endpoints};
    command.argv.insert(command.argv.end(), line.arguments.begin(), line.arguments.end());
    command.environment = {{"ETCDCTL_API", "3"}};
    command.input_file = cluster_.dir() + "/input";
    for (std::string& argument : command.argv) argument = WithRevisions(argument);
    WriteFile(command.input_file, WithRevisions(line.input));
    const Finished finished = RunToEnd(command);
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
};

TEST(Etcdctl, SaysTheSameAsOfEtcd) {
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

// Where our own command line means something else (docs/cli.md), or says it in other words.
bool IsOurOwn(const Line& line) {
  const std::string text = absl::StrJoin(line.arguments, " ");
  if (std::regex_search(text, std::regex("-w (json|table|protobuf)"))) return true;
  // It sorts before the limit cuts; etcdctl afterwards, unless told an order.
  if (absl::StrContains(text, "--sort-by") && !absl::StrContains(text, "--order")) return true;
  if (absl::StrContains(text, "--count-only -w fields")) return true;  // which etcdctl refuses
  // It refuses what has no meaning.
  return std::regex_search(
      text, std::regex("--limit=-1|--rev=-5| a b c$| extra$|--keys-only --print-value-only"));
}

TEST(Etcdctl, IsWhatOurCommandLinePrintsLike) {
  static constexpr const char* kVerbs[] = {"put", "get", "del", "txn", "compaction"};
  std::vector<Line> lines;
  for (Line& line : ReadCommandLines()) {
    const bool shared =
        std::find(std::begin(kVerbs), std::end(kVerbs), line.arguments[0]) != std::end(kVerbs) ||
        absl::StartsWith(absl::StrJoin(line.arguments, " "), "endpoint hashkv");
    if (shared && !IsOurOwn(line)) lines.push_back(std::move(line));
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
    // What went wrong each says in its own words.
    if (expected[i].exit_code == 0) {
      EXPECT_EQ(actual[i].out, expected[i].out);
    }
  }
}

}  // namespace
}  // namespace raftkv::e2e
