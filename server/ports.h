#ifndef RAFTKV_SERVER_PORTS_H_
#define RAFTKV_SERVER_PORTS_H_

// Whether a port can be listened on, and if not, why: gRPC does not tell. Asked before a first
// start creates anything.

#include <string>

#include "absl/status/status.h"

namespace raftkv {

// `url` is "http://host:port", validated; `key` names it in the configuration. An error is one line
// for the operator: FailedPrecondition or PermissionDenied.
absl::Status CheckPort(const std::string& url, const std::string& key);

}  // namespace raftkv

#endif  // RAFTKV_SERVER_PORTS_H_
