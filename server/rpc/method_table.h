#ifndef RAFTKV_SERVER_RPC_METHOD_TABLE_H_
#define RAFTKV_SERVER_RPC_METHOD_TABLE_H_

// Serves rows of methods with gRPC, on completion queues. The table is registered with a
// ServerBuilder like any service, and started once the server listens. A call of a method that is
// in no table is answered UNIMPLEMENTED (by unserved.h, or by gRPC itself). The generated
// AsyncService classes are not used: they register all methods of a service, and calls of the
// unserved ones would never be answered.
//
// In Phase::kDraining, calls that admission declines are not answered at once. They are held,
// without their requests, until AnswerHeld answers all of them. At most kHeldMax calls are held;
// further ones are answered at once. In Phase::kStopped, calls that still arrive are dropped, so
// that the queues can be shut down.
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
#include "server/phase.h"
#include "server/rpc/method.h"
#include "storage/base/monotonic_time.h"

namespace raftkv {

// The completion queues of one gRPC server's calls. A new call completes on `arrivals`, which
// belongs to the server; all other operations of a call complete on `calls`.
struct Queues {
  grpc::CompletionQueue* calls = nullptr;
  grpc::ServerCompletionQueue* arrivals = nullptr;
};

class MethodTable final : public grpc::Service {
 public:
  // `phase` must outlive the table. A compressed message is rejected if it has more than
  // `message_bytes_max` bytes after decompression. (gRPC checks the size of messages before
  // decompression.)
  explicit MethodTable(const PhaseValue* phase, size_t message_bytes_max = 1 << 20)
      : phase_(phase), message_bytes_max_(message_bytes_max) {}

  // Call it once, before the table is registered. Without `admission` every call is admitted.
  void Serve(Methods methods, Admission admission = nullptr);
  // Call it when the server listens.
  void Start(Queues queues);

  // Call it when the phase is kClosing.
  void AnswerHeld();
  size_t held() const { return held_.size(); }
  static constexpr size_t kHeldMax = 4096;
  static constexpr absl::Duration kLateCall = absl::Seconds(1);

  // The number of calls that have not ended: unary calls that reached their handlers, and streams.
  // A call ends after its answer was sent.
  int running() const { return running_; }
  // Cancels unary calls whose client gave up some time ago. If a client does not read its answer,
  // the answer would otherwise stay in memory as long as the connection lasts. Also cancels streams
  // that have sent no first request in time (FirstRequest). Call it regularly, on the thread that
  // polls the queues.
  void CancelLate(MonotonicTime now);
  // Ends all streams with this status. A response that is being written is sent first.
  void FinishStreams(const absl::Status& status);
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
    std::list<Stream*> silent;  // streams that have sent no request yet, oldest first
  };

  int Add(const std::string& name, grpc::internal::RpcMethod::RpcType type);
  absl::Status Admit(Permission permission, Call* call) const {
    return admission_ == nullptr ? absl::OkStatus() : admission_(permission, call);
  }

  const PhaseValue* const phase_;
  const size_t message_bytes_max_;
  Admission admission_;
  std::deque<UnaryRow> unary_;  // a deque, because elements of a deque never move
  std::deque<StreamRow> streams_;
  Queues queues_;
  int count_ = 0;
  std::vector<std::function<void()>> held_;
  std::list<Unary*> unary_calls_;  // calls whose handlers were called
  std::set<Stream*> open_;         // streams that have not ended
  int running_ = 0;
};

}  // namespace raftkv

#endif  // RAFTKV_SERVER_RPC_METHOD_TABLE_H_
