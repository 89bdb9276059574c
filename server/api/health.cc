// grpc.health.v1: "am I worth sending requests to" for load balancers and orchestrators. Runs on
// the watchdog's thread, so that a member whose disk hangs can say it.

#include <memory>
#include <set>

#include "proto/etcd/health.pb.h"
#include "server/api/edge.h"

namespace raftkv::api {

namespace {

using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;

constexpr size_t kWatchersMax = 1024;

HealthCheckResponse::ServingStatus StatusOf(const Edge* edge) {
  const bool serving = edge->loop->healthy() && !edge->refuses_calls;
  return serving ? HealthCheckResponse::SERVING : HealthCheckResponse::NOT_SERVING;
}

void Check(const Edge* edge, Unary<HealthCheckRequest, HealthCheckResponse>* call) {
  if (!call->request().service().empty()) {
    call->Finish({grpc::StatusCode::NOT_FOUND, "unknown service"});
    return;
  }
  call->response()->set_status(StatusOf(edge));
  call->Finish(grpc::Status::OK);
}

class Watch;

// Where the streams come from, and all that have begun and not ended.
struct Source {
  const Edge* edge;
  MethodTable* methods;
  int index;
  Queues queues;
  std::set<Watch*> watches = {};
};

// One stream of Watch: the status at once, then whenever it changes. A service that is not known
// has a status of its own, as the protocol wants it. Deletes itself when it has ended and none of
// its operations is under way.
class Watch {
 public:
  explicit Watch(Source* source) : source_(source), writer_(&context_) {
    context_.AsyncNotifyWhenDone(&ended_operation_);
    source_->methods->RequestAsyncServerStreaming(source_->index, &context_, &request_, &writer_,
                                                  source_->queues.calls, source_->queues.arrivals,
                                                  &arrived_operation_);
  }

  // Says what has changed, if it can.
  void Look() {
    if (ended_ || finished_ || writing_ || !source_->methods->listening()) return;
    const auto status =
        request_.service().empty() ? StatusOf(source_->edge) : HealthCheckResponse::SERVICE_UNKNOWN;
    if (said_ && response_.status() == status) {
      if (source_->edge->loop->stopping()) Finish(ToGrpc(Fate::kStopped));
      return;
    }
    said_ = writing_ = true;
    response_.set_status(status);
    writer_.Write(response_, &written_operation_);
  }

 private:
  void OnArrived(bool ok) {
    if (!ok) {
      delete this;
      return;
    }
    source_->watches.insert(this);
    if (!source_->methods->listening()) return;  // its end is still to come
    new Watch(source_);
    if (source_->watches.size() > kWatchersMax) return Finish(TooManyRequests());
    Look();
  }

  void Finish(const grpc::Status& status) {
    finished_ = writing_ = true;
    writer_.Finish(status, &written_operation_);
  }

  void OnWritten(bool /*ok*/) {
    writing_ = false;
    Look();
    MaybeDelete();
  }
  void OnEnded(bool /*ok*/) {
    ended_ = true;
    source_->watches.erase(this);
    MaybeDelete();
  }
  void MaybeDelete() {
    if (ended_ && !writing_) delete this;
  }

  Source* const source_;
  Operation<Watch> arrived_operation_{this, &Watch::OnArrived};
  Operation<Watch> written_operation_{this, &Watch::OnWritten};
  Operation<Watch> ended_operation_{this, &Watch::OnEnded};
  grpc::ServerContext context_;
  HealthCheckRequest request_;
  HealthCheckResponse response_;
  grpc::ServerAsyncWriter<HealthCheckResponse> writer_;
  bool said_ = false;      // response_ holds what was said last
  bool writing_ = false;   // or finishing
  bool finished_ = false;  // by us
  bool ended_ = false;     // as gRPC sees it
};

}  // namespace

void RegisterHealth(const Edge* edge, MethodTable* methods) {
  Serve(edge, methods, 4, "/grpc.health.v1.Health/Check", Check);
  methods->ServeServerStream(
      "/grpc.health.v1.Health/Watch", [edge, methods](int index, Queues queues) {
        auto source = std::make_shared<Source>(Source{edge, methods, index, queues});
        new Watch(source.get());
        // The loop outlives all calls, and with it their source.
        edge->loop->EachLook([source] {
          for (Watch* watch : source->watches) watch->Look();
        });
      });
}

}  // namespace raftkv::api
