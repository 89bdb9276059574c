// Writes of sessions take effect once, whatever happens to the members: counters through kills of
// the leader, and one write that is sent again and again by hand.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "client/raftkv.h"
#include "glog/logging.h"
#include "proto/etcd/metadata.h"
#include "proto/etcd/outcome.h"
#include "tests/e2e/cluster.h"
#include "tests/e2e/http_client.h"

namespace raftkv::e2e {
namespace {

using client::Client;
using client::ModRevision;
using client::Op;
using testing::HasSubstr;

// The version of a key counts the writes that took effect; the values of another key count by
// compare and swap. What each worker was told must agree with both.
class Counters {
 public:
  Counters(const std::vector<std::string>& endpoints, int workers) {
    for (int i = 0; i < workers; ++i) {
      // Each worker prefers another member.
      std::vector<std::string> mine = endpoints;
      std::rotate(mine.begin(), mine.begin() + i % static_cast<int>(mine.size()), mine.end());
      auto client = Client::Connect({.endpoints = std::move(mine),
                                     .request_timeout = absl::Seconds(60),
                                     .exactly_once = true});
      CHECK(client.ok()) << client.status();
      clients_.push_back(*std::move(client));
    }
    for (int i = 0; i < workers; ++i) threads_.emplace_back([this, i] { Work(*clients_[i]); });
  }
  ~Counters() { Stop(); }
  void Stop() {
    stop_ = true;
    for (std::thread& thread : threads_) {
      if (thread.joinable()) thread.join();
    }
  }
  int64_t done() const { return puts_ + swaps_; }

  void Check() {
    std::lock_guard lock(mutex_);
    for (const std::string& error : errors_) ADD_FAILURE() << error;
    auto puts = clients_[0]->Get("puts"), swaps = clients_[0]->Get("swaps");
    ASSERT_TRUE(puts.ok() && swaps.ok()) << puts.status() << swaps.status();
    EXPECT_EQ((*puts)->version, puts_);
    EXPECT_EQ((*swaps)->value, absl::StrCat(swaps_.load()));
    EXPECT_EQ((*swaps)->version, swaps_);
    EXPECT_EQ(revisions_.size(), static_cast<size_t>(done())) << "each write has its own revision";
    std::cout << puts_ << " puts and " << swaps_ << " swaps, " << lost_ << " lost swaps\n";
  }

 private:
  void Work(Client& client) {
    while (!stop_) {
      const auto put = client.Put("puts", "x");
      if (Expect(put.status())) Note(put->header.revision, &puts_);
      const auto before = client.Get("swaps");
      if (!Expect(before.status())) continue;
      int64_t value = 0, revision = 0;
      if (*before) {
        revision = (*before)->mod_revision;
        CHECK(absl::SimpleAtoi((*before)->value, &value));
      }
      const auto swap = client.Txn({.when = {ModRevision("swaps") == revision},
                                    .then = {Op::Put("swaps", absl::StrCat(value + 1))}});
      if (!Expect(swap.status())) continue;
      swap->succeeded ? Note(swap->header.revision, &swaps_) : void(++lost_);
    }
  }
  bool Expect(const absl::Status& status) {
    if (status.ok()) return true;
    std::lock_guard lock(mutex_);
    errors_.push_back(status.ToString());
    return false;
  }
  void Note(int64_t revision, std::atomic<int64_t>* counter) {
    ++*counter;
    std::lock_guard lock(mutex_);
    revisions_.insert(revision);
  }

