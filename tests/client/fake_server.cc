#include "tests/client/fake_server.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <glog/logging.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server_builder.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace raftkv::client {
namespace {

// Returns a socket bound to a free port of the loopback interface, and its address.
int Bind(std::string* address) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in name = {};
  name.sin_family = AF_INET;
  name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(name);
  CHECK_EQ(bind(fd, reinterpret_cast<sockaddr*>(&name), size), 0);
  CHECK_EQ(getsockname(fd, reinterpret_cast<sockaddr*>(&name), &size), 0);
  *address = absl::StrCat("127.0.0.1:", ntohs(name.sin_port));
  return fd;
}

bool ReadAll(int fd, unsigned char* bytes, size_t count) {
  while (count > 0) {
    const ssize_t got = read(fd, bytes, count);
    if (got <= 0) return false;
    bytes += got;
    count -= got;
  }
  return true;
}

}  // namespace

FakeServer::FakeServer() { Start(); }

void FakeServer::Start() {
  int port = 0;
  grpc::ServerBuilder builder;
  builder.AddListeningPort(address_, grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(static_cast<etcdserverpb::KV::Service*>(this));
  builder.RegisterService(static_cast<etcdserverpb::Cluster::Service*>(this));
  builder.RegisterService(static_cast<etcdserverpb::Lease::Service*>(this));
  builder.RegisterService(static_cast<etcdserverpb::Maintenance::Service*>(this));
  builder.RegisterService(static_cast<etcdserverpb::Watch::Service*>(this));
  server_ = builder.BuildAndStart();
  CHECK(server_ != nullptr);
  address_ = absl::StrCat("127.0.0.1:", port);
}

void FakeServer::Stop() {
  if (server_ == nullptr) return;
  server_->Shutdown(std::chrono::system_clock::now());
  server_->Wait();
  server_ = nullptr;
}

bool FakeServer::AwaitCalls(int count) const {
  const absl::Time end = absl::Now() + absl::Seconds(20);
  while (calls < count && absl::Now() < end) absl::SleepFor(absl::Milliseconds(1));
  return calls >= count;
}

grpc::Status FakeServer::Range(grpc::ServerContext* context,
                               const etcdserverpb::RangeRequest* request,
                               etcdserverpb::RangeResponse* response) {
  ++calls;
  Keep(*request, &range_request);
  *response = range_response;
  answer_range(*request, response);
  return before(context);
}

grpc::Status FakeServer::LeaseGrant(grpc::ServerContext*,
                                    const etcdserverpb::LeaseGrantRequest* request,
                                    etcdserverpb::LeaseGrantResponse* response) {
  response->set_id(++grants);
  response->set_ttl(request->ttl());
  return grpc::Status::OK;
}

grpc::Status FakeServer::LeaseRevoke(grpc::ServerContext* context,
                                     const etcdserverpb::LeaseRevokeRequest* request,
                                     etcdserverpb::LeaseRevokeResponse*) {
  return before_revoke(context, request->id());
}

grpc::Status FakeServer::LeaseKeepAlive(
    grpc::ServerContext* context,
    grpc::ServerReaderWriter<etcdserverpb::LeaseKeepAliveResponse,
                             etcdserverpb::LeaseKeepAliveRequest>* stream) {
  etcdserverpb::LeaseKeepAliveRequest request;
  while (stream->Read(&request)) {
    etcdserverpb::LeaseKeepAliveResponse response;
    response.set_id(request.id());
    const grpc::Status status = answer_keep_alive(context, &response);
    if (!status.ok()) return status;
    stream->Write(response);
  }
  return grpc::Status::OK;
}

grpc::Status FakeServer::Put(grpc::ServerContext* context, const etcdserverpb::PutRequest* request,
                             etcdserverpb::PutResponse* response) {
  ++calls;
  Keep(*request, &put_request);
  *response = put_response;
  return before(context);
}

grpc::Status FakeServer::DeleteRange(grpc::ServerContext* context,
                                     const etcdserverpb::DeleteRangeRequest* request,
                                     etcdserverpb::DeleteRangeResponse* response) {
  ++calls;
  Keep(*request, &delete_request);
  *response = delete_response;
  return before(context);
}

grpc::Status FakeServer::Txn(grpc::ServerContext* context, const etcdserverpb::TxnRequest* request,
                             etcdserverpb::TxnResponse* response) {
  ++calls;
  Keep(*request, &txn_request);
  *response = txn_response;
  answer_txn(*request, response);
  return before(context);
}

grpc::Status FakeServer::Compact(grpc::ServerContext* context,
                                 const etcdserverpb::CompactionRequest* request,
                                 etcdserverpb::CompactionResponse* response) {
  ++calls;
  Keep(*request, &compaction_request);
  *response = compaction_response;
  return before(context);
}

grpc::Status FakeServer::HashKV(grpc::ServerContext* context,
                                const etcdserverpb::HashKVRequest* request,
                                etcdserverpb::HashKVResponse* response) {
  ++calls;
  Keep(*request, &hash_request);
  *response = hash_response;
  return before(context);
}

grpc::Status FakeServer::Defragment(grpc::ServerContext* context,
                                    const etcdserverpb::DefragmentRequest*,
                                    etcdserverpb::DefragmentResponse*) {
  ++calls;
  return before(context);
}

grpc::Status FakeServer::Alarm(grpc::ServerContext* context,
                               const etcdserverpb::AlarmRequest* request,
                               etcdserverpb::AlarmResponse* response) {
  ++calls;
  response->mutable_header()->set_member_id(9);
  const bool disarms = request->action() == etcdserverpb::AlarmRequest::DEACTIVATE;
  absl::MutexLock lock(&mutex_);
  std::erase_if(alarms, [&](const etcdserverpb::AlarmMember& alarm) {
    const bool asked =
        !disarms || (alarm.memberid() == request->memberid() && alarm.alarm() == request->alarm());
    if (asked) *response->add_alarms() = alarm;
    return asked && disarms;
  });
  return before(context);
}

grpc::Status FakeServer::MoveLeader(grpc::ServerContext* context,
                                    const etcdserverpb::MoveLeaderRequest* request,
                                    etcdserverpb::MoveLeaderResponse*) {
  ++calls;
  Keep(*request, &move_leader_request);
  return before(context);
}

grpc::Status FakeServer::Snapshot(grpc::ServerContext*, const etcdserverpb::SnapshotRequest*,
                                  grpc::ServerWriter<etcdserverpb::SnapshotResponse>* writer) {
  ++calls;
  for (const std::string& piece : snapshot) {
    etcdserverpb::SnapshotResponse response;
    response.set_blob(piece);
    writer->Write(response);
  }
  return snapshot_end;
}

grpc::Status FakeServer::MemberAdd(grpc::ServerContext* context,
                                   const etcdserverpb::MemberAddRequest*,
                                   etcdserverpb::MemberAddResponse*) {
  ++calls;
  const grpc::Status status = before(context);
  return status.ok() ? member_add_status : status;
}

grpc::Status FakeServer::MemberList(grpc::ServerContext* context,
                                    const etcdserverpb::MemberListRequest*,
                                    etcdserverpb::MemberListResponse* response) {
  ++calls;
  *response = members_response;
  return before(context);
}

grpc::Status FakeServer::Status(grpc::ServerContext* context, const etcdserverpb::StatusRequest*,
                                etcdserverpb::StatusResponse* response) {
  ++calls;
  *response = status_response;
  return before(context);
}

grpc::Status FakeServer::Watch(grpc::ServerContext*, WatchStream* stream) {
  for (etcdserverpb::WatchRequest request; stream->Read(&request);) {
    if (!request.has_create_request()) continue;
    ++calls;
    if (answer_watch != nullptr) {
      if (const auto end = answer_watch(request.create_request(), stream)) return *end;
      continue;
    }
    etcdserverpb::WatchResponse created;
    created.set_created(true);
    if (creates_watches) stream->Write(created);
  }
  return grpc::Status::OK;
}

HangUpServer::HangUpServer(Mode mode) : mode_(mode), listener_(Bind(&address_)) {
  CHECK_EQ(listen(listener_, 8), 0);
  thread_ = std::thread([this] { Serve(); });
}

HangUpServer::~HangUpServer() {
  shutdown(listener_, SHUT_RDWR);
  thread_.join();
  close(listener_);
}

void HangUpServer::Serve() {
  for (;;) {
    const int connection = accept(listener_, nullptr, nullptr);
    if (connection < 0) return;
    TakeOneCall(connection);
    close(connection);
  }
}

// HTTP/2 frames on stream 1: headers {:status 200, content-type application/grpc}, an empty
// message, trailers {grpc-status 0}. The header fields are HPACK literals (RFC 7541).
constexpr char kEmptyAnswer[] =
    "\0\0\x14\1\4\0\0\0\1\x88\x0f\x10\x10"
    "application/grpc"
    "\0\0\5\0\0\0\0\0\1\0\0\0\0\0"
    "\0\0\xf\1\5\0\0\0\1\0\xb"
    "grpc-status"
    "\1"
    "0";
constexpr ssize_t kEmptyAnswerSize = sizeof(kEmptyAnswer) - 1;

// The minimum of HTTP/2 (RFC 9113): reads the preface, then frames with a header of {length: 24
// bits, type: 8, flags: 8, stream: 32}, until a DATA frame ends the request.
void HangUpServer::TakeOneCall(int connection) {
  constexpr unsigned char kSettings[9] = {0, 0, 0, 4, 0, 0, 0, 0, 0};
  constexpr unsigned char kData = 0, kEndStream = 1;
  std::array<unsigned char, 1 << 14> bytes;
  if (write(connection, kSettings, sizeof(kSettings)) != sizeof(kSettings)) return;
  if (!ReadAll(connection, bytes.data(), 24)) return;
  std::array<unsigned char, 9> frame;
  while (ReadAll(connection, frame.data(), frame.size())) {
    const size_t length = frame[0] << 16 | frame[1] << 8 | frame[2];
    CHECK_LE(length, bytes.size());
    if (!ReadAll(connection, bytes.data(), length)) return;
    if (frame[3] == kData && (frame[4] & kEndStream) != 0) {
      ++calls_;
      if (mode_ == Mode::kAnswers) {
        CHECK_EQ(write(connection, kEmptyAnswer, kEmptyAnswerSize), kEmptyAnswerSize);
        hang_up_.acquire();
      }
      return;
    }
  }
}

StoppedServer::StoppedServer() : listener_(Bind(&address_)) { CHECK_EQ(listen(listener_, 64), 0); }

StoppedServer::~StoppedServer() {
  for (const int connection : accepted_) close(connection);
  close(listener_);
}

int StoppedServer::Connections() {
  CHECK_EQ(fcntl(listener_, F_SETFL, O_NONBLOCK), 0);
  const size_t before = accepted_.size();
  for (int connection; (connection = accept(listener_, nullptr, nullptr)) >= 0;) {
    accepted_.push_back(connection);  // stays open: a stopped process closes nothing
  }
  return static_cast<int>(accepted_.size() - before);
}

grpc::Status NeverAnswer(grpc::ServerContext* context) {
  while (!context->IsCancelled()) absl::SleepFor(absl::Milliseconds(1));
  return grpc::Status::CANCELLED;
}

std::string DeadAddress() {
  std::string address;
  close(Bind(&address));
  return address;
}

}  // namespace raftkv::client
