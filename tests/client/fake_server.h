// Servers for the client's tests. FakeServer answers etcd's API with the responses that the test
// sets, and counts calls. HangUpServer accepts one request at a time and closes the connection
// without a response: then nobody knows whether a write happened. StoppedServer behaves like a
// stopped process: the kernel accepts connections for it, but no byte ever arrives on them.
#ifndef RAFTKV_TESTS_CLIENT_FAKE_SERVER_H_
#define RAFTKV_TESTS_CLIENT_FAKE_SERVER_H_

#include <grpcpp/server.h>

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <semaphore>
#include <string>
#include <thread>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "proto/etcd/rpc.grpc.pb.h"

namespace raftkv::client {

class FakeServer final : public etcdserverpb::KV::Service,
                         public etcdserverpb::Cluster::Service,
                         public etcdserverpb::Lease::Service,
                         public etcdserverpb::Maintenance::Service,
                         public etcdserverpb::Watch::Service {
 public:
  FakeServer();  // listens on a free port of the loopback interface
  ~FakeServer() override { Stop(); }

  const std::string& address() const { return address_; }
  void Stop();
  void Start();  // again, on the same port

  // Runs before each response. A status other than OK is returned instead of the response. Set it
  // before the first call.
  std::function<grpc::Status(grpc::ServerContext*)> before = [](grpc::ServerContext*) {
    return grpc::Status::OK;
  };
  // Changes the response of a transaction, a copy of txn_response. Set it before the first call.
  std::function<void(const etcdserverpb::TxnRequest&, etcdserverpb::TxnResponse*)> answer_txn =
      [](const etcdserverpb::TxnRequest&, etcdserverpb::TxnResponse*) {};
  // Changes the response of a range, a copy of range_response. Set it before the first call.
  std::function<void(const etcdserverpb::RangeRequest&, etcdserverpb::RangeResponse*)>
      answer_range = [](const etcdserverpb::RangeRequest&, etcdserverpb::RangeResponse*) {};
  etcdserverpb::RangeResponse range_response;
  etcdserverpb::PutResponse put_response;
  etcdserverpb::DeleteRangeResponse delete_response;
  etcdserverpb::TxnResponse txn_response;
  etcdserverpb::CompactionResponse compaction_response;
  etcdserverpb::HashKVResponse hash_response;
  etcdserverpb::StatusResponse status_response;
  etcdserverpb::MemberListResponse members_response;
  grpc::Status member_add_status;
  std::vector<std::string> snapshot;  // the pieces of a snapshot, and their end
  grpc::Status snapshot_end;

  bool creates_watches = true;  // false: it never answers. Set it before the first call.
  // Answers the request for a watch instead. A status ends the stream; none: the stream goes on.
  // Set it before the first call.
  using WatchStream =
      grpc::ServerReaderWriter<etcdserverpb::WatchResponse, etcdserverpb::WatchRequest>;
  std::function<std::optional<grpc::Status>(const etcdserverpb::WatchCreateRequest&, WatchStream*)>
      answer_watch;
  // Runs before the response to the revocation of a lease. Set it before the first call.
  std::function<grpc::Status(grpc::ServerContext*, int64_t lease)> before_revoke =
      [](grpc::ServerContext*, int64_t) { return grpc::Status::OK; };

  // Answers a keep-alive. Set it before the first call.
  std::function<grpc::Status(grpc::ServerContext*, etcdserverpb::LeaseKeepAliveResponse*)>
      answer_keep_alive = [](grpc::ServerContext*, etcdserverpb::LeaseKeepAliveResponse*) {
        return grpc::Status(grpc::StatusCode::UNIMPLEMENTED, "");
      };

  // False: so many calls have not arrived within 20 s.
  bool AwaitCalls(int count) const;

  std::atomic<int> calls{0};   // but not those about leases
  std::atomic<int> grants{0};  // of leases; the first one has the id 1
  // The last requests; read them only while no call is running.
  etcdserverpb::RangeRequest range_request;
  etcdserverpb::PutRequest put_request;
  etcdserverpb::DeleteRangeRequest delete_request;
  etcdserverpb::TxnRequest txn_request;
  etcdserverpb::CompactionRequest compaction_request;
  etcdserverpb::HashKVRequest hash_request;
  etcdserverpb::MoveLeaderRequest move_leader_request;
  // The alarms. Those that are disarmed are removed.
  std::vector<etcdserverpb::AlarmMember> alarms;

 private:
  // Synchronised, because calls run in parallel.
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
  grpc::Status LeaseGrant(grpc::ServerContext*, const etcdserverpb::LeaseGrantRequest*,
                          etcdserverpb::LeaseGrantResponse*) override;
  grpc::Status LeaseRevoke(grpc::ServerContext*, const etcdserverpb::LeaseRevokeRequest*,
                           etcdserverpb::LeaseRevokeResponse*) override;
  grpc::Status LeaseKeepAlive(
      grpc::ServerContext*,
      grpc::ServerReaderWriter<etcdserverpb::LeaseKeepAliveResponse,
                               etcdserverpb::LeaseKeepAliveRequest>*) override;
  grpc::Status MemberList(grpc::ServerContext*, const etcdserverpb::MemberListRequest*,
                          etcdserverpb::MemberListResponse*) override;
  grpc::Status MemberAdd(grpc::ServerContext*, const etcdserverpb::MemberAddRequest*,
                         etcdserverpb::MemberAddResponse*) override;
  grpc::Status Status(grpc::ServerContext*, const etcdserverpb::StatusRequest*,
                      etcdserverpb::StatusResponse*) override;
  grpc::Status HashKV(grpc::ServerContext*, const etcdserverpb::HashKVRequest*,
                      etcdserverpb::HashKVResponse*) override;
  grpc::Status MoveLeader(grpc::ServerContext*, const etcdserverpb::MoveLeaderRequest*,
                          etcdserverpb::MoveLeaderResponse*) override;
  grpc::Status Alarm(grpc::ServerContext*, const etcdserverpb::AlarmRequest*,
                     etcdserverpb::AlarmResponse*) override;
  grpc::Status Snapshot(grpc::ServerContext*, const etcdserverpb::SnapshotRequest*,
                        grpc::ServerWriter<etcdserverpb::SnapshotResponse>*) override;
  grpc::Status Defragment(grpc::ServerContext*, const etcdserverpb::DefragmentRequest*,
                          etcdserverpb::DefragmentResponse*) override;
  grpc::Status Watch(grpc::ServerContext*, WatchStream*) override;

  absl::Mutex mutex_;  // held while one of the last requests is written
  std::string address_ = "127.0.0.1:0";
  std::unique_ptr<grpc::Server> server_;
};

class HangUpServer {
 public:
  enum class Mode {
    kHangsUp,  // closes the connection without a response
    kAnswers,  // sends an empty response, and closes the connection at HangUp()
  };
  explicit HangUpServer(Mode mode = Mode::kHangsUp);
  ~HangUpServer();
  const std::string& address() const { return address_; }
  int calls() const { return calls_; }   // requests received completely
  void HangUp() { hang_up_.release(); }  // kAnswers: call it once after each response

 private:
  void Serve();
  void TakeOneCall(int connection);

  const Mode mode_;
  std::string address_;
  int listener_;
  std::atomic<int> calls_{0};
  std::counting_semaphore<> hang_up_{0};
  std::thread thread_;
};

class StoppedServer {
 public:
  StoppedServer();
  ~StoppedServer();
  const std::string& address() const { return address_; }
  int Connections();  // number of connections since the last call

 private:
  std::string address_;
  int listener_;
  std::vector<int> accepted_;
};

// Blocks until the client cancels the call.
grpc::Status NeverAnswer(grpc::ServerContext* context);

// An address on which nobody listens.
std::string DeadAddress();

}  // namespace raftkv::client

#endif  // RAFTKV_TESTS_CLIENT_FAKE_SERVER_H_
