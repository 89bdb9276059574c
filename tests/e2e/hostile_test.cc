// Clients that send what no client library sends, or do not read what they asked for, and strangers
// who do the same to the peer port. Meanwhile a correct client puts through the same member: its
// puts succeed, and the leader stays. `make hostile` runs these tests longer, prints the slowest
// put and the memory of each, and fails if a put took a second: docs/testing.md has a table of
// them.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <algorithm>
#include <array>
#include <deque>
#include <fstream>
#include <functional>
#include <future>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "tests/e2e/cluster.h"
#include "tests/e2e/raw_http2.h"

namespace raftkv::e2e {
namespace {

using etcdserverpb::RangeRequest;
using testing::HasSubstr;
using testing::StartsWith;

constexpr char kRange[] = "/etcdserverpb.KV/Range";
constexpr char kPut[] = "/etcdserverpb.KV/Put";
// The sum in docs/bounds.md.
constexpr int64_t kMemoryMaxKib = 8462 << 10;
// Only `make hostile` asserts it: other machines, and the sanitizers, may be slow.
constexpr absl::Duration kSlowestPut = absl::Seconds(1);

bool InMakeHostile() { return getenv("RAFTKV_HOSTILE") != nullptr; }
absl::Duration Time() {
  return absl::Seconds(InMakeHostile() || getenv("RAFTKV_SOAK") != nullptr ? 15 : 2);
}

int64_t MemoryKib(int pid, const std::string& row) {
  std::ifstream file(absl::StrCat("/proc/", pid, "/status"));
  for (std::string word; file >> word;) {
    int64_t kib = 0;
    if (word == row + ":" && file >> kib) return kib;
  }
  return -1;
}

class Hostile : public testing::Test {
 protected:
  void SetUp() override {
    if (ProductUnderTest() == Product::kEtcd) GTEST_SKIP() << "tests raftkv-server only";
    cluster_.StartAll();
    NoteLeader();
  }

  // Call it again before an attack if much was written: a slow disk may have cost the leader its
  // leadership.
  void NoteLeader() {
    leader_ = cluster_.WaitForLeader();
    ASSERT_GE(leader_, 0);
    ASSERT_TRUE(cluster_.Put(leader_, "k", "v").ok());
    term_ = cluster_.Status(leader_).response.raftterm();
  }

  std::string address() const { return cluster_.client_address(leader_); }
  int64_t Memory(const std::string& row) { return MemoryKib(cluster_.process(leader_).pid(), row); }

  // Runs `attack(connection number)` on threads, again and again, while a client puts every 10 ms.
  // Goes on until `done`, which is called after each put, for at most 30 s.
  template <typename Attack>
  void PutBeside(
      int threads, Attack attack, const std::function<bool()>& done = [] { return true; }) {
    std::atomic<bool> stop{false};
    std::vector<std::thread> attackers;
    for (int i = 0; i < threads; ++i) {
      attackers.emplace_back([&, i] {
        while (!stop) attack(i);
      });
    }
    const absl::Time end = absl::Now() + Time(), latest = end + absl::Seconds(30);
    absl::Duration longest;
    int puts = 0;
    for (bool is_done = false; absl::Now() < end || !is_done; ++puts) {
      const absl::Time start = absl::Now();
      const auto put = cluster_.Put(leader_, "k", absl::StrCat(puts));
      EXPECT_TRUE(put.ok()) << put.status.error_message();
      EXPECT_EQ(put.response.header().raft_term(), term_) << "the leader has changed";
      if (HasFailure()) break;
      longest = std::max(longest, absl::Now() - start);
      is_done = is_done || done();
      if (!is_done && absl::Now() > latest) {
        ADD_FAILURE() << "what should happen beside the attack has not happened";
        break;
      }
      absl::SleepFor(start + absl::Milliseconds(10) - absl::Now());
    }
    stop = true;
    for (std::thread& attacker : attackers) attacker.join();
    const testing::TestInfo& test = *testing::UnitTest::GetInstance()->current_test_info();
    std::cout << "| " << test.name() << " | " << puts << " | " << absl::ToInt64Milliseconds(longest)
              << " ms | " << Memory("VmHWM") / 1024 << " MiB |\n";
    if (InMakeHostile()) EXPECT_LT(longest, kSlowestPut);
    EXPECT_LT(Memory("VmHWM"), kMemoryMaxKib);
    for (int i = 0; i < cluster_.size(); ++i) EXPECT_TRUE(cluster_.Running(i)) << cluster_.log(i);
  }

