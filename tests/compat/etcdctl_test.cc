// Debian's etcdctl cannot tell raftkv from etcd: the same command lines, in the same order, give
// the same output, errors and exit codes. Both clusters run one after the other on the same ports
// and under the same name, hence with the same ids, so that ids are compared as well.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <regex>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
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

// tests/compat/commands.txt, whose head says what its lines mean.
std::vector<Line> ReadCommandLines() {
  std::vector<Line> lines;
  const std::string file = ReadFile(RAFTKV_SOURCE_DIR "/tests/compat/commands.txt");
  for (absl::string_view text : absl::StrSplit(file, '\n', absl::SkipEmpty())) {
    if (text[0] == '#') continue;
    Line line;
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

std::string Replace(const std::string& text, const char* pattern, const char* with) {
  return std::regex_replace(text, std::regex(pattern), with);
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
  if (verb == "del") return DecodedAs<etcdserverpb::DeleteRangeResponse>(bytes, any_member);
  return DecodedAs<etcdserverpb::MemberListResponse>(bytes, any_member);
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
  Session(Product product, const std::vector<int>& ports)
      : cluster_({.product = product, .name = "compat", .ports = ports}) {
    cluster_.StartAll();
    ready_ = cluster_.WaitForLeader() >= 0;
  }
  bool ready() const { return ready_; }

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
  Outcome RunOne(const Line& line, const std::string& endpoints, bool all) {
    // A serializable read is equal only where everybody has heard of everything.
    if (all && absl::StrContains(absl::StrJoin(line.arguments, " "), "consistency=s")) {
      EXPECT_TRUE(cluster_.MembersAreEqual());
    }
    Command command;
    command.argv = {"etcdctl", "--endpoints=" + endpoints};
    command.argv.insert(command.argv.end(), line.arguments.begin(), line.arguments.end());
    command.environment = {{"ETCDCTL_API", "3"}};
    command.input_file = cluster_.dir() + "/input";
    WriteFile(command.input_file, line.input);
    const Finished finished = RunToEnd(command);
    Outcome outcome;
    outcome.command = absl::StrJoin(command.argv, " ");
    outcome.exit_code = finished.exit_code;
    const bool binary = absl::StrContains(outcome.command, "-w protobuf");
    outcome.out =
        binary ? Decode(line.arguments[0], finished.out, all) : Mask(line, finished.out, all);
    outcome.err = Mask(line, finished.err, all);
    return outcome;
  }

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

}  // namespace
}  // namespace raftkv::e2e
