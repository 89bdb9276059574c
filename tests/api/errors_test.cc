#include "server/api/errors.h"

#include "gtest/gtest.h"

namespace raftkv::api {
namespace {

void ExpectStatus(const absl::Status& status, absl::StatusCode code, const std::string& text) {
  EXPECT_EQ(status.code(), code);
  EXPECT_EQ(status.message(), text);
}

TEST(Errors, FatesHaveEtcdsCodesAndTexts) {
  using enum absl::StatusCode;
  ExpectStatus(ToWire(Fate::kTimedOut), kUnavailable, "etcdserver: request timed out");
  ExpectStatus(ToWire(Fate::kUnknownTimedOut), kUnavailable, "etcdserver: request timed out");
  ExpectStatus(ToWire(Fate::kUnknownLeaderLost), kUnavailable,
               "etcdserver: request timed out, possibly due to previous leader failure");
  ExpectStatus(ToWire(Fate::kUnknownConnection), kUnavailable,
               "etcdserver: request timed out, possibly due to connection lost");
  ExpectStatus(ToWire(Fate::kTooManyRequests), kResourceExhausted, "etcdserver: too many requests");
  ExpectStatus(ToWire(Fate::kStopped), kUnavailable, "etcdserver: server stopped");
  ExpectStatus(
      ToWire(Fate::kNotSupported), kUnimplemented,
      "etcdserver: the cluster does not know this request; bring all members to one version");
  ExpectStatus(ToWire(Fate::kStoppedUnproposed), kUnavailable, "there is no connection available");
  ExpectStatus(Stopping(), kUnavailable, "there is no connection available");
  ExpectStatus(NoLeader(), kUnavailable, "etcdserver: no leader");
  ExpectStatus(RequestTooLarge(), kInvalidArgument, "etcdserver: request is too large");
}

TEST(Errors, VerdictsKeepTheirCodeAndGetEtcdsPrefix) {
  ExpectStatus(ToWire(absl::OutOfRangeError("mvcc: required revision has been compacted")),
               absl::StatusCode::kOutOfRange,
               "etcdserver: mvcc: required revision has been compacted");
  EXPECT_TRUE(ToWire(absl::OkStatus()).ok());
}

}  // namespace
}  // namespace raftkv::api
