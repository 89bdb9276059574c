// The causes of two kinds of errors, for messages to people: why an endpoint cannot be reached, and
// why the cluster does not answer. The client library does not know them, because gRPC does not
// tell why a connection failed.
#ifndef RAFTKV_CLIENT_CLI_CAUSE_H_
#define RAFTKV_CLIENT_CLI_CAUSE_H_

#include <string>
#include <vector>

#include "absl/time/time.h"
#include "client/raftkv.h"

namespace raftkv::client {

// Tries the first steps of a connection to `address` (host:port): looks up the host, connects, and
// begins an HTTP/2 connection. Returns which step fails, in a few words. Blocks for at most
// `limit`.
std::string WhyUnreachable(const std::string& address, absl::Duration limit);

// "cannot connect to ADDRESS (cause), ...", for all endpoints.
std::string CannotConnect(const std::vector<std::string>& endpoints, absl::Duration limit);

// Whether these errors, of a member's status, say that it has halted. Then one of them says why.
bool HasHalted(const std::vector<std::string>& errors);

// Asks the endpoints of `options` for their leader. If none knows one, returns which of them
// answer, and what to check. If all that answer have halted, the others may have a leader. Else an
// empty string. Blocks for about two seconds at most.
std::string WhyNoLeader(const Options& options);

}  // namespace raftkv::client

#endif  // RAFTKV_CLIENT_CLI_CAUSE_H_
