// The retry rules: what a failed attempt tells about the request, and so what may be done next.
// Called by Client for every failed call. Conservative for writes: an error is definite only if the
// code says that the service turned the request down; everything else may have taken effect.
// Message texts are etcd's, whose clients match on them as well.
#ifndef RAFTKV_CLIENT_FAILURE_H_
#define RAFTKV_CLIENT_FAILURE_H_

#include <grpcpp/client_context.h>
#include <grpcpp/support/status.h>

#include <string>

#include "absl/status/status.h"

namespace raftkv::client {

enum class Kind { kRead, kWrite };

enum class Verdict {
  kTryNext,   // had no effect, another endpoint may do better
  kDefinite,  // had no effect, another endpoint would say the same
  kUnknown,   // a write that may have taken effect: never repeat it
};

Verdict Judge(Kind kind, const grpc::Status& status);
// The service says that it has proposed the write to nobody (proto/etcd/outcome.h): kTryNext.
bool NeverProposed(const grpc::ClientContext& context);

// The error for the caller: code and words of the service. The transport's words get the address,
// and where there are none the name of the call as well.
absl::Status ToError(const grpc::Status& status, const std::string& address, const char* call);
absl::Status UnknownOutcome(const absl::Status& error);
absl::Status Unreachable(const std::string& whom);

}  // namespace raftkv::client

#endif  // RAFTKV_CLIENT_FAILURE_H_
