#ifndef RAFTKV_SERVER_PORTS_H_
#define RAFTKV_SERVER_PORTS_H_

// Checks whether the server can listen on a port. If it cannot, the error says why, which gRPC's
// does not. Called before a first start creates any file.

#include <string>

#include "absl/status/status.h"

namespace raftkv {

// `url` is a validated "http://host:port"; `key` is its name in the config file. An error is
// FailedPrecondition or PermissionDenied, with one line for the operator.
absl::Status CheckPort(const std::string& url, const std::string& key);

}  // namespace raftkv

#endif  // RAFTKV_SERVER_PORTS_H_
