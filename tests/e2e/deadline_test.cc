// What a client that gives up sees on the wire. gRPC's own client would hide it: at its deadline it
// ends the call itself. So these calls are made with HTTP/2 frames over a socket.

#include <gtest/gtest.h>
#include <nghttp2/nghttp2.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "tests/e2e/cluster.h"
#include "tests/e2e/raw_http2.h"

namespace raftkv::e2e {
namespace {

// One put, on a connection of its own.
class RawPut {
 public:
  RawPut(const std::string& address, const std::string& key, int timeout_ms)
      : connection_(address) {
    etcdserverpb::PutRequest request;
    request.set_key(key);
    const std::string message = request.SerializeAsString();
    EXPECT_EQ(nghttp2_hd_inflate_new(&headers_), 0);
    // The client's clock starts before anything is sent.
    deadline_ = absl::Now() + absl::Milliseconds(timeout_ms);
    EXPECT_TRUE(connection_.Send(
        Preface() + CallHeaders(1, "/etcdserverpb.KV/Put", absl::StrCat(timeout_ms, "m")) +
        MessageData(1, message, message.size(), /*last=*/true)));
  }
  ~RawPut() { nghttp2_hd_inflate_del(headers_); }
  RawPut(const RawPut&) = delete;
  RawPut& operator=(const RawPut&) = delete;

  struct Answer {
    int code = -1;  // grpc-status
    absl::Time at;
  };
  const std::optional<Answer>& answer() const { return answer_; }
  absl::Time deadline() const { return deadline_; }
  int fd() const { return connection_.fd(); }

  void OnReadable() {
    char bytes[4096];
    const ssize_t count = recv(fd(), bytes, sizeof(bytes), MSG_DONTWAIT);
    if (count > 0) received_.append(bytes, static_cast<size_t>(count));
    while (received_.size() >= 9) {
      const auto byte = [this](size_t i) { return static_cast<unsigned char>(received_[i]); };
      const size_t length = (byte(0) << 16) | (byte(1) << 8) | byte(2);
      if (received_.size() < 9 + length) return;
      OnFrame(byte(3), received_.substr(9, length));
      received_.erase(0, 9 + length);
    }
  }

 private:
  void OnFrame(int type, const std::string& payload) {
    if (type == 3 && !answer_) answer_ = Answer{-2, absl::Now()};  // RST_STREAM
    if (type != 1) return;                                         // HEADERS
    const auto* bytes = reinterpret_cast<const uint8_t*>(payload.data());
    size_t left = payload.size();
    for (int flags = 0; (flags & NGHTTP2_HD_INFLATE_FINAL) == 0;) {
      nghttp2_nv header;
      const ssize_t used = nghttp2_hd_inflate_hd2(headers_, &header, &flags, bytes, left, 1);
      ASSERT_GE(used, 0);
      bytes += used;
      left -= static_cast<size_t>(used);
      if ((flags & NGHTTP2_HD_INFLATE_EMIT) == 0) continue;
      const std::string name(reinterpret_cast<const char*>(header.name), header.namelen);
      const std::string value(reinterpret_cast<const char*>(header.value), header.valuelen);
      if (name != "grpc-status") continue;
      answer_ = Answer{.at = absl::Now()};
      EXPECT_TRUE(absl::SimpleAtoi(value, &answer_->code));
    }
    nghttp2_hd_inflate_end_headers(headers_);
  }

  RawConnection connection_;
  nghttp2_hd_inflater* headers_ = nullptr;
  absl::Time deadline_;
  std::string received_;
  std::optional<Answer> answer_;
};

// Reads what arrives for `puts` until all are answered, at `until` at the latest.
void ReadAnswers(const std::vector<std::unique_ptr<RawPut>>& puts, absl::Time until) {
  std::vector<pollfd> fds;
  for (const auto& put : puts) fds.push_back({put->fd(), POLLIN, 0});
  for (bool all = false; !all && absl::Now() < until;) {
    poll(fds.data(), fds.size(), 10);
    all = true;
    for (size_t i = 0; i < puts.size(); ++i) {
      if (fds[i].revents != 0) puts[i]->OnReadable();
      all = all && puts[i]->answer().has_value();
    }
  }
}

constexpr int kPuts = 50;

TEST(Deadline, AWriteThatCannotCommitIsNotAnsweredBeforeItsClientGivesUp) {
  Cluster cluster(ClusterOptions{});
  cluster.StartAll();
  const int leader = cluster.WaitForLeader();
  ASSERT_GE(leader, 0);
  ASSERT_TRUE(cluster.Put(leader, "k", "v").ok());
  {  // The frames are right: a write that can commit is answered.
    std::vector<std::unique_ptr<RawPut>> puts;
    puts.push_back(std::make_unique<RawPut>(cluster.client_address(leader), "k", 10000));
    ReadAnswers(puts, absl::Now() + absl::Seconds(10));
    ASSERT_TRUE(puts[0]->answer().has_value());
    ASSERT_EQ(puts[0]->answer()->code, 0);
  }

  for (int i = 0; i < cluster.size(); ++i) {
    if (i != leader) cluster.Pause(i);
  }
  // In the first rounds the writes are proposed. They may be answered early, but only because the
  // leader steps down meanwhile. In the last rounds they wait for a leader.
  for (int round = 0; round < 4; ++round) {
    const bool no_leader = round >= 2;
    if (no_leader) {
      ASSERT_TRUE(Eventually(absl::Seconds(20), [&] {
        const auto status = cluster.Status(leader);
        return status.ok() && status.response.leader() == 0;
      }));
    }
    std::vector<std::unique_ptr<RawPut>> puts;
    for (int i = 0; i < kPuts; ++i) {
      puts.push_back(std::make_unique<RawPut>(cluster.client_address(leader),
                                              absl::StrCat("key", round, ".", i), 80 + 3 * i));
    }
    ReadAnswers(puts, absl::Now() + absl::Milliseconds(500));
    for (const auto& put : puts) {
      if (!put->answer().has_value()) continue;  // nobody waits any more
      if (no_leader) {
        EXPECT_GE(put->answer()->at, put->deadline())
            << "early by " << put->deadline() - put->answer()->at;
      }
      EXPECT_EQ(put->answer()->code, grpc::StatusCode::UNAVAILABLE);
    }
    if (HasFailure()) break;
  }
  for (int i = 0; i < cluster.size(); ++i) {
    if (i != leader) cluster.Resume(i);
  }
  EXPECT_TRUE(Eventually(absl::Seconds(20), [&] { return cluster.Put(leader, "k", "v").ok(); }));
}

}  // namespace
}  // namespace raftkv::e2e
