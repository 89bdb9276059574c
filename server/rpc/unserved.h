#ifndef RAFTKV_SERVER_RPC_UNSERVED_H_
#define RAFTKV_SERVER_RPC_UNSERVED_H_

// Answers calls of methods that are in no table of a gRPC server with UNIMPLEMENTED and the
// method's name. gRPC itself would answer without a text.

#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/grpcpp.h>

#include "server/rpc/completion.h"
#include "server/rpc/method_table.h"

namespace raftkv {

class UnservedMethods {
 public:
  void Register(grpc::ServerBuilder* builder) { builder->RegisterAsyncGenericService(&service_); }
  // Accepts calls until `methods` stops listening. All their operations complete on `queue`.
  void Start(const MethodTable* methods, grpc::ServerCompletionQueue* queue) {
    new Call(&service_, methods, queue);
  }

 private:
  // Lives from the moment when it waits for a call until that call is answered.
  class Call final : public Operations {
   public:
    Call(grpc::AsyncGenericService* service, const MethodTable* methods,
         grpc::ServerCompletionQueue* queue)
        : service_(service), methods_(methods), queue_(queue), stream_(&context_) {
      service_->RequestCall(&context_, &stream_, queue_, queue_, arrived_.Start());
    }

   private:
    void OnArrived(bool ok) {
      if (!ok || !methods_->listening()) return;
      new Call(service_, methods_, queue_);
      stream_.Finish({grpc::StatusCode::UNIMPLEMENTED,
                      "etcdserver: raftkv does not serve " + context_.method() + " yet"},
                     finished_.Start());
    }
    void OnFinished(bool /*ok*/) {}

    grpc::AsyncGenericService* const service_;
    const MethodTable* const methods_;
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