  std::vector<std::unique_ptr<Client>> clients_;
  std::vector<std::thread> threads_;
  std::atomic<bool> stop_{false};
  std::atomic<int64_t> puts_{0}, swaps_{0}, lost_{0};
  std::mutex mutex_;
  std::vector<std::string> errors_;
  std::set<int64_t> revisions_;
};

bool EventuallyKnowsSessions(Cluster& cluster) {
  return Eventually(absl::Seconds(20), [&] {
    for (int i = 0; i < cluster.size(); ++i) {
      const auto status = cluster.Status(i);
      if (!status.ok() || status.response.clusterversion() < kSessionsClusterVersion) return false;
    }
    return true;
  });
}

TEST(ExactlyOnce, CountsAreExactThroughKillsOfTheLeader) {
  const int rounds = std::getenv("RAFTKV_SOAK") != nullptr ? 50 : 6;
  Cluster cluster({});
  cluster.StartAll();
  ASSERT_GE(cluster.WaitForLeader(), 0);
  ASSERT_TRUE(EventuallyKnowsSessions(cluster));
  Counters counters(cluster.client_addresses(), /*workers=*/6);
  const auto more = [&] {
    const int64_t done = counters.done();
    return Eventually(absl::Seconds(60), [&] { return counters.done() > done + 100; });
  };
  for (int round = 0; round < rounds; ++round) {
    ASSERT_TRUE(more()) << "round " << round;
    const int leader = cluster.WaitForLeader();
    ASSERT_GE(leader, 0);
    cluster.Kill(leader);
    ASSERT_TRUE(more()) << "round " << round;
    cluster.Start(leader);
  }
  ASSERT_TRUE(more());
  counters.Stop();
  counters.Check();
  EXPECT_TRUE(cluster.MembersAreEqual());
}

class SentByHand : public testing::Test {
 protected:
  void Start(ClusterOptions options) {
    cluster_.emplace(std::move(options));
    cluster_->StartAll();
    ASSERT_GE(cluster_->WaitForLeader(), 0);
    ASSERT_TRUE(EventuallyKnowsSessions(*cluster_));
    etcdserverpb::LeaseGrantRequest request;
    request.set_ttl(600);
    const auto lease = Call(cluster_->connection(0), *cluster_->connection(0).lease,
                            &etcdserverpb::Lease::Stub::LeaseGrant, request);
    ASSERT_TRUE(lease.ok()) << lease.status.error_message();
    lease_ = lease.response.id();
  }
  // The status, or the revision.
  std::string Put(int member, const std::string& session, const std::string& seq,
                  const std::string& acked = "") {
    etcdserverpb::PutRequest request;
    request.set_key("k");
    request.set_value(seq);
    Connection& connection = cluster_->connection(member);
    if (!Eventually(absl::Seconds(10), [&] { return connection.Ready(); })) return "not connected";
    const auto context = MakeContext();
    context->AddMetadata(std::string(kSessionKey), session);
    if (!seq.empty()) context->AddMetadata(std::string(kSeqKey), seq);
    if (!acked.empty()) context->AddMetadata(std::string(kAckedKey), acked);
    etcdserverpb::PutResponse response;
    const grpc::Status status = connection.kv->Put(context.get(), request, &response);
    outcome_.clear();
    for (const auto& [key, value] : context->GetServerTrailingMetadata()) {
      if (key == kOutcomeKey) outcome_.assign(value.data(), value.size());
    }
    if (status.ok()) return absl::StrCat(response.header().revision());
    return absl::StrCat(static_cast<int>(status.error_code()), " ", status.error_message());
  }
  std::string Put(int member, int seq, int acked = 0) {
    return Put(member, absl::StrCat(lease_), absl::StrCat(seq), absl::StrCat(acked));
  }
  int64_t Version() { return cluster_->Get(0, "k").response.kvs(0).version(); }

