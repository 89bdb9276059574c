// Requests for progress of a watch. etcd does not answer one if the watch is behind.

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <future>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "client/raftkv.h"
#include "proto/etcd/rpc.grpc.pb.h"

namespace raftkv::client {
namespace {

// Ignores the first request for progress, and answers the others.
class Service final : public etcdserverpb::Watch::Service {
 public:
  grpc::Status Watch(grpc::ServerContext*,
                     grpc::ServerReaderWriter<etcdserverpb::WatchResponse,
                                              etcdserverpb::WatchRequest>* stream) override {
    etcdserverpb::WatchRequest request;
    while (stream->Read(&request)) {
      etcdserverpb::WatchResponse response;
      response.mutable_header()->set_revision(7);
      response.set_created(request.has_create_request());
      if (request.has_progress_request() && !first.HasBeenNotified()) {
        first.Notify();
      } else {
        stream->Write(response);
      }
    }
    return grpc::Status::OK;
  }

  absl::Notification first;
};

TEST(WatchProgress, AnUnansweredRequestDoesNotStopLaterOnes) {
  Service service;
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&service);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  {
    const auto client = Client::Connect({.endpoints = {absl::StrCat("127.0.0.1:", port)}});
    ASSERT_TRUE(client.ok()) << client.status();
    const auto watcher = (*client)->Watch("k");
    ASSERT_TRUE(watcher.ok()) << watcher.status();
    (*watcher)->RequestProgress();
    auto batch = std::async(std::launch::async,
                            [&] { return (*watcher)->Next(absl::Now() + absl::Seconds(20)); });
    ASSERT_TRUE(service.first.WaitForNotificationWithTimeout(absl::Seconds(20)));
    (*watcher)->RequestProgress();
    const auto progress = batch.get();
    ASSERT_TRUE(progress.ok()) << progress.status();
    EXPECT_TRUE(progress->events.empty());
    EXPECT_EQ(progress->header.revision, 7);
  }
  server->Shutdown(std::chrono::system_clock::now());
}

}  // namespace
}  // namespace raftkv::client
