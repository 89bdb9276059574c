#ifndef RAFTKV_SERVER_RPC_RPC_H_
#define RAFTKV_SERVER_RPC_RPC_H_

// gRPC's completion queue as the server uses it: every tag is a Completion, every method a row
// added to a Methods table. Whatever is not in the table answers UNIMPLEMENTED at once (unserved.h,
// or gRPC itself), which is why the generated AsyncService classes are not used here: they register
// all methods of a service and leave calls to unserved ones hanging.
//
// Everything runs on the thread that polls the queue, except Unary::Finish, which may be called
// from any thread, once.

#include <grpcpp/grpcpp.h>
#include <grpcpp/impl/codegen/proto_utils.h>
#include <grpcpp/impl/codegen/rpc_service_method.h>
#include <grpcpp/impl/codegen/service_type.h>
#include <grpcpp/support/async_stream.h>
#include <grpcpp/support/async_unary_call.h>

#include <functional>
#include <memory>
#include <utility>
#include <vector>

namespace raftkv {

class Completion {
 public:
  virtual ~Completion() = default;
  // `ok` false: the operation did not happen (connection gone, or the queue shuts down).
  virtual void OnComplete(bool ok) = 0;
};

// One of several operations of `Owner`, each its own tag.
template <typename Owner>
class Operation final : public Completion {
 public:
  Operation(Owner* owner, void (Owner::*on_complete)(bool))
      : owner_(owner), on_complete_(on_complete) {}
  void OnComplete(bool ok) override { (owner_->*on_complete_)(ok); }

 private:
  Owner* const owner_;
  void (Owner::*const on_complete_)(bool);
};

// Where the calls of one gRPC server arrive. New calls are announced on `arrivals`, which belongs
// to the server; everything else of a call happens on `calls`.
struct Queues {
  grpc::CompletionQueue* calls = nullptr;
  grpc::ServerCompletionQueue* arrivals = nullptr;
};

class MethodTable;

// One call of a unary method, from arrival to answer. Deletes itself when answered.
template <typename Request, typename Response>
class Unary final : public Completion {
 public:
  using Handler = std::function<void(Unary*)>;

  // Listens for `count` calls at a time, until the server shuts down. `handler` runs on the polling
  // thread and must see to it that Finish is called.
  static void Listen(MethodTable* methods, int method, Queues queues, int count, Handler handler) {
    auto shared = std::make_shared<Method>(Method{methods, method, queues, std::move(handler)});
    for (int i = 0; i < count; ++i) new Unary(shared);
  }

  const Request& request() const { return request_; }
  Request* mutable_request() { return &request_; }
  Response* response() { return &response_; }
  grpc::ServerContext* context() { return &context_; }

  void Finish(const grpc::Status& status) {
    finishing_ = true;
    if (status.ok()) {
      responder_.Finish(response_, status, this);
    } else {
      responder_.FinishWithError(status, this);
    }
  }

  void OnComplete(bool ok) override;

 private:
  struct Method {
    MethodTable* methods;
    int index;
    Queues queues;
    Handler handler;
  };

  explicit Unary(std::shared_ptr<Method> method);

  void Refuse() { Finish(method_->methods->refusal()(&context_)); }

  const std::shared_ptr<Method> method_;
  bool running_ = false;  // its handler was called
  bool finishing_ = false;
  grpc::ServerContext context_;
  Request request_;
  Response response_;
  grpc::ServerAsyncResponseWriter<Response> responder_;
};

// The methods that one gRPC server answers, a row each: filled while the server is composed,
// registered with ServerBuilder like any service, started once the server listens.
class MethodTable final : public grpc::Service {
 public:
  // `handler` gets each arriving call and must see to it that Finish is called. `waiting` calls are
  // taken at a time without another turn of the queue.
  template <typename Request, typename Response>
  void Serve(const char* full_name, int waiting,
             typename Unary<Request, Response>::Handler handler) {
    const int index = Add(full_name, grpc::internal::RpcMethod::NORMAL_RPC);
    listeners_.push_back([this, index, waiting, handler = std::move(handler)](Queues queues) {
      Unary<Request, Response>::Listen(this, index, queues, waiting, handler);
    });
  }

