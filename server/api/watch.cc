// etcdserverpb.Watch. Connects the streams of clients with the hub (server/watch/hub.h). The hub
// does all the work except sending. All code here runs on the loop's thread.

#include <memory>
#include <optional>
#include <utility>

#include "server/api/edge.h"
#include "server/api/watch_service.h"
#include "server/watch/hub.h"

namespace raftkv::api {

namespace {

using etcdserverpb::WatchRequest;
using etcdserverpb::WatchResponse;
using google::protobuf::Message;

class WatchCall final : public StreamHandler, public WatchingCall {
 public:
  WatchCall(std::shared_ptr<WatchService> service, Stream* call)
      : service_(std::move(service)),
        call_(*call),
        needs_leader_(call->Metadata("hasleader") == "true") {
    if (service_->full()) {
      call_.Finish(TooManyRequests());
      return;
    }
    stream_ = service_->hub().Open([this] { Send(); });
    service_->Add(this);
  }
  ~WatchCall() override { service_->Remove(this); }

  bool OnLastRequest() override { return true; }  // as in etcd, the watches go on
  bool WantsRequest() const override { return stream_ == nullptr || stream_->WantsRequest(); }

  absl::Status OnRequest(Message* message) override {
    if (stream_ == nullptr) return absl::OkStatus();
    stream_->OnRequest(*static_cast<WatchRequest*>(message), *service_->edge().member->Snapshot(),
                       MonotonicNow());
    Send();
    return absl::OkStatus();
  }

  void OnWritable() override { Send(); }

  bool needs_leader() const override { return needs_leader_; }
  bool Abandoned(MonotonicTime now) const override {
    return stream_ != nullptr && stream_->Stalled(now);
  }
  void Cancel() override {
    stream_.reset();
    call_.Cancel();
  }
  void End(const absl::Status& status) override {
    stream_.reset();
    call_.Finish(status);
  }

 private:
  void Send() {
    if (stream_ == nullptr || !call_.writable()) return;
    std::optional<WatchResponse> response = stream_->Take();
    if (!response.has_value()) return;
    etcdserverpb::ResponseHeader* header = response->mutable_header();
    service_->edge().FillHeader(header->revision(), header);
    call_.Write(*response, stream_->has_response());
  }

  const std::shared_ptr<WatchService> service_;
  Stream& call_;
  const bool needs_leader_;
  std::unique_ptr<watch::Stream> stream_;  // null once the call ends
};

}  // namespace

void AddWatch(const std::shared_ptr<WatchService>& service, Methods* methods) {
  StreamMethod watch;
  watch.name = "/etcdserverpb.Watch/Watch";
  watch.permission = Permission::kRead;
  watch.request = &WatchRequest::default_instance();
  watch.open = [service](Stream* stream) -> std::unique_ptr<StreamHandler> {
    return std::make_unique<WatchCall>(service, stream);
  };
  methods->streams.push_back(std::move(watch));
}

}  // namespace raftkv::api
