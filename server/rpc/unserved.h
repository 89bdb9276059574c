#ifndef RAFTKV_SERVER_RPC_UNSERVED_H_
#define RAFTKV_SERVER_RPC_UNSERVED_H_

// Whatever method is in no table of a gRPC server: answered UNIMPLEMENTED at once, with its name.
// gRPC would do so without words.

#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/grpcpp.h>

#include "server/rpc/rpc.h"

namespace raftkv {

class UnservedMethods {
 public:
  void Register(grpc::ServerBuilder* builder) { builder->RegisterAsyncGenericService(&service_); }
  // Takes calls until `methods` stop listening; everything of them happens on `queue`.
  void Start(const MethodTable* methods, grpc::ServerCompletionQueue* queue) {
    new Call(&service_, methods, queue);
  }

 private:
  // From arrival to answer. Deletes itself.
  class Call final : public Completion {
   public:
    Call(grpc::AsyncGenericService* service, const MethodTable* methods,
         grpc::ServerCompletionQueue* queue)
        : service_(service), methods_(methods), queue_(queue), stream_(&context_) {
      service_->RequestCall(&context_, &stream_, queue_, queue_, this);
    }

    void OnComplete(bool ok) override {
      if (answered_ || !ok || !methods_->listening()) {
        delete this;
        return;
      }
      new Call(service_, methods_, queue_);
      answered_ = true;
      stream_.Finish({grpc::StatusCode::UNIMPLEMENTED,
                      "etcdserver: raftkv does not serve " + context_.method() + " yet"},
                     this);
    }

   private:
    grpc::AsyncGenericService* const service_;
    const MethodTable* const methods_;
    grpc::ServerCompletionQueue* const queue_;
    grpc::GenericServerContext context_;
    grpc::GenericServerAsyncReaderWriter stream_;
    bool answered_ = false;
  };

  grpc::AsyncGenericService service_;
};

}  // namespace raftkv

#endif  // RAFTKV_SERVER_RPC_UNSERVED_H_
