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

class WatchCall final : public WatchingStream {
 public:
  WatchCall(std::shared_ptr<WatchService> service, StreamCall* call)
      : WatchingStream(std::move(service), call) {
    if (!ended()) stream_ = service_->hub().Open([this] { Send(); });
  }

  bool WantsRequest() const override { return stream_ == nullptr || stream_->WantsRequest(); }

  absl::Status OnRequest(Message* message) override {
    if (stream_ == nullptr) return absl::OkStatus();
    stream_->OnRequest(*static_cast<WatchRequest*>(message), *edge().member->Snapshot(),
                       MonotonicNow());
    Send();
    return absl::OkStatus();
  }

  void OnWritable() override { Send(); }

 private:
  void Send() {
    if (stream_ == nullptr || !call_.writable()) return;
    std::optional<WatchResponse> response = stream_->Take();
    if (!response.has_value()) return;
    etcdserverpb::ResponseHeader* header = response->mutable_header();
    edge().FillHeader(header->revision(), header);
    call_.Write(*response, stream_->has_response());
  }
};

}  // namespace

void AddWatch(const std::shared_ptr<WatchService>& service, Methods* methods) {
  StreamMethod watch;
  watch.name = "/etcdserverpb.Watch/Watch";
  watch.permission = Permission::kRead;
  watch.request = &WatchRequest::default_instance();
  watch.open = [service](StreamCall* stream) -> std::unique_ptr<StreamHandler> {
    return std::make_unique<WatchCall>(service, stream);
  };
  methods->streams.push_back(std::move(watch));
}

}  // namespace raftkv::api
