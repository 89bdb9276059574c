// One HTTP/1.1 GET, for the pages that a member serves on its client port.
#ifndef RAFTKV_CLIENT_CLI_HTTP_GET_H_
#define RAFTKV_CLIENT_CLI_HTTP_GET_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace raftkv::client {

// Returns the body of http://ADDRESS TARGET, at most 16 MiB. `address`: "host:port". An error if
// there is no answer within `limit`, or its status is not 200.
absl::StatusOr<std::string> HttpGet(const std::string& address, const std::string& target,
                                    absl::Duration limit);

}  // namespace raftkv::client

#endif  // RAFTKV_CLIENT_CLI_HTTP_GET_H_
