#ifndef RAFTKV_SERVER_RPC_UNSERVED_H_
#define RAFTKV_SERVER_RPC_UNSERVED_H_

// Answers calls of methods that no table of a gRPC server has. The answer is UNIMPLEMENTED with the
// method's name; gRPC's own answer has no text.

#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/grpcpp.h>

#include "server/phase.h"
#include "server/rpc/completion.h"

namespace raftkv {

class UnservedMethods {
 public:
  void Register(grpc::ServerBuilder* builder) { builder->RegisterAsyncGenericService(&service_); }
  // Accepts calls until Phase::kStopped. All their operations complete on `queue`.
  void Start(const PhaseValue* phase, grpc::ServerCompletionQueue* queue) {
    new Call(&service_, phase, queue);
  }

 private:
  // Waits for one call and answers it. Deleted when the answer was sent.
  class Call final : public Operations {
   public:
    Call(grpc::AsyncGenericService* service, const PhaseValue* phase,
         grpc::ServerCompletionQueue* queue)
        : service_(service), phase_(phase), queue_(queue), stream_(&context_) {
      service_->RequestCall(&context_, &stream_, queue_, queue_, arrived_.Start());
    }

   private:
    void OnArrived(bool ok) {
      if (!ok || phase_->AtLeast(Phase::kStopped)) return;
      new Call(service_, phase_, queue_);
      stream_.Finish({grpc::StatusCode::UNIMPLEMENTED,
                      "etcdserver: raftkv does not serve " + context_.method() + " yet"},
                     finished_.Start());
    }
    void OnFinished(bool /*ok*/) {}

    grpc::AsyncGenericService* const service_;
    const PhaseValue* const phase_;
    grpc::ServerCompletionQueue* const queue_;
    grpc::GenericServerContext context_;
    grpc::GenericServerAsyncReaderWriter stream_;
    Operation<Call> arrived_{this, &Call::OnArrived};
    Operation<Call> finished_{this, &Call::OnFinished};
  };

  grpc::AsyncGenericService service_;
};

}  // namespace raftkv

#endif  // RAFTKV_SERVER_RPC_UNSERVED_H_
