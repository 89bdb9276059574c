// grpc.health.v1: "am I worth sending requests to" for load balancers and orchestrators. Runs on
// the watchdog's thread, so that a member whose disk hangs can say it.

#include <grpcpp/alarm.h>

#include <memory>

#include "proto/etcd/health.pb.h"
#include "server/api/edge.h"

namespace raftkv::api {

namespace {

using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;

constexpr int kWatchersMax = 1024;
// The watchdog looks no more often.
constexpr int kLookMs = 100;

HealthCheckResponse::ServingStatus StatusOf(const Edge* edge) {
  return edge->loop->healthy() ? HealthCheckResponse::SERVING : HealthCheckResponse::NOT_SERVING;
}

void Check(const Edge* edge, Unary<HealthCheckRequest, HealthCheckResponse>* call) {
  if (!call->request().service().empty()) {
    call->Finish({grpc::StatusCode::NOT_FOUND, "unknown service"});
    return;
  }
  call->response()->set_status(StatusOf(edge));
  call->Finish(grpc::Status::OK);
}

// Where the streams come from.
struct Source {
  const Edge* edge;
  MethodTable* methods;
  int index;
  Queues queues;
  int live = 0;  // streams that have begun
};

// One stream of Watch: the status at once, then whenever it changes. A service that is not known
// has a status of its own, as the protocol wants it. Deletes itself when it has ended and none of
// its operations is under way.
class Watch {
 public:
  explicit Watch(std::shared_ptr<Source> source) : source_(std::move(source)), writer_(&context_) {
    context_.AsyncNotifyWhenDone(&ended_operation_);
    source_->methods->RequestAsyncServerStreaming(source_->index, &context_, &request_, &writer_,
                                                  source_->queues.calls, source_->queues.arrivals,
                                                  &arrived_operation_);
  }

 private:
  void OnArrived(bool ok) {
    if (!ok) {
      delete this;
      return;
    }
    ++source_->live;
    if (!source_->methods->listening()) return;  // its end is still to come
    new Watch(source_);
    if (source_->live > kWatchersMax) return Finish(TooManyRequests());
    Look();
  }

  void Look() {
    if (ended_ || finished_ || !source_->methods->listening()) return MaybeDelete();
    if (source_->edge->loop->stopping() && !writing_) return Finish(ToGrpc(Fate::kStopped));
    const auto status =
        request_.service().empty() ? StatusOf(source_->edge) : HealthCheckResponse::SERVICE_UNKNOWN;
    if (!writing_ && (!said_ || response_.status() != status)) {
      said_ = writing_ = true;
      response_.set_status(status);
      writer_.Write(response_, &written_operation_);
    }
    if (!waiting_) {
      waiting_ = true;
      alarm_.Set(
          source_->queues.calls,
          gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_millis(kLookMs, GPR_TIMESPAN)),
          &alarm_operation_);
    }
  }

  void Finish(const grpc::Status& status) {
    finished_ = writing_ = true;
    writer_.Finish(status, &written_operation_);
  }

  void OnWritten(bool /*ok*/) {
    writing_ = false;
    Look();
  }
  void OnAlarm(bool /*ok*/) {
    waiting_ = false;
    Look();
  }
  void OnEnded(bool /*ok*/) {
    ended_ = true;
    --source_->live;
    if (waiting_) alarm_.Cancel();
    MaybeDelete();
  }
  void MaybeDelete() {
    if (ended_ && !writing_ && !waiting_) delete this;
  }

  const std::shared_ptr<Source> source_;
  Operation<Watch> arrived_operation_{this, &Watch::OnArrived};
  Operation<Watch> written_operation_{this, &Watch::OnWritten};
  Operation<Watch> alarm_operation_{this, &Watch::OnAlarm};
  Operation<Watch> ended_operation_{this, &Watch::OnEnded};
  grpc::ServerContext context_;
  HealthCheckRequest request_;
  HealthCheckResponse response_;
  grpc::ServerAsyncWriter<HealthCheckResponse> writer_;
  grpc::Alarm alarm_;
  bool said_ = false;      // response_ holds what was said last
  bool writing_ = false;   // or finishing
  bool waiting_ = false;   // for the alarm
  bool finished_ = false;  // by us
  bool ended_ = false;     // as gRPC sees it
};

}  // namespace

void RegisterHealth(const Edge* edge, MethodTable* methods) {
  Serve(edge, methods, 4, "/grpc.health.v1.Health/Check", Check);
  methods->ServeServerStream(
      "/grpc.health.v1.Health/Watch", [edge, methods](int index, Queues queues) {
        new Watch(std::make_shared<Source>(Source{edge, methods, index, queues}));
      });
}

}  // namespace raftkv::api
