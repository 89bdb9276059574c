// grpc.health.v1: "am I worth sending requests to" for load balancers and orchestrators. Runs on
// the watchdog's thread, so that a member whose disk hangs can say it.

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
        call->response()->set_status(edge->loop->healthy() ? Response::SERVING
                                                           : Response::NOT_SERVING);
        call->Finish(grpc::Status::OK);
      });
}

}  // namespace raftkv::api
