// Services for the client's tests. FakeServer answers etcd's API with what the test sets, and
// counts what it was asked. RudeServer takes one request at a time and hangs up without an answer:
// the case in which nobody knows whether a write happened. SilentServer is a process that is
// stopped: the kernel takes connections for it, and nobody says anything on them.
#ifndef RAFTKV_TESTS_CLIENT_FAKE_SERVER_H_
#define RAFTKV_TESTS_CLIENT_FAKE_SERVER_H_

#include <grpcpp/server.h>

#include <atomic>
#include <functional>
#include <memory>
#include <semaphore>
#include <string>
#include <thread>

#include "absl/synchronization/mutex.h"
#include "proto/etcd/rpc.grpc.pb.h"

namespace raftkv::client {

class FakeServer final : public etcdserverpb::KV::Service,
                         public etcdserverpb::Cluster::Service,
                         public etcdserverpb::Maintenance::Service {
 public:
  FakeServer();  // listens on a free port of the loopback
  ~FakeServer() override { Stop(); }

  const std::string& address() const { return address_; }
  void Stop();
  void Start();  // again, on the same port

  // Runs before each answer; other than OK, it is the answer. Set before the first call.
  std::function<grpc::Status(grpc::ServerContext*)> before = [](grpc::ServerContext*) {
    return grpc::Status::OK;
  };
  // Makes the answer of a transaction out of txn_response. Set before the first call.
  std::function<void(const etcdserverpb::TxnRequest&, etcdserverpb::TxnResponse*)> answer_txn =
      [](const etcdserverpb::TxnRequest&, etcdserverpb::TxnResponse*) {};
  etcdserverpb::RangeResponse range_response;
  etcdserverpb::PutResponse put_response;
  etcdserverpb::DeleteRangeResponse delete_response;
  etcdserverpb::TxnResponse txn_response;
  etcdserverpb::CompactionResponse compaction_response;
  etcdserverpb::HashKVResponse hash_response;
  etcdserverpb::StatusResponse status_response;
  etcdserverpb::MemberListResponse members_response;

  std::atomic<int> calls{0};
  // The last requests; read them only while no call is running.
  etcdserverpb::RangeRequest range_request;
  etcdserverpb::PutRequest put_request;
  etcdserverpb::DeleteRangeRequest delete_request;
  etcdserverpb::TxnRequest txn_request;
  etcdserverpb::CompactionRequest compaction_request;
  etcdserverpb::HashKVRequest hash_request;

 private:
  // Calls run side by side.
  template <typename Request>
  void Keep(const Request& request, Request* last) {
    absl::MutexLock lock(&mutex_);
    *last = request;
  }

  grpc::Status Range(grpc::ServerContext*, const etcdserverpb::RangeRequest*,
                     etcdserverpb::RangeResponse*) override;
  grpc::Status Put(grpc::ServerContext*, const etcdserverpb::PutRequest*,
                   etcdserverpb::PutResponse*) override;
  grpc::Status DeleteRange(grpc::ServerContext*, const etcdserverpb::DeleteRangeRequest*,
                           etcdserverpb::DeleteRangeResponse*) override;
  grpc::Status Txn(grpc::ServerContext*, const etcdserverpb::TxnRequest*,
                   etcdserverpb::TxnResponse*) override;
  grpc::Status Compact(grpc::ServerContext*, const etcdserverpb::CompactionRequest*,
                       etcdserverpb::CompactionResponse*) override;
  grpc::Status MemberList(grpc::ServerContext*, const etcdserverpb::MemberListRequest*,
                          etcdserverpb::MemberListResponse*) override;
  grpc::Status Status(grpc::ServerContext*, const etcdserverpb::StatusRequest*,
                      etcdserverpb::StatusResponse*) override;
  grpc::Status HashKV(grpc::ServerContext*, const etcdserverpb::HashKVRequest*,
                      etcdserverpb::HashKVResponse*) override;
  grpc::Status Defragment(grpc::ServerContext*, const etcdserverpb::DefragmentRequest*,
                          etcdserverpb::DefragmentResponse*) override;

  absl::Mutex mutex_;  // held while a last request is changed
  std::string address_ = "127.0.0.1:0";
  std::unique_ptr<grpc::Server> server_;
};

class RudeServer {
 public:
  enum class Manners { kHangsUp, kAnswers };
  explicit RudeServer(Manners manners = Manners::kHangsUp);
  ~RudeServer();
  const std::string& address() const { return address_; }
  int calls() const { return calls_; }   // requests taken in whole
  void HangUp() { hang_up_.release(); }  // once for each request answered

 private:
  void Serve();
  void TakeOneCall(int connection);

  const Manners manners_;
  std::string address_;
  int listener_;
  std::atomic<int> calls_{0};
  std::counting_semaphore<> hang_up_{0};
  std::thread thread_;
};

class SilentServer {
 public:
  SilentServer();
  ~SilentServer();
  const std::string& address() const { return address_; }
  int Connections();  // made since the last look

 private:
  std::string address_;
  int listener_;
};

// An address on which nobody listens.
std::string DeadAddress();

}  // namespace raftkv::client

#endif  // RAFTKV_TESTS_CLIENT_FAKE_SERVER_H_
