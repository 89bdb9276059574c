// `raftkv lock` and `elect` beside those of etcdctl, on raftkv and on etcd: they exclude each
// other, become owners in the order in which they came, and print the same.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <regex>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/e2e/cluster.h"

namespace raftkv::e2e {
namespace {

class EtcdctlLock : public testing::TestWithParam<Product> {
 protected:
  void SetUp() override {
    if (GetParam() == Product::kEtcd) {
      ASSERT_NE(EtcdProgram(), "");
    }
    cluster_.emplace(ClusterOptions{.product = GetParam(), .size = 1, .name = "compat"});
    cluster_->StartAll();
    ASSERT_EQ(cluster_->WaitForLeader(), 0);
    // Just after the start, a member may not have agreed on the newest cluster version.
    ASSERT_TRUE(Eventually(kLong, [this] {
      return RunToEnd(CommandOf(BuiltProgram("raftkv"), {"lease", "grant", "60"})).exit_code == 0;
    }));
  }

  Command CommandOf(const std::string& program, std::vector<std::string> words) const {
    words.insert(words.begin(), {program, "--endpoints=" + cluster_->client_address(0)});
    return {.argv = std::move(words), .environment = {{"ETCDCTL_API", "3"}}};
  }
  Process Start(const std::string& program, std::vector<std::string> words,
                const std::string& file) const {
    return Process(CommandOf(program, std::move(words)), Path(file));
  }
  std::string Path(const std::string& file) const { return cluster_->dir() + "/" + file; }
  // The output, with the lease masked.
  std::string Output(const std::string& file) const {
    return std::regex_replace(ReadFile(Path(file)), std::regex("/[0-9a-f]+"), "/LEASE");
  }
  bool EventuallyPrints(const std::string& file, const std::string& text) const {
    return Eventually(kLong, [&] { return Output(file) == text; });
  }
  bool EventuallyKeys(const std::string& prefix, int64_t number) const {
    return Eventually(kLong, [&] {
      etcdserverpb::RangeRequest request = GetRequest(prefix + "/");
      request.set_range_end(prefix + "0");
      const auto reply = Range(cluster_->connection(0), request);
      return reply.ok() && reply.response.count() == number;
    });
  }

  static constexpr absl::Duration kLong = absl::Seconds(20);
  mutable std::optional<Cluster> cluster_;
};

TEST_P(EtcdctlLock, LocksExcludeEachOther) {
  for (const auto& [first, second] : {std::pair(std::string("etcdctl"), BuiltProgram("raftkv")),
                                      std::pair(BuiltProgram("raftkv"), std::string("etcdctl"))}) {
    SCOPED_TRACE(first + " before " + second);
    WriteFile(Path("first"), "");
    WriteFile(Path("second"), "");
    Process owner = Start(first, {"lock", "jobs"}, "first");
    ASSERT_TRUE(EventuallyPrints("first", "jobs/LEASE\n\n"));
    Process waiter =
        Start(second, {"lock", "jobs", "--", "sh", "-c", "echo $ETCD_LOCK_KEY"}, "second");
    ASSERT_TRUE(EventuallyKeys("jobs", 2));
    EXPECT_EQ(Output("second"), "");
    owner.Signal(SIGTERM);
    EXPECT_EQ(owner.Wait(kLong), 0);
    EXPECT_EQ(waiter.Wait(kLong), 0);
    EXPECT_EQ(Output("second"), "jobs/LEASE\n");
    EXPECT_TRUE(EventuallyKeys("jobs", 0));
  }
}

TEST_P(EtcdctlLock, LeadersAreElectedAmongBoth) {
  const std::string ours = BuiltProgram("raftkv");
  Process their_observer = Start("etcdctl", {"elect", "-l", "chief"}, "their observer");
  Process our_observer = Start(ours, {"elect", "-l", "chief"}, "our observer");
  Process first = Start("etcdctl", {"elect", "chief", "them"}, "first");
  ASSERT_TRUE(EventuallyPrints("our observer", "chief/LEASE\nthem\n"));
  ASSERT_TRUE(EventuallyPrints("their observer", "chief/LEASE\nthem\n"));
  Process second = Start(ours, {"elect", "chief", "us"}, "second");
  ASSERT_TRUE(EventuallyKeys("chief", 2));
  Process third = Start("etcdctl", {"elect", "chief", "them again"}, "third");
  ASSERT_TRUE(EventuallyKeys("chief", 3));
  first.Signal(SIGINT);
  EXPECT_EQ(first.Wait(kLong), 0);
  ASSERT_TRUE(EventuallyPrints("second", "chief/LEASE\nus\n"));
  // An observer that is slow may miss a leader that has already resigned.
  const std::string two = "chief/LEASE\nthem\nchief/LEASE\nus\n";
  EXPECT_TRUE(EventuallyPrints("our observer", two));
  EXPECT_TRUE(EventuallyPrints("their observer", two));
  second.Signal(SIGINT);
  EXPECT_EQ(second.Wait(kLong), 0);
  ASSERT_TRUE(EventuallyPrints("third", "chief/LEASE\nthem again\n"));
  const std::string all = two + "chief/LEASE\nthem again\n";
  EXPECT_TRUE(EventuallyPrints("our observer", all));
  EXPECT_TRUE(EventuallyPrints("their observer", all));
}

INSTANTIATE_TEST_SUITE_P(On, EtcdctlLock, testing::Values(Product::kRaftkv, Product::kEtcd),
                         [](const auto& info) {
                           return info.param == Product::kEtcd ? "etcd" : "raftkv";
                         });

}  // namespace
}  // namespace raftkv::e2e
