// What a client that gives up sees on the wire. gRPC's own client would hide it: at its deadline it
// ends the call itself. So these calls are made with HTTP/2 frames over a socket.

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "tests/e2e/cluster.h"

namespace raftkv::e2e {
namespace {

std::string Frame(char type, char flags, char stream, const std::string& payload) {
  std::string frame = {static_cast<char>(payload.size() >> 16),
                       static_cast<char>(payload.size() >> 8),
                       static_cast<char>(payload.size()),
                       type,
                       flags,
                       0,
                       0,
                       0,
                       stream};
  return frame + payload;
}

// HPACK: literal, not indexed, not Huffman coded.
std::string Header(const std::string& name, const std::string& value) {
  std::string field = {0, static_cast<char>(name.size())};
  absl::StrAppend(&field, name);
  field.push_back(static_cast<char>(value.size()));
  return field + value;
}

// One put, on a connection of its own.
class RawPut {
 public:
  RawPut(const std::string& address, const std::string& key, int timeout_ms) {
    etcdserverpb::PutRequest request;
    request.set_key(key);
    const std::string message = request.SerializeAsString();
    const std::string bytes =
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" +
        // SETTINGS_HEADER_TABLE_SIZE 0, so that every answer spells out its headers.
        Frame(4, 0, 0, std::string("\x00\x01\x00\x00\x00\x00", 6)) +
        Frame(1, /*END_HEADERS*/ 4, 1,
              Header(":method", "POST") + Header(":scheme", "http") +
                  Header(":path", "/etcdserverpb.KV/Put") + Header(":authority", "test") +
                  Header("te", "trailers") + Header("content-type", "application/grpc") +
                  Header("grpc-timeout", absl::StrCat(timeout_ms, "m"))) +
        Frame(0, /*END_STREAM*/ 1, 1,
              std::string(4, '\0') + static_cast<char>(message.size()) + message);

    fd_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in to = {};
    to.sin_family = AF_INET;
    const size_t colon = address.rfind(':');
    int port = 0;
    EXPECT_TRUE(absl::SimpleAtoi(address.substr(colon + 1), &port));
    to.sin_port = htons(static_cast<uint16_t>(port));
    inet_pton(AF_INET, address.substr(0, colon).c_str(), &to.sin_addr);
    EXPECT_EQ(connect(fd_, reinterpret_cast<sockaddr*>(&to), sizeof(to)), 0);
    // The client's clock starts before anything is sent.
    deadline_ = absl::Now() + absl::Milliseconds(timeout_ms);
    EXPECT_EQ(send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(bytes.size()));
  }
  ~RawPut() { close(fd_); }
  RawPut(const RawPut&) = delete;
  RawPut& operator=(const RawPut&) = delete;

  struct Answer {
    int code = -1;  // grpc-status
    absl::Time at;
  };
  const std::optional<Answer>& answer() const { return answer_; }
  absl::Time deadline() const { return deadline_; }
  int fd() const { return fd_; }

  void OnReadable() {
    char bytes[4096];
    const ssize_t count = recv(fd_, bytes, sizeof(bytes), MSG_DONTWAIT);
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
    constexpr std::string_view kName = "grpc-status";
    if (type == 3 && !answer_) answer_ = Answer{-2, absl::Now()};  // RST_STREAM
    if (type != 1) return;                                         // HEADERS
    const size_t at = payload.find(kName);
    if (at == std::string::npos) return;
    const size_t length = static_cast<unsigned char>(payload[at + kName.size()]);
    Answer answer{.at = absl::Now()};
    EXPECT_TRUE(absl::SimpleAtoi(payload.substr(at + kName.size() + 1, length), &answer.code));
    answer_ = answer;
  }

  int fd_ = -1;
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
