// A wait for a lock that is cancelled, and a session that is closed, while the service has no
// majority.

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <chrono>
#include <future>
#include <memory>

#include "absl/base/call_once.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "client/raftkv.h"
#include "proto/etcd/rpc.grpc.pb.h"

namespace raftkv::client {
namespace {

grpc::Status NeverAnswer(const grpc::ServerContext& context) {
  while (!context.IsCancelled()) absl::SleepFor(absl::Milliseconds(5));
  return grpc::Status::CANCELLED;
}

// Grants a lease of ten minutes, and does not answer when it is revoked. Every write to Kv fails,
// or is not answered.
class LeaseService final : public etcdserverpb::Lease::Service {
  grpc::Status LeaseGrant(grpc::ServerContext*, const etcdserverpb::LeaseGrantRequest*,
                          etcdserverpb::LeaseGrantResponse* response) override {
    response->set_id(1);
    response->set_ttl(600);
    return grpc::Status::OK;
  }
  grpc::Status LeaseRevoke(grpc::ServerContext* context, const etcdserverpb::LeaseRevokeRequest*,
                           etcdserverpb::LeaseRevokeResponse*) override {
    return NeverAnswer(*context);
  }
};

class Kv final : public etcdserverpb::KV::Service {
 public:
  explicit Kv(bool hangs) : hangs_(hangs) {}
  absl::Notification asked;

 private:
  grpc::Status Txn(grpc::ServerContext* context, const etcdserverpb::TxnRequest*,
                   etcdserverpb::TxnResponse*) override {
    absl::call_once(once_, [this] { asked.Notify(); });
    if (hangs_) return NeverAnswer(*context);
    return {grpc::StatusCode::UNAVAILABLE, "etcdserver: request timed out"};
  }

  const bool hangs_;
  absl::once_flag once_;
};

class LockCancel : public testing::TestWithParam<bool> {};  // the members hang

TEST_P(LockCancel, EndsTheWaitWithoutAMajority) {
  LeaseService lease;
  Kv kv(/*hangs=*/GetParam());
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&lease);
  builder.RegisterService(&kv);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  const auto client = Client::Connect(
      {.endpoints = {absl::StrCat("127.0.0.1:", port)}, .request_timeout = absl::Minutes(10)});
  ASSERT_TRUE(client.ok()) << client.status();
  const auto session = Session::Open(**client, {.ttl = absl::Minutes(10)});
  ASSERT_TRUE(session.ok()) << session.status();
  Mutex mutex(session->get(), "name");
  auto locked = std::async(std::launch::async, [&] { return mutex.Lock(); });
  kv.asked.WaitForNotification();
  mutex.Cancel();
  EXPECT_EQ(locked.wait_for(std::chrono::seconds(20)), std::future_status::ready);
  // A wait that has not ended ends now.
  const absl::Status closed = (*session)->Close(absl::Now() + absl::Milliseconds(100));
  EXPECT_TRUE(OutcomeUnknown(closed)) << closed;
  EXPECT_TRUE(absl::IsCancelled(locked.get()));
  server->Shutdown(std::chrono::system_clock::now());
}

INSTANTIATE_TEST_SUITE_P(Members, LockCancel, testing::Bool(),
                         [](const auto& info) { return info.param ? "Hang" : "Fail"; });

}  // namespace
}  // namespace raftkv::client
