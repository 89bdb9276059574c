// A wait for a lock that is cancelled while the service has no majority.

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <chrono>
#include <future>
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "client/raftkv.h"
#include "proto/etcd/rpc.grpc.pb.h"

namespace raftkv::client {
namespace {

// Grants a lease of ten minutes. Every other write fails.
class LeaseService final : public etcdserverpb::Lease::Service {
  grpc::Status LeaseGrant(grpc::ServerContext*, const etcdserverpb::LeaseGrantRequest*,
                          etcdserverpb::LeaseGrantResponse* response) override {
    response->set_id(1);
    response->set_ttl(600);
    return grpc::Status::OK;
  }
};

class Kv final : public etcdserverpb::KV::Service {
 public:
  absl::Notification asked;

 private:
  grpc::Status Txn(grpc::ServerContext*, const etcdserverpb::TxnRequest*,
                   etcdserverpb::TxnResponse*) override {
    if (!asked.HasBeenNotified()) asked.Notify();
    return {grpc::StatusCode::UNAVAILABLE, "etcdserver: request timed out"};
  }
};

TEST(LockCancel, EndsTheWaitWithoutAMajority) {
  LeaseService lease;
  Kv kv;
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&lease);
  builder.RegisterService(&kv);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  const auto client = Client::Connect({.endpoints = {absl::StrCat("127.0.0.1:", port)}});
  ASSERT_TRUE(client.ok()) << client.status();
  const auto session = Session::Open(**client, {.ttl = absl::Minutes(10)});
  ASSERT_TRUE(session.ok()) << session.status();
  Mutex mutex(session->get(), "name");
  auto locked = std::async(std::launch::async, [&] { return mutex.Lock(); });
  kv.asked.WaitForNotification();
  mutex.Cancel();
  EXPECT_EQ(locked.wait_for(std::chrono::seconds(20)), std::future_status::ready);
  (*session)->Close().IgnoreError();  // a wait that has not ended ends now
  EXPECT_TRUE(absl::IsCancelled(locked.get()));
  server->Shutdown(std::chrono::system_clock::now());
}

}  // namespace
}  // namespace raftkv::client
