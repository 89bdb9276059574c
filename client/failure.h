// The retry rules: what a failed attempt says about its request, and so whether it may be repeated.
// FailoverCall applies them to every failed attempt. They are conservative for writes: a write has
// certainly failed only if the code says that the service rejected it; after any other error it may
// have taken effect. Some rules compare etcd's error texts, as etcd's own clients do.
#ifndef RAFTKV_CLIENT_FAILURE_H_
#define RAFTKV_CLIENT_FAILURE_H_

#include <grpcpp/client_context.h>
#include <grpcpp/support/status.h>

#include <string>

#include "absl/status/status.h"

namespace raftkv::client {

enum class Kind {
  kRead,
  kWrite,
  kSessionWrite,  // of a session (exactly_once.h): it may be repeated
};

enum class Verdict {
  kTryNext,   // no effect; another endpoint may succeed
  kDefinite,  // no effect; another endpoint would return the same error
  kUnknown,   // a write that may have taken effect: repeat it only in its session
};

Verdict Judge(Kind kind, const grpc::Status& status);
// Whether the service rejects a request with this code, so that another attempt would end the same
// way.
bool IsRejection(grpc::StatusCode code);
// Whether the service says that it did not propose the write (proto/etcd/outcome.h). Then the
// verdict is kTryNext, whatever the status.
bool NeverProposed(const grpc::ClientContext& context);
// Whether the service says that no attempt of this write of a session, earlier or later, has
// another outcome than this error.
bool Decided(const grpc::ClientContext& context);
// The error of a write whose session is gone. No attempt is applied after it.
bool IsSessionExpired(const absl::Status& error);
// Whether the response lacks a part, because an earlier attempt's was too large to be stored.
bool IsReduced(const grpc::ClientContext& context);

// The error for the caller, with the code and message of the service. A transport error gets the
// endpoint's address added; an error without a message gets the address and the name of the call.
absl::Status ToError(const grpc::Status& status, const std::string& address, const char* call);
// Marks `error` so that OutcomeUnknown() (raftkv.h) is true for it.
absl::Status UnknownOutcome(const absl::Status& error);
// The write was applied, and its response is lost. AnswerLost() (raftkv.h) is true for it.
absl::Status LostAnswer();
// "cannot connect to ADDRESSES", marked so that NeverSent() (raftkv.h) is true for it.
absl::Status Unreachable(const std::string& addresses);

}  // namespace raftkv::client

#endif  // RAFTKV_CLIENT_FAILURE_H_
