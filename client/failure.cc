#include "client/failure.h"

#include "absl/strings/cord.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "client/raftkv.h"
#include "proto/etcd/outcome.h"

namespace raftkv::client {
namespace {

constexpr char kPayload[] = "raftkv.client/fate";
constexpr char kServerPrefix[] = "etcdserver: ";

bool HasFate(const absl::Status& status, absl::string_view fate) {
  const auto payload = status.GetPayload(kPayload);
  return payload.has_value() && *payload == fate;
}

// Said by a member before it proposes anything, whatever the code: etcd sends the first as Unknown.
bool RefusedBeforeProposal(const grpc::Status& status) {
  return status.error_message() == "etcdserver: too many requests" ||
         status.error_message() == "etcdserver: no leader" ||
         status.error_message() == "etcdserver: rpc not supported for learner";
}

// The server ended the stream without a status: gRPC C++ reports it with this code and text.
bool StreamLost(const grpc::Status& status) {
  return status.error_code() == grpc::StatusCode::UNKNOWN &&
         absl::StrContains(status.error_message(), "Stream removed");
}

bool TurnsWriteDown(const grpc::Status& status) {
  switch (status.error_code()) {
    case grpc::StatusCode::INVALID_ARGUMENT:
    case grpc::StatusCode::NOT_FOUND:
    case grpc::StatusCode::PERMISSION_DENIED:
    case grpc::StatusCode::UNAUTHENTICATED:
    case grpc::StatusCode::FAILED_PRECONDITION:
    case grpc::StatusCode::OUT_OF_RANGE:
    case grpc::StatusCode::UNIMPLEMENTED:
      return true;
    case grpc::StatusCode::RESOURCE_EXHAUSTED:
      // HTTP/2 flow control uses this code too, at any moment; then the fate is unknown.
      return absl::StartsWith(status.error_message(), kServerPrefix) ||
             absl::StrContains(status.error_message(), "larger than max");
    default:
      return false;
  }
}

}  // namespace

Verdict Judge(Kind kind, const grpc::Status& status) {
  if (RefusedBeforeProposal(status)) return Verdict::kTryNext;
  if (kind == Kind::kWrite) {
    return TurnsWriteDown(status) ? Verdict::kDefinite : Verdict::kUnknown;
  }
  // A read ends with its share of the time: another endpoint may be quicker.
  const bool passing = status.error_code() == grpc::StatusCode::UNAVAILABLE ||
                       status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED ||
                       StreamLost(status);
  return passing ? Verdict::kTryNext : Verdict::kDefinite;
}

bool NeverProposed(const grpc::ClientContext& context) {
  const auto& metadata = context.GetServerTrailingMetadata();
  const auto it = metadata.find(kOutcomeKey);
  return it != metadata.end() && it->second == kNotProposed;
}

absl::Status ToError(const grpc::Status& status, const std::string& address, const char* call) {
  // gRPC's and absl's codes are the same numbers.
  const auto code = static_cast<absl::StatusCode>(status.error_code());
  const bool transport = (code == absl::StatusCode::kUnavailable || StreamLost(status)) &&
                         !absl::StartsWith(status.error_message(), kServerPrefix);
  if (transport) {
    return absl::UnavailableError(
        absl::StrCat("connection to ", address, " lost: ", status.error_message()));
  }
  if (code == absl::StatusCode::kUnimplemented &&
      !absl::StartsWith(status.error_message(), kServerPrefix)) {
    return absl::UnimplementedError(
        absl::StrCat(address, " does not serve ", call, "; is this a peer port?"));
  }
  if (status.error_message().empty()) {
    return absl::Status(code, absl::StrCat(address, " answered ", call, " with ",
                                           absl::StatusCodeToString(code), " and no words"));
  }
  return absl::Status(code, status.error_message());
}

absl::Status UnknownOutcome(const absl::Status& error) {
  absl::Status status(
      error.code(),
      absl::StrCat(error.message(), " (outcome unknown: the write may or may not have happened)"));
  status.SetPayload(kPayload, absl::Cord("unknown"));
  return status;
}

absl::Status Unreachable(const std::string& whom) {
  absl::Status status = absl::UnavailableError(absl::StrCat("cannot connect to ", whom));
  status.SetPayload(kPayload, absl::Cord("unsent"));
  return status;
}

bool OutcomeUnknown(const absl::Status& error) { return HasFate(error, "unknown"); }
bool NeverSent(const absl::Status& error) { return HasFate(error, "unsent"); }

}  // namespace raftkv::client
