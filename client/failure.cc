#include "client/failure.h"

#include "absl/strings/cord.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "client/raftkv.h"
#include "proto/etcd/metadata.h"
#include "proto/etcd/outcome.h"

namespace raftkv::client {
namespace {

constexpr char kPayload[] = "raftkv.client/outcome";
constexpr char kServerPrefix[] = "etcdserver: ";

bool HasTrailer(const grpc::ClientContext& context, const char* outcome) {
  const auto& metadata = context.GetServerTrailingMetadata();
  const auto it = metadata.find(kOutcomeKey);
  return it != metadata.end() && it->second == outcome;
}

bool HasOutcome(const absl::Status& status, absl::string_view outcome) {
  const auto payload = status.GetPayload(kPayload);
  return payload.has_value() && *payload == outcome;
}

// A member sends these texts before it proposes anything. The code does not matter: etcd sends the
// first one with code Unknown.
bool RejectedBeforeProposal(const grpc::Status& status) {
  return status.error_message() == kTooManyRequests ||
         status.error_message() == "etcdserver: no leader" ||
         status.error_message() == "etcdserver: rpc not supported for learner";
}

// The server closed the stream without a status. gRPC C++ reports that with this code and text.
bool StreamLost(const grpc::Status& status) {
  return status.error_code() == grpc::StatusCode::UNKNOWN &&
         absl::StrContains(status.error_message(), "Stream removed");
}

bool RejectsWrite(const grpc::Status& status) {
  if (status.error_code() != grpc::StatusCode::RESOURCE_EXHAUSTED) {
    return IsRejection(status.error_code());
  }
  // HTTP/2 also ends calls with this code, at any time. Then the outcome is unknown.
  return absl::StartsWith(status.error_message(), kServerPrefix) ||
         absl::StrContains(status.error_message(), "larger than max");
}

}  // namespace

bool IsRejection(grpc::StatusCode code) {
  switch (code) {
    case grpc::StatusCode::INVALID_ARGUMENT:
    case grpc::StatusCode::NOT_FOUND:
    case grpc::StatusCode::PERMISSION_DENIED:
    case grpc::StatusCode::UNAUTHENTICATED:
    case grpc::StatusCode::FAILED_PRECONDITION:
    case grpc::StatusCode::OUT_OF_RANGE:
    case grpc::StatusCode::UNIMPLEMENTED:
      return true;
    default:
      return false;
  }
}

Verdict Judge(Kind kind, const grpc::Status& status) {
  if (RejectedBeforeProposal(status)) return Verdict::kTryNext;
  if (kind != Kind::kRead) {
    return RejectsWrite(status) ? Verdict::kDefinite : Verdict::kUnknown;
  }
  // Errors of this endpoint or connection: another endpoint may still serve the read.
  const bool temporary = status.error_code() == grpc::StatusCode::UNAVAILABLE ||
                         status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED ||
                         StreamLost(status);
  return temporary ? Verdict::kTryNext : Verdict::kDefinite;
}

bool NeverProposed(const grpc::ClientContext& context) { return HasTrailer(context, kNotProposed); }
bool Decided(const grpc::ClientContext& context) { return HasTrailer(context, kDecided); }
bool IsReduced(const grpc::ClientContext& context) { return HasTrailer(context, kReduced); }

bool IsSessionExpired(const absl::Status& error) {
  return absl::IsFailedPrecondition(error) &&
         absl::StartsWith(error.message(), absl::StrCat(kServerPrefix, kSessionExpired));
}

absl::Status ToError(const grpc::Status& status, const std::string& address, const char* call) {
  // The codes of gRPC and of abseil have the same numbers.
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
                                           absl::StatusCodeToString(code), " and no message"));
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

absl::Status LostAnswer() {
  absl::Status status = absl::AbortedError(
      "the write was applied once, but its response was lost, and is too large to be sent again");
  status.SetPayload(kPayload, absl::Cord("answer lost"));
  return status;
}

absl::Status Unreachable(const std::string& addresses) {
  absl::Status status = absl::UnavailableError(absl::StrCat("cannot connect to ", addresses));
  status.SetPayload(kPayload, absl::Cord("unsent"));
  return status;
}

bool OutcomeUnknown(const absl::Status& error) { return HasOutcome(error, "unknown"); }
bool AnswerLost(const absl::Status& error) { return HasOutcome(error, "answer lost"); }
bool NeverSent(const absl::Status& error) { return HasOutcome(error, "unsent"); }

}  // namespace raftkv::client