  // `accept` is called once, when the server listens; it requests each next stream itself, with
  // RequestAsyncBidiStreaming(index, ...), or RequestAsyncServerStreaming where only we speak.
  using Accept = std::function<void(int index, Queues queues)>;
  void ServeStream(const char* full_name, Accept accept) {
    ServeStream(full_name, grpc::internal::RpcMethod::BIDI_STREAMING, std::move(accept));
  }
  void ServeServerStream(const char* full_name, Accept accept) {
    ServeStream(full_name, grpc::internal::RpcMethod::SERVER_STREAMING, std::move(accept));
  }

  void Start(Queues queues) {
    for (auto& listen : listeners_) listen(queues);
  }

  // The queues shut down: what still arrives is dropped.
  void StopListening() { listening_ = false; }
  bool listening() const { return listening_; }

  // From now on unary calls that arrive are not handled, but answered with what `refusal` says.
  using Refusal = std::function<grpc::Status(grpc::ServerContext*)>;
  void Refuse(Refusal refusal) { refusal_ = std::move(refusal); }
  const Refusal& refusal() const { return refusal_; }
  // Calls to refuse are kept waiting from now on, until they are answered all at once; when
  // kHeldMax wait, more are refused at once.
  void HoldRefused() { holding_ = true; }
  void AnswerHeld() {
    holding_ = false;
    for (auto& answer : std::exchange(held_, {})) answer();
  }
  size_t held() const { return held_.size(); }

  // Unary calls whose handlers were called and whose answers have not left.
  int running() const { return running_; }

  // Unary's business.
  void CountRunning(int change) { running_ += change; }
  bool holding() const { return holding_ && held_.size() < kHeldMax; }
  void Hold(std::function<void()> answer) { held_.push_back(std::move(answer)); }

  static constexpr size_t kHeldMax = 4096;

  using grpc::Service::RequestAsyncBidiStreaming;
  using grpc::Service::RequestAsyncServerStreaming;
  using grpc::Service::RequestAsyncUnary;

 private:
  void ServeStream(const char* full_name, grpc::internal::RpcMethod::RpcType type, Accept accept) {
    const int index = Add(full_name, type);
    listeners_.push_back(
        [index, accept = std::move(accept)](Queues queues) { accept(index, queues); });
  }

  int Add(const char* full_name, grpc::internal::RpcMethod::RpcType type) {
    AddMethod(new grpc::internal::RpcServiceMethod(full_name, type, nullptr));
    MarkMethodAsync(count_);
    return count_++;
  }

  int count_ = 0;
  int running_ = 0;
  bool listening_ = true;
  Refusal refusal_;
  bool holding_ = false;
  std::vector<std::function<void()>> held_;
  std::vector<std::function<void(Queues)>> listeners_;
};

template <typename Request, typename Response>
Unary<Request, Response>::Unary(std::shared_ptr<Method> method)
    : method_(std::move(method)), responder_(&context_) {
  method_->methods->RequestAsyncUnary(method_->index, &context_, &request_, &responder_,
                                      method_->queues.calls, method_->queues.arrivals, this);
}

template <typename Request, typename Response>
void Unary<Request, Response>::OnComplete(bool ok) {
  MethodTable* const methods = method_->methods;
  if (finishing_ || !ok || !methods->listening()) {
    if (running_) methods->CountRunning(-1);
    delete this;
    return;
  }
  new Unary(method_);
  if (methods->refusal() == nullptr) {
    running_ = true;
    methods->CountRunning(+1);
    method_->handler(this);
  } else if (methods->holding()) {
    Request().Swap(&request_);  // nobody will read it, and it may be large
    methods->Hold([this] { Refuse(); });
  } else {
    Refuse();
  }
}

}  // namespace raftkv

#endif  // RAFTKV_SERVER_RPC_RPC_H_
