// The verbs top and check perf, and what they are made of.

#include <gmock/gmock.h>
#include <sys/socket.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "absl/strings/str_split.h"
#include "client/cli/samples.h"
#include "tests/client/cli_fixture.h"

namespace raftkv::client {
namespace {

using testing::HasSubstr;

bool OfPut(std::string_view labels) { return labels.find("method=\"Put\"") != labels.npos; }
bool Any(std::string_view) { return true; }

TEST(Samples, AreReadFromAPage) {
  const Samples samples(
      "# HELP calls Calls.\n# TYPE calls counter\n"
      "calls{method=\"Put\",text=\"a b}\"} 3\ncalls{method=\"Get\"} 4 1700000000\n"
      "calls_failed 1\nsize 1.5e+03\nbroken\nbroken x\n");
  EXPECT_EQ(samples.Sum("calls", Any), 7);
  EXPECT_EQ(samples.Sum("calls", OfPut), 3);
  EXPECT_EQ(samples.Value("calls_failed"), 1);
  EXPECT_EQ(samples.Value("size"), 1500);
  EXPECT_EQ(samples.Value("call"), std::nullopt);
  EXPECT_EQ(samples.Value("broken"), std::nullopt);
}

TEST(Samples, QuantilesAreThoseOfTheTimeSinceThePageBefore) {
  const Samples before(
      "took_bucket{method=\"Put\",le=\"0.1\"} 5\ntook_bucket{method=\"Put\",le=\"1\"} 5\n"
      "took_bucket{method=\"Put\",le=\"+Inf\"} 5\n");
  const Samples after(
      "took_bucket{method=\"Put\",le=\"0.1\"} 6\ntook_bucket{method=\"Put\",le=\"1\"} 104\n"
      "took_bucket{method=\"Put\",le=\"+Inf\"} 105\n"
      "took_bucket{method=\"Get\",le=\"0.1\"} 1000\ntook_bucket{method=\"Get\",le=\"+Inf\"} "
      "1000\n");
  EXPECT_EQ(after.QuantileSince(before, "took", OfPut, 0.01), 0.1);
  EXPECT_EQ(after.QuantileSince(before, "took", OfPut, 0.99), 1);
  EXPECT_TRUE(std::isinf(*after.QuantileSince(before, "took", OfPut, 1)));
  EXPECT_EQ(after.QuantileSince(after, "took", OfPut, 0.99), std::nullopt) << "nothing since";
  EXPECT_EQ(after.QuantileSince(before, "other", Any, 0.99), std::nullopt);
}

TEST_F(Cli, TopShowsWhyAMemberHasHalted) {
  server_.status_response.add_errors("etcdserver: no leader");
  server_.status_response.add_errors("halted: it lacks entries");
  auto* self = server_.members_response.add_members();
  self->set_id(1);
  self->set_name("n1");
  self->add_clienturls("http://" + server_.address());
  const auto view = nlohmann::json::parse(Out({"top", "--count", "1", "-w", "json"}));
  EXPECT_EQ(view["members"][0]["role"], "halted");
  EXPECT_EQ(view["members"][0]["error"], "halted: it lacks entries");
}

TEST_F(Cli, TopShowsWhatMembersSay) {
  Fill(server_.status_response.mutable_header());
  server_.status_response.set_leader(0xce77b9bd24aacb61);
  server_.status_response.set_raftterm(2);
  server_.status_response.set_raftindex(20);
  server_.status_response.set_raftappliedindex(17);
  server_.status_response.set_dbsize(2000);
  auto* self = server_.members_response.add_members();
  self->set_id(0xce77b9bd24aacb61);
  self->set_name("n1");
  self->add_clienturls("http://" + server_.address());
  auto* down = server_.members_response.add_members();
  down->set_id(7);
  down->set_name("n2");
  down->add_clienturls("http://" + DeadAddress());

  const Result lines = Run({"top", "--count", "2", "--interval", "0.1", "-w", "json"});
  EXPECT_EQ(lines.code, kExitOk) << lines.err;
  const std::vector<std::string> views = absl::StrSplit(lines.out, '\n', absl::SkipEmpty());
  ASSERT_EQ(views.size(), 2u) << lines.out;
  const auto view = nlohmann::json::parse(views[1]);
  EXPECT_EQ(view["leader"], "n1");
  EXPECT_EQ(view["revision"], 7);
  EXPECT_EQ(view["revisions_per_second"], 0);
  EXPECT_EQ(view["members"][0]["role"], "leader");
  EXPECT_EQ(view["members"][0]["apply_lag"], 3);
  EXPECT_EQ(view["members"][0]["db_size"], 2000);
  EXPECT_FALSE(view["members"][0].contains("writes_per_second")) << "it has no metrics";
  EXPECT_EQ(view["members"][1]["role"], "down");
  EXPECT_THAT(std::string(view["members"][1]["error"]), HasSubstr("connection refused"));

  const Result table = Run({"top", "--count=1"});
  EXPECT_EQ(table.code, kExitOk);
  EXPECT_THAT(table.out, HasSubstr("  leader n1  term 2  revision 7\n+"));
  EXPECT_THAT(table.out, HasSubstr("APPLY LAG"));
  EXPECT_THAT(table.out, HasSubstr("|         3 |") /* the lag */);
  EXPECT_THAT(table.out, HasSubstr("connection refused"));
  EXPECT_EQ(Run({"top", "-w", "fields"}).code, kExitBadFormat);
  EXPECT_EQ(Run({"top", "--interval=0"}).code, kExitBadArguments);
  EXPECT_EQ(Raftkv({"top", "--endpoints", DeadAddress().c_str()}).code, kExitUnreachable);
}

TEST_F(Cli, CheckPerfPassesOrSaysWhatIsTooSlow) {
  const Result passed = Run({"check", "perf", "--seconds=1"});
  EXPECT_THAT(passed.out, HasSubstr("PASS: Throughput is "));
  EXPECT_THAT(passed.out, HasSubstr("PASS: Slowest request took 0.0"));
  EXPECT_THAT(passed.out, HasSubstr("PASS: Stddev is 0.0"));
  EXPECT_THAT(passed.out, testing::EndsWith("\nPASS\n"));
  EXPECT_EQ(passed.code, kExitOk);
  EXPECT_EQ(server_.put_request.key().size(), std::string("/etcdctl-check-perf/").size() + 256);
  EXPECT_EQ(server_.put_request.value().size(), 1024u);
  EXPECT_LE(server_.calls, 160) << "150 puts per second";

  EXPECT_EQ(Run({"check", "perf", "--load=huge"}).code, kExitBadArguments);
  EXPECT_EQ(Run({"check", "perf", "-w", "json"}).code, kExitBadFormat);
  Fill(server_.range_response.add_kvs(), "/etcdctl-check-perf/x", "1");
  const Result taken = Run({"check", "perf"});
  EXPECT_EQ(taken.code, kExitFailed);
  EXPECT_THAT(taken.err, HasSubstr("remove them first: raftkv del --prefix /etcdctl-check-perf/"));
}

TEST_F(Cli, CheckPerfFailsWithErrors) {
  server_.before = [](grpc::ServerContext*) { return grpc::Status::OK; };
  FakeServer failing;
  failing.before = [&failing](grpc::ServerContext*) {
    // The first call looks for keys, and those after the puts remove them.
    return failing.calls > 1 && failing.calls < 10
               ? grpc::Status(grpc::StatusCode::UNKNOWN, "etcdserver: no leader")
               : grpc::Status::OK;
  };
  const std::string endpoints = "--endpoints=" + failing.address();
  const Result result = Raftkv({"check", "perf", "--seconds=1", endpoints.c_str()});
  EXPECT_EQ(result.code, kExitFailed);
  EXPECT_THAT(result.out,
              HasSubstr("FAIL: too many errors\nFAIL: ERROR(etcdserver: no leader) -> "));
  EXPECT_THAT(result.out, testing::EndsWith("\nFAIL\n"));
}

}  // namespace
}  // namespace raftkv::client
