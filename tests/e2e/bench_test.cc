// `raftkv bench` with a real member.

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/e2e/cluster.h"

namespace raftkv::e2e {
namespace {

nlohmann::json Bench(Cluster& cluster, std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(),
                   {BuiltProgram("raftkv"), "--endpoints=" + cluster.client_address(0), "bench"});
  arguments.insert(arguments.end(), {"-w", "json"});
  const Finished done = RunToEnd({.argv = arguments});
  EXPECT_EQ(done.exit_code, 0) << done.err;
  return nlohmann::json::parse(done.out);
}

// Each put has one event with a key of its own, and as many as there are watches if they share one.
TEST(Bench, WatchCountsTheEventOfEachPut) {
  Cluster cluster({.size = 1});
  cluster.StartAll();
  ASSERT_EQ(cluster.WaitForLeader(), 0);
  for (const bool same_key : {false, true}) {
    std::vector<std::string> arguments = {"watch", "--watches=20", "--streams=3", "--total=50"};
    if (same_key) arguments.push_back("--same-key");
    const auto json = Bench(cluster, arguments);
    EXPECT_EQ(json.at("ops"), 50);
    EXPECT_EQ(json.at("missing_events"), 0);
    EXPECT_GE(json.at("events"), same_key ? 1000 : 50);
    EXPECT_GT(json.at("event_delay").at("p99_ms"), 0);
    int64_t events = 0;
    for (const auto& bar : json.at("histogram")) events += bar.at("count").get<int64_t>();
    EXPECT_EQ(events, json.at("events"));
  }
}

TEST(Bench, CpuTimeOfTheLocalServersIsThatOfTheirProcesses) {
  Cluster cluster({.size = 3});
  cluster.StartAll();
  ASSERT_GE(cluster.WaitForLeader(), 0);
  const auto json = Bench(cluster, {"mix", "--clients=8", "--seconds=2", "--key-space=100"});
  EXPECT_EQ(json.at("local_servers"), 3) << "found by the list of members";
  EXPECT_GT(json.at("server_cpu_us_per_op"), 0);
  EXPECT_GT(json.at("gets").at("p50_ms"), 0);
  EXPECT_GT(json.at("puts").at("p50_ms"), 0);
}

}  // namespace
}  // namespace raftkv::e2e
