#ifndef RAFTKV_SERVER_RPC_METHOD_TABLE_H_
#define RAFTKV_SERVER_RPC_METHOD_TABLE_H_

// Serves rows of methods with gRPC, on completion queues: registered with a ServerBuilder like any
// service, started once the server listens. A method that is in no table is answered UNIMPLEMENTED
// (unserved.h, or gRPC itself). The generated AsyncService classes are not used, because they
// register all methods of a service and leave calls to unserved ones without an answer.
//
// Everything runs on the thread that polls the queues, except UnaryCall::Finish and Call::gone.

#include <grpcpp/grpcpp.h>
#include <grpcpp/impl/codegen/service_type.h>

#include <cstddef>
#include <deque>
#include <functional>
#include <list>
#include <set>
#include <vector>

#include "absl/time/time.h"
#include "server/rpc/method.h"
#include "storage/base/monotonic_time.h"

namespace raftkv {

// Where the calls of one gRPC server arrive. New calls are announced on `arrivals`, which belongs
// to the server; everything else of a call happens on `calls`.
struct Queues {
  grpc::CompletionQueue* calls = nullptr;
  grpc::ServerCompletionQueue* arrivals = nullptr;
};

class MethodTable final : public grpc::Service {
 public:
  // Before the table is registered, once. Without `admission` every call is admitted.
  void Serve(Methods methods, Admission admission = nullptr);
  // The server listens: accepts calls until StopListening.
  void Start(Queues queues);
  // The queues shut down: calls that still arrive are dropped.
  void StopListening() { listening_ = false; }
  bool listening() const { return listening_; }

  // Calls that admission declines are held from now on, without their requests, until AnswerHeld
  // answers all of them. At most kHeldMax are held, more are answered at once.
  void HoldRefused() { holding_ = true; }
  void AnswerHeld();
  size_t held() const { return held_.size(); }
  static constexpr size_t kHeldMax = 4096;
  static constexpr absl::Duration kLateCall = absl::Seconds(1);

  // Unary calls whose handlers were called, and streams, that have not ended: an answer that was
  // given has left.
  int running() const { return running_; }
  // Cancels unary calls whose client gave up some time ago: one that does not read its answer would
  // otherwise hold its memory as long as its connection lasts. On the thread that polls the queues,
  // now and then.
  void CancelLate(MonotonicTime now);
  // Ends all streams at once, without a status. They are counted in running() until they have
  // ended.
  void CancelStreams();

 private:
  class Unary;
  class Stream;
  template <typename Base>
  class GrpcCall;
  struct UnaryRow {
    MethodTable* table;
    int index;
    UnaryMethod method;
  };
  struct StreamRow {
    MethodTable* table;
    int index;
    StreamMethod method;
  };

  int Add(const std::string& name, grpc::internal::RpcMethod::RpcType type);
  absl::Status Admit(Permission permission, Call* call) const {
    return admission_ == nullptr ? absl::OkStatus() : admission_(permission, call);
  }

  Admission admission_;
  std::deque<UnaryRow> unary_;  // whose elements stay where they are
  std::deque<StreamRow> streams_;
  Queues queues_;
  int count_ = 0;
  bool listening_ = true;
  bool holding_ = false;
  std::vector<std::function<void()>> held_;
  std::list<Unary*> unary_calls_;  // whose handlers were called
  std::set<Stream*> open_;         // streams that have not ended
  int running_ = 0;
};

}  // namespace raftkv

#endif  // RAFTKV_SERVER_RPC_METHOD_TABLE_H_
