#ifndef RAFTKV_SERVER_PEER_CAUSE_H_
#define RAFTKV_SERVER_PEER_CAUSE_H_

// Why a call that this member made failed in the transport, in words for the log. gRPC tells it in
// texts that name its own parts; a text that is not known here is returned as it is.

#include <grpcpp/support/status.h>

#include <string>

namespace raftkv {

// Why there is no connection. `status`: of a call that was never answered.
std::string WhyNotConnected(const grpc::Status& status);

// Why a connection that worked ended.
std::string WhyLost(const grpc::Status& status);

}  // namespace raftkv

#endif  // RAFTKV_SERVER_PEER_CAUSE_H_
