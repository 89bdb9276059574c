// The state of one member is changed by something other than the log (docs/decisions/0018).

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "storage/engine/rocks_engine.h"
#include "storage/mvcc/layout.h"
#include "tests/e2e/cluster.h"
#include "tests/storage/change_version.h"

namespace raftkv::e2e {
namespace {

using testing::HasSubstr;

void ChangeVersionOnDisk(const std::string& state_dir, const std::string& key) {
  RocksOptions options;
  options.dir = state_dir;
  options.durability = Durability::kFlushed;
  options.filter_prefix = mvcc::VersionFilterPrefix;
  absl::StatusOr<std::unique_ptr<Engine>> engine = OpenRocksEngine(options);
  ASSERT_TRUE(engine.ok()) << engine.status();
  ChangeNewestVersion(key, engine->get());
}

TEST(Divergence, AMemberWhoseStateWasChangedIsFoundAndHalts) {
  if (ProductUnderTest() == Product::kEtcd) GTEST_SKIP() << "about raftkv-server";
  Cluster cluster({.election_timeout = absl::Milliseconds(500)});
  cluster.StartAll();
  const int leader = cluster.WaitForLeader();
  ASSERT_GE(leader, 0);
  ASSERT_TRUE(cluster.Put(leader, "k", "v").ok());
  ASSERT_TRUE(cluster.MembersAreEqual());
  const int wrong = (leader + 1) % 3;
  ASSERT_EQ(cluster.Terminate(wrong), 0);
  ChangeVersionOnDisk(cluster.data_dir(wrong) + "/sm", "k");
  cluster.Start(wrong);
  ASSERT_TRUE(Eventually(absl::Seconds(10), [&] { return cluster.Get(wrong, "k").ok(); }))
      << "no entry has read the byte yet";

  const auto halted = [&](int member) {
    const auto status = cluster.Status(member);
    for (const std::string& error : status.response.errors()) {
      if (absl::StrContains(error, "halted: after entry")) return true;
    }
    return false;
  };
  const uint64_t changed_at = cluster.Status(leader).response.raftindex();
  ASSERT_TRUE(cluster.Put(leader, "k", "w").ok());
  int written = 0;
  for (; written < 1100 && !halted(wrong); ++written) {
    ASSERT_TRUE(cluster.Put(leader, "other", "v").ok());
  }
  EXPECT_TRUE(Eventually(absl::Seconds(10), [&] { return halted(wrong); }));
  EXPECT_LE(cluster.Status(leader).response.raftindex(), changed_at + 1100);
  EXPECT_THAT(cluster.log(leader), HasSubstr("the states of the members differ after entry"));
  EXPECT_THAT(cluster.log(wrong), HasSubstr("this member has halted: after entry"));
  for (int i = 0; i < 3; ++i) EXPECT_EQ(halted(i), i == wrong);
  EXPECT_TRUE(cluster.Put(leader, "after", "v").ok());
  EXPECT_EQ(cluster.Put(wrong, "after", "v").status.error_code(), grpc::StatusCode::UNAVAILABLE);
  const auto backup = [&](int member) {
    const auto context = MakeContext();
    const auto stream = cluster.connection(member).maintenance->Snapshot(context.get(), {});
    etcdserverpb::SnapshotResponse piece;
    while (stream->Read(&piece)) {
    }
    return stream->Finish().error_code();
  };
  EXPECT_EQ(backup(leader), grpc::StatusCode::OK);
  EXPECT_EQ(backup(wrong), grpc::StatusCode::UNAVAILABLE) << "its state is wrong";
  // The digests are stored, so the wrong state is found at once after a restart.
  cluster.Kill(wrong);
  cluster.Start(wrong);
  EXPECT_TRUE(Eventually(absl::Seconds(10), [&] { return halted(wrong); }));
}

}  // namespace
}  // namespace raftkv::e2e
