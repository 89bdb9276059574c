#include "server/api/errors.h"

#include "gtest/gtest.h"
#include "server/api/validate.h"

namespace raftkv::api {
namespace {

void ExpectStatus(const grpc::Status& status, grpc::StatusCode code, const std::string& text) {
  EXPECT_EQ(status.error_code(), code);
  EXPECT_EQ(status.error_message(), text);
}

TEST(Errors, FatesHaveEtcdsCodesAndTexts) {
  using enum grpc::StatusCode;
  ExpectStatus(ToGrpc(Fate::kTimedOut), UNAVAILABLE, "etcdserver: request timed out");
  ExpectStatus(ToGrpc(Fate::kUnknownTimedOut), UNAVAILABLE, "etcdserver: request timed out");
  ExpectStatus(ToGrpc(Fate::kUnknownLeaderLost), UNAVAILABLE,
               "etcdserver: request timed out, possibly due to previous leader failure");
  ExpectStatus(ToGrpc(Fate::kUnknownConnection), UNAVAILABLE,
               "etcdserver: request timed out, possibly due to connection lost");
  ExpectStatus(ToGrpc(Fate::kTooManyRequests), RESOURCE_EXHAUSTED, "etcdserver: too many requests");
  ExpectStatus(ToGrpc(Fate::kStopped), UNAVAILABLE, "etcdserver: server stopped");
  ExpectStatus(NoLeader(), UNAVAILABLE, "etcdserver: no leader");
  ExpectStatus(RequestTooLarge(), INVALID_ARGUMENT, "etcdserver: request is too large");
}

TEST(Errors, VerdictsKeepTheirCodeAndGetEtcdsPrefix) {
  ExpectStatus(ToGrpc(absl::OutOfRangeError("mvcc: required revision has been compacted")),
               grpc::StatusCode::OUT_OF_RANGE,
               "etcdserver: mvcc: required revision has been compacted");
  EXPECT_TRUE(ToGrpc(absl::OkStatus()).ok());
}

TEST(Validate, ChecksWhatNeedsNoStore) {
  etcdserverpb::PutRequest put;
  EXPECT_EQ(Validate(put).message(), "key is not provided");
  put.set_key("k");
  EXPECT_TRUE(Validate(put).ok());
  put.set_ignore_value(true);
  EXPECT_TRUE(Validate(put).ok());
  put.set_value("v");
  EXPECT_EQ(Validate(put).message(), "value is provided");
  put.clear_value();
  put.set_ignore_lease(true);
  put.set_lease(5);
  EXPECT_EQ(Validate(put).message(), "lease is provided");

  etcdserverpb::RangeRequest range;
  EXPECT_EQ(Validate(range).message(), "key is not provided");
  range.set_key("k");
  range.set_sort_order(static_cast<etcdserverpb::RangeRequest::SortOrder>(7));
  EXPECT_EQ(Validate(range).message(), "invalid sort option");
  range.set_sort_order(etcdserverpb::RangeRequest::ASCEND);
  range.set_sort_target(static_cast<etcdserverpb::RangeRequest::SortTarget>(-1));
  EXPECT_EQ(Validate(range).message(), "invalid sort option");

  EXPECT_EQ(Validate(etcdserverpb::DeleteRangeRequest()).message(), "key is not provided");
}

}  // namespace
}  // namespace raftkv::api
