#ifndef RAFTKV_SERVER_RPC_CALL_H_
#define RAFTKV_SERVER_RPC_CALL_H_

// Calls as the handlers of methods see them. The ports (server/port) implement them; a caller in
// the same process can do so too.
//
// Statuses are absl::Status. Its codes have the same numbers as gRPC's. The status text is sent to
// the client unchanged.
//
// Functions are called on the thread that serves the call's method, unless a comment says
// otherwise.

#include <google/protobuf/message.h>

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "proto/etcd/outcome.h"
#include "storage/base/monotonic_time.h"

namespace raftkv {

// For a request that a bound does not allow now.
inline absl::Status TooManyRequests() { return absl::ResourceExhaustedError(kTooManyRequests); }

// What every call has. A Call is valid until Finish.
class Call {
 public:
  // The first value that the client sent under `key` (lower case), if any.
  virtual std::optional<std::string_view> Metadata(std::string_view key) const = 0;
  // For log lines, and so that clients take turns (server/workers.h).
  virtual std::string client_address() const = 0;
  // A time a little after the client's deadline, when the client has certainly given up.
  // InfiniteFuture if the client set no deadline. A handler that answers "request timed out"
  // because of the client's deadline must wait until this time: etcd's client library sends a write
  // again if the write ends with DEADLINE_EXCEEDED before the client's own deadline.
  virtual MonotonicTime deadline() const = 0;
  // True: the client has cancelled the call, or its connection is closed. May be called from any
  // thread.
  virtual bool gone() const = 0;

  // Adds metadata that is sent with the status. Call it before Finish, on the same thread.
  virtual void AddTrailer(std::string_view key, std::string_view value) = 0;
  // Answers the call. Must be called exactly once.
  virtual void Finish(const absl::Status& status) = 0;

 protected:
  ~Call() = default;
};

// One request, one response. Finish may be called from any thread; the response is sent if the
// status is OK.
class UnaryCall : public Call {
 public:
  virtual google::protobuf::Message* request() = 0;
  virtual google::protobuf::Message* response() = 0;

 protected:
  ~UnaryCall() = default;
};

// A UnaryCall with its message types. Copies refer to the same call.
template <typename Request, typename Response>
class Unary {
 public:
  Unary() = default;
  explicit Unary(UnaryCall* call) : call_(call) {}

  const Request& request() const { return *mutable_request(); }
  Request* mutable_request() const { return static_cast<Request*>(call_->request()); }
  Response* response() const { return static_cast<Response*>(call_->response()); }
  void Finish(const absl::Status& status) const { call_->Finish(status); }

  explicit operator bool() const { return call_ != nullptr; }
  UnaryCall* operator->() const { return call_; }
  UnaryCall* get() const { return call_; }

 private:
  UnaryCall* call_ = nullptr;
};

// A call with a stream of responses and, unless the method has one request only, a stream of
// requests. Responses are written one at a time.
class StreamCall : public Call {
 public:
  virtual bool writable() const = 0;
  // Sends `response`. Requires writable(). With `more_follow`, the next response is ready too, so
  // that both may be sent with one system call.
  virtual void Write(const google::protobuf::Message& response, bool more_follow) = 0;
  // Ends the call at once, without a status. Responses that were written may be lost.
  virtual void Cancel() = 0;

 protected:
  ~StreamCall() = default;
};

// The code that serves a StreamCall. It is created when the call arrives, or when its first request
// has come (FirstRequest in method.h). The call owns its handler and deletes it when the call ends,
// but never while one of the handler's functions runs. Once the handler is deleted, the call must
// not be used.
class StreamHandler {
 public:
  virtual ~StreamHandler() = default;
  // If the result is not OK, the call ends with this status. The handler may change `request`,
  // which is valid until this function returns.
  virtual absl::Status OnRequest(google::protobuf::Message* request) = 0;
  // The client sends no more requests. False: the call ends now. True: the call goes on until the
  // handler calls Finish.
  virtual bool OnLastRequest() { return false; }
  // False: the next request is not read before a response was written. It stays in the transport,
  // whose flow control then stops the client. Asked after OnRequest and OnWritable.
  virtual bool WantsRequest() const { return true; }
  // The previous response was written, so the next one may be written.
  virtual void OnWritable() = 0;
  // The call ends because its client has gone: the client cancelled the call, or its connection
  // broke. Not called if the client ended its requests and then got a status.
  virtual void OnGone() {}
};

}  // namespace raftkv

#endif  // RAFTKV_SERVER_RPC_CALL_H_
