#include "storage/log/watermark.h"

#include <filesystem>
#include <fstream>
#include <string>

#include "gtest/gtest.h"
#include "tests/storage/testing.h"

namespace raftkv {
namespace {

class WatermarkTest : public testing::Test {
 protected:
  absl::StatusOr<std::unique_ptr<Watermark>> Open(bool create = false, uint64_t cluster = 5) {
    return Watermark::Open(path_, {.cluster_id = cluster, .member_id = 6}, create);
  }
  void Damage(std::streamoff at) {
    std::fstream file(path_, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(at);
    file << "damaged";
  }
  static Watermark::Mark At(raft::Index index) {
    return {.term = 2,
            .vote = 3,
            .first_index = 1,
            .last = {.term = 2, .index = index},
            .chain_hash = index * 7};
  }

  TempDir dir_;
  const std::string path_ = dir_ / "WATERMARK";
};

TEST_F(WatermarkTest, RemembersTheLastMark) {
  auto watermark = Open(/*create=*/true);
  ASSERT_TRUE(watermark.ok()) << watermark.status();
  EXPECT_EQ((*watermark)->mark(), Watermark::Mark());
  for (raft::Index i = 1; i <= 5; ++i) {
    (*watermark)->Record(At(i), /*sync=*/i % 2 == 0);
    watermark = Open();
    ASSERT_TRUE(watermark.ok()) << watermark.status();
    EXPECT_EQ((*watermark)->mark(), At(i));
  }
}

TEST_F(WatermarkTest, OneTornSlotLeavesTheMarkBefore) {
  for (std::streamoff slot : {0, 4096}) {
    std::filesystem::remove(path_);
    auto watermark = Open(/*create=*/true);
    (*watermark)->Record(At(1), false);
    (*watermark)->Record(At(2), false);
    Damage(slot + 40);
    watermark = Open();
    ASSERT_TRUE(watermark.ok()) << watermark.status();
    const raft::Index index = (*watermark)->mark().last.index;
    EXPECT_TRUE(index == 1 || index == 2) << index;
  }
}

TEST_F(WatermarkTest, MissingDestroyedOrForeignIsDamage) {
  EXPECT_EQ(Open().status().code(), absl::StatusCode::kDataLoss);
  ASSERT_TRUE(Open(/*create=*/true).ok());
  EXPECT_EQ(Open(false, /*cluster=*/99).status().code(), absl::StatusCode::kDataLoss);
  Damage(40);
  ASSERT_TRUE(Open().ok());
  Damage(4096 + 40);
  EXPECT_EQ(Open().status().code(), absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace raftkv
