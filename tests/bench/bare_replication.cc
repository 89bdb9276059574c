// What replication costs at least, for docs/benchmarks.md: three processes that replicate puts on
// the same disk as raftkv, but without Raft and without a store. The process that is given
// followers is the leader. It serves clients with raftkv's own port. It sends each put to the
// followers over a plain socket. Leader and followers append it to a file and sync it; the leader
// acknowledges it when a majority has synced it. There are no consistency checks and no elections.
// A lost connection to a follower ends the leader.
//
//   bare_replication LISTEN LOG_FILE [FOLLOWER...]      e.g. 127.0.0.1:7001 /tmp/log 127.0.0.1:7002
//
// It serves etcd's KV.Put and KV.Range (one key, newest value only), so that `raftkv bench` can
// measure it. The leader answers a get from a hash map at once, without asking a majority.
//
// The log is a sequence of bytes. A position in it is a number of bytes, which is all that a
// follower answers: how much it has synced.

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <iostream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "config/process.h"
#include "glog/logging.h"
#include "proto/etcd/rpc.pb.h"
#include "server/port/port.h"
#include "server/rpc/event_queue.h"
#include "server/rpc/method.h"

namespace raftkv {
namespace {

using Put = Unary<etcdserverpb::PutRequest, etcdserverpb::PutResponse>;
using Range = Unary<etcdserverpb::RangeRequest, etcdserverpb::RangeResponse>;

constexpr size_t kTurnBytes = 1 << 20;  // of puts, before the leader or a follower syncs them

// "HOST:PORT", where HOST is a number.
sockaddr_in AddressOf(const std::string& text) {
  const size_t colon = text.rfind(':');
  CHECK_NE(colon, std::string::npos) << text;
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(std::stoi(text.substr(colon + 1))));
  CHECK_EQ(inet_pton(AF_INET, text.substr(0, colon).c_str(), &address.sin_addr), 1) << text;
  return address;
}

void SendAll(int fd, std::string_view data) {
  while (!data.empty()) {
    const ssize_t sent = send(fd, data.data(), data.size(), MSG_NOSIGNAL);
    PCHECK(sent > 0) << "lost the connection to a follower";
    data.remove_prefix(static_cast<size_t>(sent));
  }
}

class Log {
 public:
  explicit Log(const char* path) : fd_(open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600)) {
    PCHECK(fd_ >= 0) << path;
  }
  void Append(std::string_view data) {
    PCHECK(write(fd_, data.data(), data.size()) == static_cast<ssize_t>(data.size()));
    PCHECK(fdatasync(fd_) == 0);
  }

 private:
  const int fd_;
};

