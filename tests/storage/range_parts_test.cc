// The answer of a range in parts, for KV.RangeStream. tests/model compares the merged parts with
// the model, for random requests.

#include "storage/mvcc/range_parts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/storage/store_test.h"

namespace raftkv {
namespace {

using etcdserverpb::RangeRequest;
using etcdserverpb::RangeResponse;

class RangePartsTest : public StoreTest {
 protected:
  // k0 to k9, with a value of 100 bytes each: revisions 2 to 11.
  void SetUp() override {
    for (int i = 0; i < 10; ++i) Put(absl::StrCat("k", i), std::string(100, 'v'));
  }

  Revision Put(const std::string& key, const std::string& value) {
    return Apply(PutCommand(key, value)).revision;
  }

  RangeResponse Next(mvcc::RangeParts* parts, int64_t bytes_max, const Limits& limits = Limits()) {
    RangeResponse part;
    status_ = state_->Snapshot()->NextPart(parts, bytes_max, limits, &part);
    return part;
  }

  // Each part as its keys, and of the last one also the other fields.
  std::vector<std::string> All(const RangeRequest& request, int64_t bytes_max,
                               const Limits& limits = Limits()) {
    mvcc::RangeParts parts(request);
    std::vector<std::string> all;
    while (!parts.done()) {
      const RangeResponse part = Next(&parts, bytes_max, limits);
      if (!status_.ok() || all.size() > 30) return {std::string(status_.message())};
      all.push_back(TextOf(part));
    }
    return all;
  }

  static std::string TextOf(const RangeResponse& part) {
    std::string text;
    for (const mvccpb::KeyValue& kv : part.kvs()) absl::StrAppend(&text, kv.key(), " ");
    if (!part.has_header()) return text;
    return absl::StrCat(text, "at ", part.header().revision(), part.more() ? ", more" : "", ", of ",
                        part.count());
  }

  absl::Status status_;
};

using testing::ElementsAre;

TEST_F(RangePartsTest, HaveAtMostTheirSizeOrOneKey) {
  EXPECT_THAT(All(AllKeys(), 1 << 20), ElementsAre("k0 k1 k2 k3 k4 k5 k6 k7 k8 k9 at 11, of 10"));
  EXPECT_THAT(All(AllKeys(), 1'000),
              ElementsAre("k0 k1 k2 k3 ", "k4 k5 k6 k7 ", "k8 k9 at 11, of 10"));
  EXPECT_EQ(All(AllKeys(), 1).size(), 10u);
  Put("k3", std::string(5'000, 'v'));
  EXPECT_THAT(All(AllKeys(), 1'000),
              ElementsAre("k0 k1 k2 ", "k3 ", "k4 k5 k6 k7 ", "k8 k9 at 12, of 10"));
}

TEST_F(RangePartsTest, KnowTheLimitAndWhatFollowsIt) {
  RangeRequest request = AllKeys();
  request.set_limit(5);
  EXPECT_THAT(All(request, 1'000), ElementsAre("k0 k1 k2 k3 ", "k4 at 11, more, of 10"));
  request.set_limit(4);
  EXPECT_THAT(All(request, 1'000), ElementsAre("k0 k1 k2 k3 at 11, more, of 10"));
  request.set_limit(10);
  EXPECT_THAT(All(request, 1 << 20), ElementsAre("k0 k1 k2 k3 k4 k5 k6 k7 k8 k9 at 11, of 10"));
  request.set_limit(-1);  // none, as in Range
  EXPECT_EQ(All(request, 1'000).size(), 3u);
}

TEST_F(RangePartsTest, OneKeyAndNone) {
  RangeRequest request;
  request.set_key("k4");
  EXPECT_THAT(All(request, 1), ElementsAre("k4 at 11, of 1"));
  request.set_key("x");
  EXPECT_THAT(All(request, 1), ElementsAre("at 11, of 0"));
}

TEST_F(RangePartsTest, CountOnlyAndKeysOnly) {
  RangeRequest request = AllKeys();
  request.set_keys_only(true);
  mvcc::RangeParts parts(request);
  EXPECT_EQ(Next(&parts, 400).kvs(0).value(), "");
  EXPECT_THAT(All(request, 700), ElementsAre("k0 k1 k2 k3 k4 ", "k5 k6 k7 k8 k9 at 11, of 10"));
  request.set_count_only(true);
  request.set_limit(3);
  EXPECT_THAT(All(request, 700), ElementsAre("at 11, of 10"));
}

TEST_F(RangePartsTest, AllShowTheRevisionOfTheFirst) {
  RangeRequest request = AllKeys();
  request.set_limit(9);
  mvcc::RangeParts parts(request);
  EXPECT_EQ(TextOf(Next(&parts, 1'000)), "k0 k1 k2 k3 ");
  Put("k41", "new");
  Put("k5", "changed");
  Apply(DeleteCommand("k6"));
  const RangeResponse second = Next(&parts, 1'000);
  EXPECT_EQ(TextOf(second), "k4 k5 k6 k7 ");
  EXPECT_EQ(second.kvs(1).value(), std::string(100, 'v'));
  Apply(DeleteCommand("k9"));
  EXPECT_EQ(TextOf(Next(&parts, 1'000)), "k8 at 11, more, of 10");
  request.set_revision(4);
  EXPECT_THAT(All(request, 1'000), ElementsAre("k0 k1 k2 at 15, of 3"));
}

TEST_F(RangePartsTest, FailOnceTheirRevisionIsCompacted) {
  mvcc::RangeParts parts(AllKeys());
  Next(&parts, 1'000);
  const Revision revision = Put("k0", "changed");
  Apply(CompactCommand(revision - 1));
  EXPECT_EQ(TextOf(Next(&parts, 1'000)), "k4 k5 k6 k7 ") << "its revision can still be read";
  Apply(CompactCommand(revision));
  Next(&parts, 1'000);
  EXPECT_EQ(status_, mvcc::Compacted());
  EXPECT_THAT(All(AllKeys(revision + 1), 1'000),
              ElementsAre("mvcc: required revision is a future revision"));
}

// A limit of steps ends a part, and loses nothing.
TEST_F(RangePartsTest, EndAtALimitOfSteps) {
  EXPECT_THAT(All(AllKeys(), 1 << 20, {.steps_max = 4}),
              ElementsAre("k0 k1 k2 k3 ", "k4 k5 k6 k7 ", "k8 k9 at 11, of 10"));
  RangeRequest request = AllKeys();
  request.set_limit(4);
  mvcc::RangeParts parts(request);
  EXPECT_EQ(TextOf(Next(&parts, 1 << 20, {.steps_max = 0})), "");
  EXPECT_EQ(TextOf(Next(&parts, 1 << 20, {.steps_max = 4})), "k0 k1 k2 k3 ");
  EXPECT_EQ(TextOf(Next(&parts, 1 << 20, {.steps_max = 4})), "") << "counts what follows";
  EXPECT_TRUE(status_.ok());
  EXPECT_FALSE(parts.done());
  EXPECT_EQ(TextOf(Next(&parts, 1 << 20)), "at 11, more, of 10");
  EXPECT_TRUE(parts.done());
}

TEST_F(RangePartsTest, EndWhenTheReaderGivesUp) {
  Put("l", std::string(Meter::kStepsPerQuestion << 12, 'v'));
  mvcc::RangeParts parts(AllKeys());
  Next(&parts, 1 << 20, {.give_up = [] { return true; }});
  EXPECT_TRUE(absl::IsCancelled(status_)) << status_;
}

}  // namespace
}  // namespace raftkv
