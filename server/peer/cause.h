#ifndef RAFTKV_SERVER_PEER_CAUSE_H_
#define RAFTKV_SERVER_PEER_CAUSE_H_

// Translates gRPC's error texts about connections into plain causes for log lines. Returns a text
// that is not known here, and an answer of etcd's API, unchanged. The CLI does not use this: for a
// user who waits it tries the steps of a connection itself (client/cli/cause.h), because gRPC's
// texts do not tell TLS from HTTP/1, for example.

#include <grpcpp/support/status.h>

#include <string>

namespace raftkv {

// Why there is no connection.
std::string WhyNotConnected(const grpc::Status& status);

// Why a connection that worked ended.
std::string WhyLost(const grpc::Status& status);

}  // namespace raftkv

#endif  // RAFTKV_SERVER_PEER_CAUSE_H_
