#include "server/api/errors.h"

#include "gtest/gtest.h"

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
  ExpectStatus(
      ToGrpc(Fate::kNotUnderstood), UNIMPLEMENTED,
      "etcdserver: the leader does not know this request; bring all members to one version");
  ExpectStatus(ToGrpc(Fate::kStoppedUnproposed), UNAVAILABLE, "there is no connection available");
  ExpectStatus(Stopping(), UNAVAILABLE, "there is no connection available");
  ExpectStatus(NoLeader(), UNAVAILABLE, "etcdserver: no leader");
  ExpectStatus(RequestTooLarge(), INVALID_ARGUMENT, "etcdserver: request is too large");
}

TEST(Errors, VerdictsKeepTheirCodeAndGetEtcdsPrefix) {
  ExpectStatus(ToGrpc(absl::OutOfRangeError("mvcc: required revision has been compacted")),
               grpc::StatusCode::OUT_OF_RANGE,
               "etcdserver: mvcc: required revision has been compacted");
  EXPECT_TRUE(ToGrpc(absl::OkStatus()).ok());
}

}  // namespace
}  // namespace raftkv::api