  std::optional<Cluster> cluster_;
  int64_t lease_ = 0;
  std::string outcome_;  // of the last Put: the trailer
};

TEST_F(SentByHand, OneWriteIsAppliedOnceThroughKillsAndRestarts) {
  Start({});
  const std::string first = Put(0, 1);
  EXPECT_EQ(first, "2");
  for (int i = 0; i < 3; ++i) EXPECT_EQ(Put(i, 1), first) << "at every member";
  const int leader = cluster_->WaitForLeader();
  ASSERT_GE(leader, 0);
  cluster_->Kill(leader);
  ASSERT_GE(cluster_->WaitForLeader(), 0);
  EXPECT_EQ(Put((leader + 1) % 3, 1), first);
  cluster_->Start(leader);
  for (int i = 0; i < 3; ++i) cluster_->Kill(i);
  cluster_->StartAll();
  ASSERT_GE(cluster_->WaitForLeader(), 0);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(Put(i, 1), first);
  EXPECT_EQ(Version(), 1);
  EXPECT_EQ(Put(1, 2, /*acked=*/1), "3");
  EXPECT_THAT(Put(2, 1), HasSubstr("11 etcdserver: the answer to number 1"));
  EXPECT_EQ(Version(), 2);
}

TEST_F(SentByHand, ErrorsHaveTheirCodes) {
  Start({.size = 1});
  EXPECT_EQ(Put(0, "x", "1"),
            "3 etcdserver: the metadata raftkv-session must be the id of a lease, as a decimal "
            "number");
  EXPECT_EQ(outcome_, kNotProposed);
  EXPECT_EQ(Put(0, absl::StrCat(lease_), ""),
            "3 etcdserver: the metadata raftkv-seq must be a decimal number from 1 on");
  EXPECT_EQ(Put(0, absl::StrCat(lease_), "5", "5"),
            "3 etcdserver: the metadata raftkv-acked must be a decimal number below raftkv-seq");
  EXPECT_EQ(Put(0, "4711", "1"), "9 etcdserver: session expired");
  EXPECT_EQ(outcome_, "") << "another attempt may have been applied before";
  EXPECT_EQ(Put(0, 1), "2");
  etcdserverpb::LeaseRevokeRequest revoke;
  revoke.set_id(lease_);
  EXPECT_TRUE(Call(cluster_->connection(0), *cluster_->connection(0).lease,
                   &etcdserverpb::Lease::Stub::LeaseRevoke, revoke)
                  .ok());
  EXPECT_EQ(Put(0, 1), "9 etcdserver: session expired");
  EXPECT_EQ(Version(), 1);
}

TEST_F(SentByHand, AnErrorIsDecidedForAllAttempts) {
  Start({.size = 1});
  etcdserverpb::PutRequest request;
  request.set_key("other");
  request.set_ignore_value(true);  // fails, because the key does not exist
  for (int attempt = 0; attempt < 2; ++attempt) {
    const auto context = MakeContext();
    context->AddMetadata(std::string(kSessionKey), absl::StrCat(lease_));
    context->AddMetadata(std::string(kSeqKey), "1");
    etcdserverpb::PutResponse response;
    const grpc::Status status = cluster_->connection(0).kv->Put(context.get(), request, &response);
    EXPECT_EQ(status.error_message(), "etcdserver: key not found");
    const auto& trailers = context->GetServerTrailingMetadata();
    const auto outcome = trailers.find(kOutcomeKey);
    ASSERT_NE(outcome, trailers.end());
    EXPECT_EQ(outcome->second, kDecided);
    ASSERT_TRUE(cluster_->Put(0, "other", "v").ok());
  }
}

TEST_F(SentByHand, ThroughTheJsonGateway) {
  Start({.size = 1});
  const std::string headers =
      absl::StrCat("Grpc-Metadata-raftkv-session: ", lease_,
                   "\r\nGrpc-Metadata-Raftkv-Seq: 1\r\ngrpc-metadata-raftkv-acked: 0\r\n");
  for (int attempt = 0; attempt < 2; ++attempt) {
    const HttpReply reply = Http(cluster_->client_address(0), "POST", "/v3/kv/put",
                                 R"({"key":"aw==","value":"dg=="})", headers);
    EXPECT_EQ(reply.status, 200) << reply.body;
    EXPECT_THAT(reply.body, HasSubstr(R"("revision":"2")"));
  }
  EXPECT_EQ(Version(), 1);
}

TEST_F(SentByHand, TheCommandLineTool) {
  Start({.size = 1});
  const std::string file = cluster_->dir() + "/cli";
  Process put({.argv = {BuiltProgram("raftkv"), "--endpoints=" + cluster_->client_address(0),
                        "--exactly-once", "put", "k", "v"}},
              file);
  EXPECT_EQ(put.Wait(absl::Seconds(20)), 0);
  EXPECT_EQ(ReadFile(file), "OK\n");
  EXPECT_EQ(Version(), 1);
  // Its session has ended: only the lease of this test is left.
  const auto leases =
      Call(cluster_->connection(0), *cluster_->connection(0).lease,
           &etcdserverpb::Lease::Stub::LeaseLeases, etcdserverpb::LeaseLeasesRequest());
  EXPECT_EQ(leases.response.leases_size(), 1);
}

}  // namespace
}  // namespace raftkv::e2e
