// What someone may send to the peer port in the name of a member, to keep this one busy.

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <iostream>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "tests/e2e/cluster.h"

namespace raftkv::e2e {
namespace {

// What member `from` says at the start of a stream to member `to`.
proto::Peer Introduction(const Cluster& cluster, int from, int to) {
  const auto identity = [&](int member, const std::string& name) {
    for (const absl::string_view line :
         absl::StrSplit(ReadFile(cluster.data_dir(member) + "/IDENTITY"), '\n')) {
      const std::pair<std::string, std::string> pair =
          absl::StrSplit(line, absl::MaxSplits(' ', 1));
      if (pair.first == name) return pair.second;
    }
    return std::string();
  };
  const auto number = [&](int member, const std::string& name) {
    uint64_t value = 0;
    EXPECT_TRUE(absl::SimpleHexAtoi(identity(member, name), &value));
    return value;
  };
  proto::Peer peer;
  peer.set_cluster_id(number(to, "cluster_id"));
  peer.set_from(number(from, "member_id"));
  peer.set_to(number(to, "member_id"));
  peer.set_store_id(absl::HexStringToBytes(identity(from, "store_id")));
  return peer;
}

// Calls `work(stub, stop)` on a thread with a connection of its own, again and again until it is
// destroyed.
class Repeated {
 public:
  template <typename Work>
  Repeated(const std::string& address, Work work)
      : thread_([this, address, work] {
          grpc::ChannelArguments own;
          own.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
          const auto stub = proto::Raft::NewStub(
              grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), own));
          while (!stop_) work(*stub, [this] { return stop_.load(); });
        }) {}
  ~Repeated() {
    stop_ = true;
    thread_.join();
  }

 private:
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

// In the name of a member: requests, votes of an old term, and streams that are cancelled at once.
TEST(Flood, OfThePeerPortDeposesNoLeader) {
  if (ProductUnderTest() == Product::kEtcd) GTEST_SKIP() << "tests raftkv-server only";
  Cluster cluster({.election_timeout = absl::Seconds(2)});
  cluster.StartAll();
  const int leader = cluster.WaitForLeader();
  ASSERT_GE(leader, 0);
  const uint64_t term = cluster.Status(leader).response.raftterm();
  const proto::Peer who = Introduction(cluster, (leader + 1) % 3, leader);
  const std::string address = cluster.peer_address(leader);
  const absl::Time until =
      absl::Now() + absl::Seconds(std::getenv("RAFTKV_HOSTILE") == nullptr ? 3 : 15);

  const Repeated reads(address, [&](proto::Raft::Stub& stub, const auto& stop) {
    const auto context = MakeContext(absl::Seconds(30));
    const auto stream = stub.Forward(context.get());
    proto::ForwardRequest request;
    *request.mutable_peer() = who;
    request.mutable_read_index()->set_term(term);
    while (!stop() && stream->Write(request)) {
    }
    context->TryCancel();
  });
  const Repeated votes(address, [&](proto::Raft::Stub& stub, const auto&) {
    proto::RequestVoteRequest request;
    *request.mutable_peer() = who;
    request.set_term(1);
    proto::RequestVoteResponse response;
    stub.RequestVote(MakeContext().get(), request, &response);
  });
  const auto cancelled = [&](proto::Raft::Stub& stub, const auto& stop) {
    using Stream =
        grpc::ClientReaderWriter<proto::AppendEntriesRequest, proto::AppendEntriesResponse>;
    std::vector<std::pair<std::unique_ptr<grpc::ClientContext>, std::unique_ptr<Stream>>> streams;
    for (int i = 0; i < 50 && !stop(); ++i) {
      auto context = MakeContext();
      auto stream = stub.AppendEntries(context.get());
      streams.emplace_back(std::move(context), std::move(stream));
    }
    for (auto& [context, stream] : streams) context->TryCancel();
  };
  const Repeated resets(address, cancelled), more_resets(address, cancelled);
  int puts = 0;
  absl::Duration longest;
  for (; absl::Now() < until; ++puts) {
    const absl::Time start = absl::Now();
    const auto put = cluster.Put(leader, "k", absl::StrCat(puts));
    ASSERT_TRUE(put.ok()) << put.status.error_message();
    longest = std::max(longest, absl::Now() - start);
    EXPECT_EQ(put.response.header().raft_term(), term);
  }
  std::cout << "| OfThePeerPortDeposesNoLeader | " << puts << " | "
            << absl::ToInt64Milliseconds(longest) << " ms |\n";
}

}  // namespace
}  // namespace raftkv::e2e