// Appends what a leader sends, and tells it the position up to which everything is synced.
[[noreturn]] void RunFollower(const std::string& listen_on, Log log) {
  const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int on = 1;
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  const sockaddr_in address = AddressOf(listen_on);
  PCHECK(bind(listener, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0);
  PCHECK(listen(listener, 4) == 0);
  std::string buffer(kTurnBytes, '\0');
  for (;;) {
    const int leader = accept(listener, nullptr, nullptr);
    PCHECK(leader >= 0);
    setsockopt(leader, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    uint64_t synced = 0;
    for (;;) {
      // Waits for something, and takes what has arrived besides.
      size_t size = 0;
      for (int flags = 0; size < buffer.size(); flags = MSG_DONTWAIT) {
        const ssize_t got = recv(leader, buffer.data() + size, buffer.size() - size, flags);
        if (got <= 0) break;
        size += static_cast<size_t>(got);
      }
      if (size == 0) break;
      log.Append(std::string_view(buffer).substr(0, size));
      synced += size;
      SendAll(leader, {reinterpret_cast<const char*>(&synced), sizeof(synced)});
    }
    close(leader);
  }
}

// The leader's connection to a follower.
class Follower {
 public:
  explicit Follower(const std::string& where)
      : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    const sockaddr_in address = AddressOf(where);
    PCHECK(connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0)
        << where;
    const int on = 1;
    setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  }
  int fd() const { return fd_; }
  uint64_t synced() const { return synced_; }

  void Send(std::string_view data) { SendAll(fd_, data); }
  void Receive() {
    char buffer[1024];
    const ssize_t got = recv(fd_, buffer, sizeof(buffer), MSG_DONTWAIT);
    PCHECK(got > 0 || errno == EAGAIN) << "lost the connection to a follower";
    if (got > 0) answer_.append(buffer, static_cast<size_t>(got));
    const size_t complete = answer_.size() / sizeof(synced_) * sizeof(synced_);
    if (complete == 0) return;
    std::memcpy(&synced_, answer_.data() + complete - sizeof(synced_), sizeof(synced_));
    answer_.erase(0, complete);
  }

 private:
  const int fd_;
  std::string answer_;  // received; only the last complete position matters
  uint64_t synced_ = 0;
};

class Leader {
 public:
  Leader(const std::string& listen_on, Log log, const std::vector<std::string>& followers)
      : log_(log), woken_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    for (const std::string& where : followers) followers_.emplace_back(where);
    Methods methods;
    methods.unary.push_back({.name = "/etcdserverpb.KV/Put",
                             .request = &etcdserverpb::PutRequest::default_instance(),
                             .response = &etcdserverpb::PutResponse::default_instance(),
                             .handler = [this](UnaryCall* call) { OnPut(Put(call)); }});
    methods.unary.push_back({.name = "/etcdserverpb.KV/Range",
                             .request = &etcdserverpb::RangeRequest::default_instance(),
                             .response = &etcdserverpb::RangeResponse::default_instance(),
                             .handler = [this](UnaryCall* call) { OnRange(Range(call)); }});
    port_.Serve(std::move(methods), &events_);
    const absl::Status status = port_.Listen(listen_on);
    CHECK(status.ok()) << status;
    port_.Start();
  }

  [[noreturn]] void Run() {
    for (;;) {
      Collect();
      port_.SendAnswers();  // of gets
      Replicate();
      Commit();
      port_.SendAnswers();
    }
  }

 private:
  struct Pending {
    Put put;
    uint64_t end;  // its position in the log
  };

  void OnPut(Put put) {
    const std::string payload = put.request().SerializeAsString();
    const uint32_t length = static_cast<uint32_t>(payload.size());
    unsaved_.append(reinterpret_cast<const char*>(&length), sizeof(length));
    unsaved_ += payload;
    pending_.push_back({put, saved_ + unsaved_.size()});
  }
  void OnRange(Range range) {
    const auto found = values_.find(range.request().key());
    if (found != values_.end()) {
      mvccpb::KeyValue* kv = range.response()->add_kvs();
      kv->set_key(found->first);
      kv->set_value(found->second);
      range.response()->set_count(1);
    }
    range.response()->mutable_header()->set_revision(revision_);
    range.Finish(absl::OkStatus());
  }

  // Handles all that has arrived, within bounds. Waits only if there is nothing.
  void Collect() {
    for (bool wait = true; unsaved_.size() < kTurnBytes; wait = false) {
      std::vector<pollfd> sockets = {{.fd = woken_, .events = POLLIN, .revents = 0}};
      for (const Follower& follower : followers_) {
        sockets.push_back({.fd = follower.fd(), .events = POLLIN, .revents = 0});
      }
      const int ready = poll(sockets.data(), sockets.size(), wait ? -1 : 0);
      if (ready <= 0) return;
      if (sockets[0].revents != 0) {
        uint64_t count = 0;
        PCHECK(read(woken_, &count, sizeof(count)) > 0);
      }
      for (size_t i = 0; i < followers_.size(); ++i) {
        if (sockets[i + 1].revents != 0) followers_[i].Receive();
      }
      while (events_.RunNext()) {
      }
    }
  }
  void Wake() {
    const uint64_t one = 1;
    PCHECK(write(woken_, &one, sizeof(one)) > 0);
  }

  // Sends the puts to the followers before it syncs them itself, as raftkv does.
  void Replicate() {
    if (unsaved_.empty()) return;
    for (Follower& follower : followers_) follower.Send(unsaved_);
    log_.Append(unsaved_);
    saved_ += unsaved_.size();
    unsaved_.clear();
  }

  void Commit() {
    std::vector<uint64_t> synced = {saved_};
    for (const Follower& follower : followers_) synced.push_back(follower.synced());
    std::sort(synced.begin(), synced.end(), std::greater<>());
    const uint64_t majority = synced[synced.size() / 2];
    for (; !pending_.empty() && pending_.front().end <= majority; pending_.pop_front()) {
      const Put& put = pending_.front().put;
      values_[put.request().key()] = put.request().value();
      put.response()->mutable_header()->set_revision(++revision_);
      put.Finish(absl::OkStatus());
    }
  }

  Log log_;
  const int woken_;
  EventQueue events_{[this] { Wake(); }};
  port::Port port_{port::PortOptions{}};
  std::vector<Follower> followers_;
  std::string unsaved_;
  uint64_t saved_ = 0;  // the position up to which log_ is synced
  std::deque<Pending> pending_;
  int64_t revision_ = 0;
  absl::flat_hash_map<std::string, std::string> values_;
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
  raftkv::Log log(argv[2]);
  if (argc == 3) raftkv::RunFollower(argv[1], log);
  raftkv::Leader(argv[1], log, {argv + 3, argv + argc}).Run();
}
