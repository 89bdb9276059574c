// The upper bound for docs/benchmarks.md: three processes that replicate puts with the same gRPC,
// the same messages and the same disk as raftkv, but without Raft and without a store. The process
// that is given followers is the leader. Leader and followers append and sync each put; the leader
// acknowledges it when a majority has synced it. There are no consistency checks and no elections.
// A lost connection ends the process.
//
//   bare_replication LISTEN LOG_FILE [FOLLOWER...]      e.g. 127.0.0.1:7001 /tmp/log 127.0.0.1:7002
//
// It serves etcd's KV.Put and KV.Range (one key, newest value only), so that `raftkv bench` can
// measure it. The leader answers a get from a hash map at once, without asking a majority.
//
// One thread with one completion queue collects everything that has arrived. Then one turn handles
// all of it, with one message to each follower, one write and one fdatasync.

#include <fcntl.h>
#include <grpcpp/grpcpp.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <deque>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "config/process.h"
#include "glog/logging.h"
#include "proto/etcd/rpc.grpc.pb.h"
#include "proto/raft.grpc.pb.h"

namespace raftkv {
namespace {

using etcdserverpb::KV;
using proto::AppendEntriesRequest;
using proto::AppendEntriesResponse;

using KvService = KV::WithAsyncMethod_Put<KV::WithAsyncMethod_Range<KV::Service>>;
using RaftService = proto::Raft::WithAsyncMethod_AppendEntries<proto::Raft::Service>;

// The tags of the completion queue point to Events.
struct Event {
  virtual ~Event() = default;
  virtual void Complete(bool ok) = 0;
};

template <typename Owner>
struct MemberEvent : Event {
  using Method = void (Owner::*)(bool);
  MemberEvent(Owner* owner, Method method) : owner(owner), method(method) {}
  void Complete(bool ok) override { (owner->*method)(ok); }
  Owner* owner;
  Method method;
};

class Node;

// One unary call, from its arrival to its answer. Deletes itself after the answer.
template <typename Request, typename Response>
struct UnaryCall : Event {
  using Arrived = void (Node::*)(UnaryCall*);

  UnaryCall(Node* node, Arrived arrived) : node(node), arrived(arrived), responder(&context) {}

  void Complete(bool ok) override {
    if (answered || !ok) {
      delete this;
    } else {
      (node->*arrived)(this);
    }
  }
  void Answer() {
    answered = true;
    responder.Finish(response, grpc::Status::OK, this);
  }

  Node* node;
  Arrived arrived;
  grpc::ServerContext context;
  Request request;
  Response response;
  grpc::ServerAsyncResponseWriter<Response> responder;
  bool answered = false;
};

using PutCall = UnaryCall<etcdserverpb::PutRequest, etcdserverpb::PutResponse>;
using RangeCall = UnaryCall<etcdserverpb::RangeRequest, etcdserverpb::RangeResponse>;

// The leader's stream to one follower. While a write is in progress, entries collect in `next_`.
class Follower {
 public:
  Follower(const std::string& address, grpc::CompletionQueue* queue)
      : stub_(proto::Raft::NewStub(
            grpc::CreateChannel(address, grpc::InsecureChannelCredentials()))) {
    context_.set_wait_for_ready(true);
    stream_ = stub_->PrepareAsyncAppendEntries(&context_, queue);
    stream_->StartCall(&started_);
  }

  void Add(const std::string& payload) { next_.add_entries()->set_payload(payload); }

  void Flush() {
    if (writing_ || next_.entries().empty()) return;
    writing_ = true;
    stream_->Write(next_, &written_);
    next_.Clear();
  }

  uint64_t match_index() const { return answer_.match_index(); }

 private:
  void OnStarted(bool ok) {
    CHECK(ok) << "cannot connect to follower";
    OnWritten(true);
    stream_->Read(&answer_, &read_);
  }
  void OnWritten(bool ok) {
    CHECK(ok) << "lost connection to follower";
    writing_ = false;
    Flush();
  }
  void OnRead(bool ok) {
    CHECK(ok) << "lost connection to follower";
    stream_->Read(&answer_, &read_);
  }

  std::unique_ptr<proto::Raft::Stub> stub_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientAsyncReaderWriter<AppendEntriesRequest, AppendEntriesResponse>>
      stream_;
  AppendEntriesRequest next_;
  AppendEntriesResponse answer_;
  bool writing_ = true;  // until the stream has started
  MemberEvent<Follower> started_{this, &Follower::OnStarted};
  MemberEvent<Follower> written_{this, &Follower::OnWritten};
  MemberEvent<Follower> read_{this, &Follower::OnRead};
};

class Node {
 public:
  Node(const std::string& address, const std::string& log_path)
      : log_(open(log_path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600)) {
    PCHECK(log_ >= 0) << log_path;
    grpc::ServerBuilder builder;
    builder.AddListeningPort(address, grpc::InsecureServerCredentials());
    builder.RegisterService(&kv_);
    builder.RegisterService(&raft_);
    queue_ = builder.AddCompletionQueue();
    server_ = builder.BuildAndStart();
    CHECK(server_ != nullptr) << address;
    RequestPut();
    RequestRange();
    raft_.RequestAppendEntries(&leader_context_, &leader_stream_, queue_.get(), queue_.get(),
                               &leader_connected_);
  }

  void AddFollower(const std::string& address) {
    followers_.push_back(std::make_unique<Follower>(address, queue_.get()));
  }

  [[noreturn]] void Run() {
    for (;;) {
      Collect();
      Replicate();
      Save();
      if (followers_.empty()) {
        AnswerLeader();
      } else {
        Commit();
      }
    }
  }

