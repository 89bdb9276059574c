// grpc.health.v1: "am I worth sending requests to" for load balancers and orchestrators. A turn of
// the loop that hangs in the disk answers nothing, which is the right answer too.

#include "proto/etcd/health.pb.h"
#include "server/api/edge.h"

namespace raftkv::api {

void RegisterHealth(const Edge* edge, MethodTable* methods) {
  methods->Serve<grpc::health::v1::HealthCheckRequest, grpc::health::v1::HealthCheckResponse>(
      "/grpc.health.v1.Health/Check", 4, [edge](auto* call) {
        using Response = grpc::health::v1::HealthCheckResponse;
        if (!call->request().service().empty()) {
          call->Finish({grpc::StatusCode::NOT_FOUND, "unknown service"});
          return;
        }
        const bool led = edge->replica->leader() != raft::kNobody;
        call->response()->set_status(led ? Response::SERVING : Response::NOT_SERVING);
        call->Finish(grpc::Status::OK);
      });
}

}  // namespace raftkv::api
