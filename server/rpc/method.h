#ifndef RAFTKV_SERVER_RPC_METHOD_H_
#define RAFTKV_SERVER_RPC_METHOD_H_

// The methods of a service as rows of data. Each service creates its rows (server/api,
// server/peer). The code that serves them (server/port) does the same for each call, in this order:
// parse the request, ask admission (clients only), check the request's shape, call the handler.

#include <google/protobuf/message.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/rpc/call.h"

namespace raftkv {

// What a method needs from the cluster. Once users are supported, it also says which permission the
// caller must have. Admission checks it (for clients: api::Edge::Admit). While the member stops,
// all calls that need admission are declined.
enum class Permission {
  kNone,          // reports about this member only; needs nothing
  kMaintainSelf,  // maintains this member only; needs nothing
  // The others need a member that takes part in the cluster (server/api/admission.h says when it
  // does not).
  kReadSelf,  // reads this member's copy of the replicated state; learners serve it, too
  kRead,      // reads the replicated state
  kWrite,     // changes the replicated state
  kMaintain,  // inspects or maintains the whole replicated state
};

// Counts the calls of one method. From any thread.
class CallObserver {
 public:
  virtual ~CallObserver() = default;
  virtual void OnStart() = 0;
  // `code`: how the call ended. `took`: since its request was complete; of a stream, since it
  // began.
  virtual void OnEnd(absl::StatusCode code, absl::Duration took) = 0;
};

struct UnaryMethod {
  std::string name;  // "/package.Service/Method"
  Permission permission = Permission::kNone;
  // Empty messages of the method's types.
  const google::protobuf::Message* request = nullptr;
  const google::protobuf::Message* response = nullptr;
  // Optional. What this request needs, instead of `permission`.
  std::function<Permission(const google::protobuf::Message& request)> needs;
  // Optional. Checks the shape of the request. If the result is not OK, the call ends with this
  // status.
  std::function<absl::Status(const google::protobuf::Message& request)> check;
  // Must call Finish, or cause a later call of it.
  std::function<void(UnaryCall*)> handler;
  CallObserver* observer = nullptr;  // optional
};

// The limits of streams that have sent no request yet. With a limit, the handler is created when
// the first request has come: streams without a request cost its thread nothing.
struct FirstRequest {
  absl::Duration wait = absl::InfiniteDuration();  // a stream that takes longer is ended
  size_t streams = SIZE_MAX;  // of one connection; one more such stream ends the oldest of them

  bool limited() const { return wait < absl::InfiniteDuration() || streams < SIZE_MAX; }
};

struct StreamMethod {
  std::string name;
  Permission permission = Permission::kNone;
  FirstRequest first_request;
  absl::Duration request_time_max = absl::Minutes(2);  // for one request to arrive
  // The bytes of requests that were read and not handled. Above this, flow control stops the
  // client.
  size_t unhandled_bytes_max = 64 << 10;
  bool one_request = false;  // a server stream: the client sends one request
  const google::protobuf::Message* request = nullptr;
  std::function<std::unique_ptr<StreamHandler>(StreamCall*)> open;
  CallObserver* observer = nullptr;  // optional
};

// A page of HTTP is a UnaryMethod of proto::HttpRequest and proto::HttpAnswer (proto/http.proto).
// Its name is kPage, followed by its path: "GET /health".
inline constexpr char kPage[] = "GET ";

// A path of HTTP under which a method is served as JSON. Neither text is copied.
struct JsonRoute {
  const char* path;    // "/v3/kv/range"
  const char* method;  // "/package.Service/Method"
};

struct Methods {
  std::vector<UnaryMethod> unary;
  std::vector<StreamMethod> streams;
  // The limit of fields in one request, including those of nested messages. A request with more is
  // not parsed, because a field of two bytes may take 64 bytes of memory.
  size_t fields_max = SIZE_MAX;
};

// Called before the handler of each call that needs admission. If the result is not OK, the call
// ends with this status. An admission function may add trailers.
using Admission = std::function<absl::Status(Permission permission, Call* call)>;

}  // namespace raftkv

#endif  // RAFTKV_SERVER_RPC_METHOD_H_