 private:
  void RequestPut() {
    auto* call = new PutCall(this, &Node::OnPut);
    kv_.RequestPut(&call->context, &call->request, &call->responder, queue_.get(), queue_.get(),
                   call);
  }
  void RequestRange() {
    auto* call = new RangeCall(this, &Node::OnRange);
    kv_.RequestRange(&call->context, &call->request, &call->responder, queue_.get(), queue_.get(),
                     call);
  }

  void OnPut(PutCall* call) {
    RequestPut();
    arrived_.push_back(call);
  }
  void OnRange(RangeCall* call) {
    RequestRange();
    const auto found = values_.find(call->request.key());
    if (found != values_.end()) {
      mvccpb::KeyValue* kv = call->response.add_kvs();
      kv->set_key(found->first);
      kv->set_value(found->second);
      call->response.set_count(1);
    }
    call->response.mutable_header()->set_revision(static_cast<int64_t>(committed_));
    call->Answer();
  }

  void OnLeaderConnected(bool ok) {
    if (ok) leader_stream_.Read(&from_leader_, &leader_read_);
  }
  void OnLeaderRead(bool ok) {
    if (!ok) return;
    for (const proto::Entry& entry : from_leader_.entries()) Append(entry.payload());
    leader_stream_.Read(&from_leader_, &leader_read_);
  }
  void OnLeaderWritten(bool) { answering_ = false; }

  // Handles all events that have arrived, within bounds. Waits only if there are none.
  void Collect() {
    using Clock = std::chrono::system_clock;
    const auto until = Clock::now() + std::chrono::microseconds(200);
    int empty = 0;
    for (int events = 0; events < 1024 && empty < 12;) {
      void* tag = nullptr;
      bool ok = false;
      const bool idle = events == 0 && empty > 0;
      const auto got = queue_->AsyncNext(
          &tag, &ok, idle ? Clock::now() + std::chrono::seconds(1) : Clock::time_point());
      if (got == grpc::CompletionQueue::GOT_EVENT) {
        static_cast<Event*>(tag)->Complete(ok);
        ++events;
        empty = 0;
      } else {
        ++empty;
      }
      if (events > 0 && Clock::now() > until) break;
    }
  }

  void Append(const std::string& payload) {
    const uint32_t length = static_cast<uint32_t>(payload.size());
    unsaved_.append(reinterpret_cast<const char*>(&length), sizeof(length));
    unsaved_ += payload;
    ++last_index_;
  }

  // Sends the entries to the followers before writing them to the local disk, as raftkv does.
  void Replicate() {
    for (PutCall* call : arrived_) {
      const std::string payload = call->request.SerializeAsString();
      Append(payload);
      for (const auto& follower : followers_) follower->Add(payload);
      pending_.push_back(call);
    }
    arrived_.clear();
    for (const auto& follower : followers_) follower->Flush();
  }

  void Save() {
    if (unsaved_.empty()) return;
    PCHECK(write(log_, unsaved_.data(), unsaved_.size()) == static_cast<ssize_t>(unsaved_.size()));
    PCHECK(fdatasync(log_) == 0);
    unsaved_.clear();
    saved_ = last_index_;
  }

  void AnswerLeader() {
    if (answering_ || to_leader_.match_index() == saved_) return;
    answering_ = true;
    to_leader_.set_success(true);
    to_leader_.set_match_index(saved_);
    leader_stream_.Write(to_leader_, &leader_written_);
  }

  void Commit() {
    std::vector<uint64_t> matches = {saved_};
    for (const auto& follower : followers_) matches.push_back(follower->match_index());
    std::sort(matches.begin(), matches.end(), std::greater<>());
    const uint64_t majority = matches[matches.size() / 2];
    for (; committed_ < majority; pending_.pop_front()) {
      PutCall* call = pending_.front();
      values_[call->request.key()] = call->request.value();
      call->response.mutable_header()->set_revision(static_cast<int64_t>(++committed_));
      call->Answer();
    }
  }

  const int log_;
  KvService kv_;
  RaftService raft_;
  std::unique_ptr<grpc::ServerCompletionQueue> queue_;
  std::unique_ptr<grpc::Server> server_;

  std::string unsaved_;
  uint64_t last_index_ = 0;
  uint64_t saved_ = 0;

  // As leader.
  std::vector<std::unique_ptr<Follower>> followers_;
  std::vector<PutCall*> arrived_;
  std::deque<PutCall*> pending_;  // the first one has index committed_ + 1
  uint64_t committed_ = 0;
  absl::flat_hash_map<std::string, std::string> values_;

  // As follower.
  grpc::ServerContext leader_context_;
  grpc::ServerAsyncReaderWriter<AppendEntriesResponse, AppendEntriesRequest> leader_stream_{
      &leader_context_};
  AppendEntriesRequest from_leader_;
  AppendEntriesResponse to_leader_;
  bool answering_ = false;
  MemberEvent<Node> leader_connected_{this, &Node::OnLeaderConnected};
  MemberEvent<Node> leader_read_{this, &Node::OnLeaderRead};
  MemberEvent<Node> leader_written_{this, &Node::OnLeaderWritten};
};

}  // namespace
}  // namespace raftkv

int main(int argc, char** argv) {
  google::InitGoogleLogging(argv[0]);
  FLAGS_logtostderr = true;
  if (argc < 3) {
    std::cerr << "usage: bare_replication LISTEN LOG_FILE [FOLLOWER...]\n";
    return 2;
  }
  raftkv::Node node(argv[1], argv[2]);
  for (int i = 3; i < argc; ++i) node.AddFollower(argv[i]);
  node.Run();
}
