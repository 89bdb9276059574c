#ifndef RAFTKV_SERVER_RPC_METHOD_TABLE_H_
#define RAFTKV_SERVER_RPC_METHOD_TABLE_H_

// Serves rows of methods with gRPC, on a completion queue: those of the peer port. The table is
// registered with a ServerBuilder like any service, and started once the server listens. gRPC
// answers UNIMPLEMENTED to a call of a method that is in no table. The generated AsyncService
// classes are not used: they register all methods of a service, and calls of the unserved ones
// would never be answered.
//
// In Phase::kStopped, calls that still arrive are dropped, so that the queue can be shut down.
//
// Everything runs on the thread that polls the queue, except UnaryCall::Finish and Call::gone.

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

class MethodTable final : public grpc::Service {
 public:
  // `phase` must outlive the table.
  explicit MethodTable(const PhaseValue* phase) : phase_(phase) {}

  // Call it once, before the table is registered. Every call is admitted.
  void Serve(Methods methods);
  // Call it when the server listens.
  void Start(grpc::ServerCompletionQueue* queue);

  // Between two calls of this one, kCallsPerTurn calls are accepted, and one more of each other
  // method. Further ones wait in gRPC. So a flood of calls cannot keep the thread from its other
  // work. Call it once in each turn.
  void BeginTurn();
  static constexpr int kCallsPerTurn = 64;

  // The number of calls that have not ended: unary calls that reached their handlers, and streams.
  // A call ends after its answer was sent.
  int running() const { return running_; }
  // Cancels streams that have sent no first request in time (FirstRequest). Call it regularly, on
  // the thread that polls the queue.
  void CancelLate(MonotonicTime now);
  // Ends all streams at once, without a status. They are counted in running() until they have
  // ended.
  void CancelStreams();
  // Ends all streams with this status, which is sent to their clients.
  void FinishStreams(const absl::Status& status);

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
  // Waits for the next call of the row, at once or from the next turn on.
  template <typename Call, typename Row>
  void AwaitNext(Row* row);

  const PhaseValue* const phase_;
  std::deque<UnaryRow> unary_;  // a deque, because elements of a deque never move
  std::deque<StreamRow> streams_;
  grpc::ServerCompletionQueue* queue_ = nullptr;
  int count_ = 0;
  int calls_in_turn_ = 0;
  std::vector<std::function<void()>> next_turn_;  // what AwaitNext left for it
  std::set<Stream*> open_;                        // streams that have not ended
  int running_ = 0;
};

}  // namespace raftkv

#endif  // RAFTKV_SERVER_RPC_METHOD_TABLE_H_
