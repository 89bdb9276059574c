#ifndef RAFTKV_SERVER_RPC_METHOD_H_
#define RAFTKV_SERVER_RPC_METHOD_H_

// The methods of a service as rows of data. Each service makes its rows (server/api, server/peer);
// whoever serves them (method_table.h for gRPC) does the same for each call, in this order: parse
// the request, ask admission, check the request's shape, call the handler.

#include <google/protobuf/message.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "server/rpc/call.h"

namespace raftkv {

// What a method needs from the cluster and, once there are users, which permission its caller must
// have. Admission decides by it (for clients: api::Edge::Admit).
enum class Permission {
  kNone,          // tells about this member only; always admitted
  kMaintainSelf,  // maintains this member only; always admitted
  kRead,          // reads the replicated state: this member must belong to the cluster
  kWrite,         // changes the replicated state: likewise
  kMaintain,      // inspects or maintains the replicated state as a whole: likewise
};

constexpr bool NeedsCluster(Permission permission) {
  return permission != Permission::kNone && permission != Permission::kMaintainSelf;
}

struct UnaryMethod {
  std::string name;  // "/package.Service/Method"
  int waiting = 1;   // so many calls are accepted at a time without another turn of the queue
  Permission permission = Permission::kNone;
  // Empty messages of the method's types.
  const google::protobuf::Message* request = nullptr;
  const google::protobuf::Message* response = nullptr;
  // Optional. True: this request is answered from what the member itself knows, so it needs only
  // Permission::kNone.
  std::function<bool(const google::protobuf::Message& request)> local;
  // Optional. The shape of the request; not OK: the answer.
  std::function<absl::Status(const google::protobuf::Message& request)> check;
  // Must see to it that Finish is called.
  std::function<void(UnaryCall*)> handler;
};

struct StreamMethod {
  std::string name;
  Permission permission = Permission::kNone;
  bool one_request = false;  // a server stream: the client sends one request
  const google::protobuf::Message* request = nullptr;
  std::function<std::unique_ptr<StreamHandler>(Stream*)> open;
};

struct Methods {
  std::vector<UnaryMethod> unary;
  std::vector<StreamMethod> streams;
};

// Asked before the handler of any call runs; not OK: the call ends with it. It may add trailers.
using Admission = std::function<absl::Status(Permission permission, Call* call)>;

}  // namespace raftkv

#endif  // RAFTKV_SERVER_RPC_METHOD_H_
