#include "tests/compat/kv_transcript.h"

#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"

namespace raftkv::e2e {
namespace {

Step PutStep(const std::string& key) {
  etcdserverpb::PutRequest put;
  put.set_key(key);
  return {.request = put, .member = 2, .revision = 5};
}

std::string KeyOf(const Step& step) {
  return std::get<etcdserverpb::PutRequest>(*step.request).key();
}

TEST(KvTranscript, IsParsedAsItWasPrinted) {
  etcdserverpb::TxnRequest txn;
  txn.add_compare()->set_mod_revision(7);
  txn.mutable_compare(0)->set_key(std::string("a\0\xff \"\n", 6));
  txn.add_success()->mutable_request_range()->set_revision(4);
  Transcript transcript = {PutStep("k"), {}, {.request = txn, .member = 1, .revision = 9}};
  const std::string text = Print(transcript);
  EXPECT_EQ(Print(Parse(text)), text);
  EXPECT_EQ(Parse(text)[2].revision, 9);
}

TEST(KvTranscript, ShiftsEveryRevision) {
  etcdserverpb::TxnRequest txn;
  txn.add_compare()->set_mod_revision(7);
  txn.mutable_compare(0)->set_key("k");
  txn.add_failure()
      ->mutable_request_txn()
      ->add_success()
      ->mutable_request_range()
      ->set_min_create_revision(4);
  const auto moved = std::get<etcdserverpb::TxnRequest>(Shifted(txn, -5));
  EXPECT_EQ(moved.compare(0).mod_revision(), 2);
  EXPECT_EQ(moved.failure(0).request_txn().success(0).request_range().min_create_revision(), 1);
  etcdserverpb::RangeRequest range;
  range.set_revision(-3);
  range.set_limit(9);
  EXPECT_EQ(std::get<etcdserverpb::RangeRequest>(Shifted(range, 5)).ShortDebugString(),
            range.ShortDebugString());
}

TEST(KvTranscript, IsShortenedToWhatTheDifferenceNeeds) {
  Transcript whole;
  for (int i = 0; i < 1000; ++i) whole.push_back(PutStep(absl::StrCat(i)));
  int attempts = 0;
  // Steps 17, 400 and 401 together cause a difference at step 900 and at all later ones.
  const auto first_difference = [&](const Transcript& transcript) -> std::optional<size_t> {
    ++attempts;
    int met = 0;
    for (size_t i = 0; i < transcript.size(); ++i) {
      const std::string key = KeyOf(transcript[i]);
      met += key == "17" || key == "400" || key == "401";
      if (met == 3 && key >= "900" && key.size() == 3) return i;
    }
    return std::nullopt;
  };
  const Transcript shortest = Shortened(whole, first_difference);
  ASSERT_EQ(shortest.size(), 4u) << Print(shortest);
  EXPECT_EQ(KeyOf(shortest[0]), "17");
  EXPECT_EQ(KeyOf(shortest[1]), "400");
  EXPECT_EQ(KeyOf(shortest[2]), "401");
  EXPECT_LT(attempts, 80);
}

TEST(KvTranscript, IsEmptyIfNothingDiffers) {
  EXPECT_TRUE(Shortened({PutStep("k")}, [](const Transcript&) { return std::nullopt; }).empty());
}

}  // namespace
}  // namespace raftkv::e2e