  Cluster cluster_{ClusterOptions()};
  int leader_ = -1;
  uint64_t term_ = 0;
};

// 1,000 calls that are reset at once.
std::string CallsWithResets(const char* method) {
  std::string calls = Preface();
  for (uint32_t stream = 1; stream < 2000; stream += 2) {
    calls += CallHeaders(stream, method) + MessageData(stream, "\n\1a", 3, true) +
             Frame(kRstStream, 0, stream, std::string("\0\0\0\x8", 4));
  }
  return calls;
}

TEST_F(Hostile, ResetsOfStreamsDeposeNoLeader) {
  const std::string calls = CallsWithResets(kRange);
  PutBeside(20, [&](int) { RawConnection(address()).Send(calls); });
}

TEST_F(Hostile, ResetsOfStreamsToThePeerPortDeposeNoLeader) {
  const std::string calls = CallsWithResets("/raftkv.proto.Raft/AppendEntries");
  PutBeside(20, [&](int) { RawConnection(cluster_.peer_address(leader_)).Send(calls); });
}

bool IsOpen(const RawConnection& connection) {
  std::array<char, 4096> bytes;
  const ssize_t got = recv(connection.fd(), bytes.data(), bytes.size(), MSG_DONTWAIT);
  return got > 0 || (got < 0 && errno == EAGAIN);
}

// Thousands of connections a second. A member that starts meanwhile must get through, too: until a
// call of it was accepted, it looks like these strangers.
TEST_F(Hostile, StrangersWhoConnectToThePeerPortsKeepNoMemberOut) {
  const int follower = (leader_ + 1) % cluster_.size(), third = (leader_ + 2) % cluster_.size();
  const std::vector<std::string> greetings = {"", "\x16\x03\x01", Preface(),
                                              Preface() + Frame(kPing, 0, 0, "12345678"),
                                              std::string(10'000, '?')};
  std::atomic<int> connections{0};
  cluster_.Kill(follower);
  const absl::Time start = absl::Now() + Time() / 4;
  bool started = false;
  const auto gets_through = [&] {
    if (absl::Now() < start) return false;
    if (!std::exchange(started, true)) cluster_.Start(follower);
    return cluster_.Put(follower, "k", "v").ok();
  };
  // Half of the threads hold more than the 256 connections that a port may have: they open one
  // again when it was closed.
  constexpr size_t kThreads = 8, kOpen = 100;
  std::array<std::deque<std::unique_ptr<RawConnection>>, kThreads> open;
  const auto attack = [&](int thread) {
    if (open[thread].size() == kOpen) {
      auto oldest = std::move(open[thread].front());
      open[thread].pop_front();
      if (IsOpen(*oldest)) return open[thread].push_back(std::move(oldest));
    }
    auto stranger =
        std::make_unique<RawConnection>(cluster_.peer_address(thread % 2 == 0 ? leader_ : third));
    const linger reset = {.l_onoff = 1, .l_linger = 0};  // no port stays in use
    setsockopt(stranger->fd(), SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
    const std::string& greeting = greetings[++connections % greetings.size()];
    stranger->Send(greeting);
    if (greeting.empty() || greeting.starts_with(Preface())) {  // the port waits for more
      open[thread].push_back(std::move(stranger));
    }
  };
  PutBeside(kThreads, attack, gets_through);
  std::cout << connections << " connections of strangers\n";
}

// A member that connects has calls before one of them is accepted. A port that is full drops
// strangers without calls first, even if the one with a call is the oldest.
TEST_F(Hostile, AStrangerWithACallOutlivesThoseWithout) {
  const std::string& address = cluster_.peer_address(leader_);
  RawConnection with_call(address);
  with_call.Send(Preface() + CallHeaders(1, "/raftkv.proto.Raft/AppendEntries") +
                 Frame(kPing, 0, 0, "12345678"));
  ASSERT_THAT(with_call.ReadUntil("12345678"), HasSubstr("12345678"));
  std::vector<std::unique_ptr<RawConnection>> others;
  for (int i = 0; i < 400; ++i) others.push_back(std::make_unique<RawConnection>(address));
  EXPECT_TRUE(Eventually(absl::Seconds(10), [&] {
    return std::count_if(others.begin(), others.end(), [](const auto& c) { return IsOpen(*c); }) <
           256;
  }));
  EXPECT_TRUE(IsOpen(with_call));
}

// Keys for which an earlier version's hash function gave one and the same value: 8 bytes that
// cancel its multiplication, then anything.
std::string CollidingKey(uint64_t number) {
  std::string key = "\x15\x7c\x4a\x7f\xb9\x79\x37\x9e";
  for (int shift = 56; shift >= 0; shift -= 8) key.push_back(static_cast<char>(number >> shift));
  return key;
}

// Members must also keep serving after a restart that replays what was applied.
TEST_F(Hostile, KeysThatWereChosenToCollideHoldNobody) {
  constexpr int kClients = 16;
  std::vector<std::unique_ptr<Connection>> connections;
  for (int i = 0; i < kClients; ++i) connections.push_back(std::make_unique<Connection>(address()));
  std::atomic<uint64_t> keys{0};
  PutBeside(kClients, [&](int i) {
    etcdserverpb::TxnRequest txn;
    for (int j = 0; j < 128; ++j) {
      auto* put = txn.add_success()->mutable_request_put();
      put->set_key(CollidingKey(++keys));
      put->set_value("v");
    }
    Call(*connections[i], *connections[i]->kv, &etcdserverpb::KV::Stub::Txn, txn,
         absl::Seconds(30));
  });
  EXPECT_GT(keys, 10'000u);
  for (int i = 0; i < cluster_.size(); ++i) cluster_.Kill(i);
  cluster_.StartAll();
  ASSERT_GE(cluster_.WaitForLeader(absl::Seconds(60)), 0);
  EXPECT_TRUE(cluster_.MembersAreEqual(absl::Seconds(60)));
}

// There are few keys, but each has 1.4 MB. The work of reads, watches and compactions must be
// limited in bytes, too.
TEST_F(Hostile, LargeKeysHoldNobody) {
  constexpr int kKeys = 30;
  int64_t revision = 0;
  for (int round = 0; round < 2; ++round) {
    for (int i = 0; i < kKeys; ++i) {
      const std::string key = absl::StrCat("large", 100 + i, std::string(1'400'000, 'x'));
      const auto put = cluster_.Put(leader_, key, "v");
      ASSERT_TRUE(put.ok()) << put.status.error_message();
      revision = put.response.header().revision();
    }
  }
  NoteLeader();
  RangeRequest count = GetRequest("large");
  count.set_range_end("largf");
  count.set_count_only(true);
  std::vector<std::unique_ptr<Connection>> connections;
  for (int i = 0; i < 16; ++i) connections.push_back(std::make_unique<Connection>(address()));
  PutBeside(16, [&](int i) {
    if (i == 0 && revision > 0) {
      etcdserverpb::CompactionRequest compact;
      compact.set_revision(std::exchange(revision, 0));
      compact.set_physical(true);
      EXPECT_TRUE(Call(*connections[0], *connections[0]->kv, &etcdserverpb::KV::Stub::Compact,
                       compact, absl::Seconds(30))
                      .ok());
    }
    const auto reply = Range(*connections[i], count, absl::Seconds(30));
    EXPECT_EQ(reply.response.count(), kKeys) << reply.status.error_message();
  });
}

TEST_F(Hostile, PingsWithoutReadingDelayNobody) {
  std::string pings = Preface();
  for (int i = 0; i < 10'000; ++i) pings += Frame(kPing, 0, 0, "12345678");
  PutBeside(2, [&](int) {
    RawConnection connection(address());
    while (connection.Send(pings.substr(Preface().size()))) {
    }
  });
}

// Each connection sends 1 MiB of 16 requests that are never completed: 640 MiB in sum.
TEST_F(Hostile, IncompleteRequestsHaveABudget) {
  std::vector<std::unique_ptr<RawConnection>> connections;
  for (int i = 0; i < 40; ++i) connections.push_back(std::make_unique<RawConnection>(address()));
  std::vector<int> sent(connections.size());
  PutBeside(2, [&](int thread) {
    for (size_t i = static_cast<size_t>(thread); i < connections.size(); i += 2) {
      if (sent[i] == 16) continue;
      const auto stream = static_cast<uint32_t>(2 * sent[i]++ + 1);
      std::string bytes = sent[i] == 1 ? Preface() : "";
      bytes += CallHeaders(stream, kPut) +
               MessageData(stream, std::string(1 << 20, 'x'), 1400 << 10, /*last=*/false);
      connections[i]->Send(bytes);
      return;
    }
    absl::SleepFor(absl::Milliseconds(10));
  });
  EXPECT_LT(Memory("VmHWM"), 800 << 10);
}

TEST_F(Hostile, AnswersThatNobodyReadsHaveABudget) {
  for (int i = 0; i < 40; ++i) {
    ASSERT_TRUE(cluster_.Put(leader_, absl::StrCat("large", i), std::string(1 << 20, 'x')).ok());
  }
  const std::string call = Preface() + CallHeaders(1, kRange) +
                           MessageData(1, "\n\5large\x12\5largf", 14, /*last=*/true);
  std::vector<std::unique_ptr<RawConnection>> connections;
  PutBeside(1, [&](int) {
    if (connections.size() < 40) {
      connections.push_back(std::make_unique<RawConnection>(address()));
      connections.back()->Send(call);
    }
    absl::SleepFor(absl::Milliseconds(20));
  });
  EXPECT_LT(Memory("VmHWM"), 800 << 10) << "40 answers of 40 MiB";
  connections.clear();
  EXPECT_TRUE(Eventually(absl::Seconds(60), [&] { return Memory("VmRSS") < 250 << 10; }))
      << Memory("VmRSS") << " KiB";
}

// 200 streams whose clients read 64 KiB of 40 MiB each, beside one that reads all.
TEST_F(Hostile, StreamsOfRangesThatNobodyReadsHaveABudget) {
  for (int i = 0; i < 40; ++i) {
    etcdserverpb::TxnRequest txn;
    for (int j = 0; j < 10; ++j) {
      auto* put = txn.add_success()->mutable_request_put();
      put->set_key(absl::StrCat("large", i, "-", j));
      put->set_value(std::string(100'000, 'x'));
    }
    Connection& connection = cluster_.connection(leader_);
    const auto reply = Call(connection, *connection.kv, &etcdserverpb::KV::Stub::Txn, txn);
    ASSERT_TRUE(reply.ok()) << reply.status.error_message();
  }
  NoteLeader();
  const std::string call = Preface() + CallHeaders(1, "/etcdserverpb.KV/RangeStream") +
                           MessageData(1, "\n\5large\x12\5largf", 14, /*last=*/true);
  const int64_t before = Memory("VmHWM");
  std::vector<std::unique_ptr<RawConnection>> connections;
  PutBeside(1, [&](int) {
    if (connections.size() < 200) {
      connections.push_back(std::make_unique<RawConnection>(address()));
      connections.back()->Send(call);
    }
    absl::SleepFor(absl::Milliseconds(5));
  });
  EXPECT_LT(Memory("VmHWM") - before, 200 << 10) << "200 chunks of 1.5 MiB would be 300 MiB";
  RangeRequest request = GetRequest("large");
  request.set_range_end("largf");
  const auto context = MakeContext(absl::Seconds(60));
  const auto reader = cluster_.connection(leader_).kv->RangeStream(context.get(), request);
  int keys = 0;
  for (etcdserverpb::RangeStreamResponse chunk; reader->Read(&chunk);) {
    keys += chunk.range_response().kvs_size();
  }
  const grpc::Status status = reader->Finish();
  EXPECT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(keys, 400);
}

// Reads the answer of the only call of a connection, frame by frame, and keeps none of it. Returns
// the bytes of its messages; -1: it was reset, or nothing came for some seconds.
int64_t BytesOfAnswer(const RawConnection& connection) {
  std::string bytes(1 << 20, '\0');
  const auto read = [&](size_t count) {
    return recv(connection.fd(), bytes.data(), std::min(count, bytes.size()), MSG_WAITALL);
  };
  for (int64_t messages = 0;;) {
    if (read(9) != 9) return -1;
    const auto byte = [&](size_t i) { return size_t{static_cast<uint8_t>(bytes[i])}; };
    const size_t length = byte(0) << 16 | byte(1) << 8 | byte(2);
    const char type = bytes[3], flags = bytes[4];
    if (type == kData) messages += static_cast<int64_t>(length);
    if (type == kHeaders && (flags & kEndStream) != 0) return messages;
    if (type == kRstStream || (length > 0 && read(length) != static_cast<ssize_t>(length))) {
      return -1;
    }
  }
}

// As with etcd, every client gets its answer, also those that wait for others.
TEST_F(Hostile, ALargeListSucceedsForAllClients) {
  if (!InMakeHostile()) GTEST_SKIP() << "only in make hostile: it needs 4 GiB";
  constexpr int kKeys = 450, kClients = 20;
  for (int i = 0; i < kKeys; ++i) {
    ASSERT_TRUE(cluster_.Put(leader_, absl::StrCat("large", i), std::string(1'000'000, 'x')).ok());
  }
  NoteLeader();
  // Windows in which the answer fits.
  const std::string call =
      Preface() + Frame(kSettings, 0, 0, std::string("\0\4\x7f\xff\xff\xff", 6)) +
      Frame(kWindowUpdate, 0, 0, std::string("\x7f\x00\x00\x00", 4)) + CallHeaders(1, kRange) +
      MessageData(1, "\n\5large\x12\5largf", 14, /*last=*/true);
  std::vector<std::future<int64_t>> answers;
  for (int i = 0; i < kClients; ++i) {
    answers.push_back(std::async(std::launch::async, [&] {
      RawConnection client(address());
      const timeval timeout = {.tv_sec = 120, .tv_usec = 0};
      setsockopt(client.fd(), SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
      client.Send(call);
      return BytesOfAnswer(client);
    }));
  }
  // All clients have their answers, and puts go on until then.
  PutBeside(
      0, [](int) {},
      [&] {
        return std::all_of(answers.begin(), answers.end(), [](const auto& answer) {
          return answer.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
        });
      });
  for (auto& answer : answers) EXPECT_GT(answer.get(), kKeys * 1'000'000);
}

TEST_F(Hostile, OtherProtocolsGetAnAnswerOrAreClosed) {
  RawConnection browser(address());
  browser.Send("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  const std::string page = browser.ReadAll();
  EXPECT_THAT(page, StartsWith("HTTP/1.1 "));
  EXPECT_THAT(page, HasSubstr("\r\n\r\nThis port serves the etcd v3 API"));
  RawConnection tls(address());
  tls.Send(std::string("\x16\x03\x01\x02\x00\x01", 6));
  EXPECT_EQ(tls.ReadAll().find("HTTP"), std::string::npos);
  RawConnection http2(address());
  std::string call = CallHeaders(1, "/");
  const size_t type = call.find("application/grpc");
  call.replace(type, 16, "application/json");
  http2.Send(Preface() + call + MessageData(1, "", 0, /*last=*/true));
  EXPECT_THAT(http2.ReadAll(), HasSubstr("This port serves the etcd v3 API"));
  EXPECT_TRUE(cluster_.Put(leader_, "k", "v").ok());
}

}  // namespace
}  // namespace raftkv::e2e
