// A member that applies a long entry, or runs a long read, still answers other requests.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <future>
#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "absl/time/clock.h"
#include "tests/e2e/cluster.h"

namespace raftkv::e2e {
namespace {

using etcdserverpb::KV;

constexpr int kKeys = 200'000;
constexpr int kKeysPerTxn = 5'000;

class BusyMember : public testing::Test {
 protected:
  void SetUp() override {
    if (ProductUnderTest() == Product::kEtcd) GTEST_SKIP() << "tests raftkv-server only";
  }

  void Start(const std::string& limits, int size = 1) {
    cluster_ = std::make_unique<Cluster>(ClusterOptions{
        .size = size, .limits = absl::StrCat("max_txn_ops = ", kKeysPerTxn, "\n", limits)});
    cluster_->StartAll();
    ASSERT_GE(cluster_->WaitForLeader(), 0);
    PutAll();
  }

  void PutAll() {
    for (int i = 0; i < kKeys;) {
      etcdserverpb::TxnRequest txn;
      for (const int end = i + kKeysPerTxn; i < end; ++i) {
        auto* put = txn.add_success()->mutable_request_put();
        put->set_key(absl::StrFormat("key%06d", i));
        put->set_value("v");
      }
      ASSERT_TRUE(Call(connection(), *connection().kv, &KV::Stub::Txn, txn).ok());
    }
  }

  Connection& connection() { return cluster_->connection(0); }

  std::unique_ptr<Cluster> cluster_;
};

TEST_F(BusyMember, AnswersSerializableReadsAndStatusWhileItAppliesALargeDelete) {
  Start("request_timeout = \"60s\"");
  if (HasFatalFailure()) return;
  auto deleted = std::async(std::launch::async, [&] {
    Connection own(cluster_->client_address(0));
    etcdserverpb::DeleteRangeRequest request;
    request.set_key("key");
    request.set_range_end("kez");
    return Call(own, *own.kv, &KV::Stub::DeleteRange, request, absl::Seconds(60));
  });
  // If raftindex is above the applied index, and the applied index is the same before and after the
  // get, the delete was in the log and not applied during the get.
  bool answered = false;
  while (!answered && deleted.wait_for(std::chrono::seconds(0)) != std::future_status::ready) {
    const auto before = cluster_->Status(0, absl::Seconds(60));
    const auto get = cluster_->Get(0, "key000000", /*serializable=*/true, absl::Seconds(60));
    const auto after = cluster_->Status(0, absl::Seconds(60));
    ASSERT_TRUE(before.ok() && get.ok() && after.ok());
    answered = before.response.raftindex() > before.response.raftappliedindex() &&
               after.response.raftappliedindex() == before.response.raftappliedindex() &&
               get.response.kvs_size() == 1;
  }
  EXPECT_TRUE(answered) << "no get was answered before the delete was applied";
  const auto reply = deleted.get();
  ASSERT_TRUE(reply.ok()) << reply.status.error_message();
  EXPECT_EQ(reply.response.deleted(), kKeys);
  EXPECT_EQ(cluster_->Get(0, "key000000", /*serializable=*/true).response.kvs_size(), 0)
      << "a member that acknowledged the delete must show it";
}

TEST_F(BusyMember, KeepsItsLeaderWhileItAppliesALargeDelete) {
  Start("request_timeout = \"60s\"", /*size=*/3);
  if (HasFatalFailure()) return;
  const auto before = cluster_->Status(0, absl::Seconds(60));
  ASSERT_TRUE(before.ok());
  etcdserverpb::DeleteRangeRequest request;
  request.set_key("key");
  request.set_range_end("kez");
  const auto reply =
      Call(connection(), *connection().kv, &KV::Stub::DeleteRange, request, absl::Seconds(60));
  ASSERT_TRUE(reply.ok()) << reply.status.error_message();
  EXPECT_EQ(reply.response.deleted(), kKeys);
  const auto after = cluster_->Status(0, absl::Seconds(60));
  ASSERT_TRUE(after.ok());
  EXPECT_EQ(after.response.raftterm(), before.response.raftterm());
  EXPECT_EQ(after.response.leader(), before.response.leader());
}

// Sends the same read of all keys many times. That is more work than two workers can do in time.
class ManyLargeReads {
 public:
  ManyLargeReads(Cluster& cluster, int count, absl::Duration timeout)
      : connection_(cluster.client_address(0)), calls_(count) {
    etcdserverpb::RangeRequest request = EverythingRequest(0, /*serializable=*/true);
    request.set_sort_target(etcdserverpb::RangeRequest::VALUE);
    request.set_sort_order(etcdserverpb::RangeRequest::DESCEND);
    request.set_limit(1);
    EXPECT_TRUE(Eventually(absl::Seconds(10), [&] { return connection_.Ready(); }));
    for (One& call : calls_) {
      call.context = MakeContext(timeout);
      call.reader = connection_.kv->AsyncRange(call.context.get(), request, &queue_);
      call.reader->Finish(&call.response, &call.status, &call);
    }
  }

  // Waits for all calls. Returns how many ended with each error message; "" is success.
  std::map<std::string, int> Wait() {
    while (ended_ < static_cast<int>(calls_.size())) WaitForOne(absl::InfiniteFuture());
    return ends_;
  }

 private:
  struct One {
    std::unique_ptr<grpc::ClientContext> context;
    std::unique_ptr<grpc::ClientAsyncResponseReader<etcdserverpb::RangeResponse>> reader;
    etcdserverpb::RangeResponse response;
    grpc::Status status;
  };
  bool WaitForOne(absl::Time until) {
    void* tag = nullptr;
    bool ok = false;
    if (queue_.AsyncNext(&tag, &ok, absl::ToChronoTime(until)) !=
        grpc::CompletionQueue::GOT_EVENT) {
      return false;
    }
    ++ends_[static_cast<One*>(tag)->status.error_message()];
    ++ended_;
    return true;
  }

  Connection connection_;
  grpc::CompletionQueue queue_;
  std::vector<One> calls_;
  int ended_ = 0;
  std::map<std::string, int> ends_;
};

constexpr int kManyReads = 500;

// As with etcd: a read that waits for others is no failure.
TEST_F(BusyMember, AnswersLargeReadsThatWaitLongerThanTheRequestTimeout) {
  Start("request_timeout = \"2s\"\ndisk_stall_timeout = \"1500ms\"");
  if (HasFatalFailure()) return;
  constexpr int kReads = 100;
  ManyLargeReads reads(*cluster_, kReads, absl::Seconds(60));
  // All ends are compared, so that a failure names the errors.
  EXPECT_EQ(reads.Wait(), (std::map<std::string, int>{{"", kReads}}));
  EXPECT_TRUE(cluster_->Put(0, "k", "v").ok());
}

TEST_F(BusyMember, DropsLargeReadsWhoseClientsGaveUp) {
  Start("request_timeout = \"60s\"");
  if (HasFatalFailure()) return;
  // These reads would take minutes. Their clients give up after a second.
  ManyLargeReads(*cluster_, kManyReads, absl::Seconds(1)).Wait();
  EXPECT_EQ(ManyLargeReads(*cluster_, 1, absl::Seconds(10)).Wait()[""], 1);
}

// Clients with long reads do not make the pages of others time out: each long read begins on a
// worker for short reads, but clients take turns there. A page counts all keys of its range, so the
// range has fewer keys than the steps of a short read (kShortRead).
TEST_F(BusyMember, AnswersPagesWhileTwoClientsSortEverything) {
  Start("");
  if (HasFatalFailure()) return;
  constexpr absl::Duration kClientsWait = absl::Seconds(5);
  ManyLargeReads a(*cluster_, kManyReads / 2, kClientsWait);
  ManyLargeReads b(*cluster_, kManyReads / 2, kClientsWait);
  etcdserverpb::RangeRequest page = GetRequest("key000000", /*serializable=*/true);
  page.set_range_end("key010000");
  page.set_limit(500);
  const auto reply = Range(connection(), page, kClientsWait);
  EXPECT_TRUE(reply.ok()) << reply.status.error_message();
  EXPECT_EQ(reply.response.kvs_size(), 500);
  EXPECT_EQ(reply.response.count(), 10'000);
  // There were more long reads than the member could answer in this time.
  for (ManyLargeReads* reads : {&a, &b}) EXPECT_LT(reads->Wait()[""], kManyReads / 2);
}

// Several concurrent HashKV calls, so that some wait for others.
class Hashes {
 public:
  Hashes(Cluster& cluster, int count, absl::Duration timeout) {
    for (int i = 0; i < count; ++i) {
      calls_.push_back(std::async(std::launch::async, [&cluster, timeout] {
        Connection own(cluster.client_address(0));
        EXPECT_TRUE(Eventually(absl::Seconds(10), [&] { return own.Ready(); }));
        return Call(own, *own.maintenance, &etcdserverpb::Maintenance::Stub::HashKV,
                    etcdserverpb::HashKVRequest(), timeout);
      }));
    }
  }
  bool AnyUnanswered() {
    return std::any_of(calls_.begin(), calls_.end(), [](auto& call) {
      return call.wait_for(std::chrono::seconds(0)) != std::future_status::ready;
    });
  }
  // Waits for all calls. Returns how many ended with each hash or error message.
  std::map<std::string, int> Wait() {
    std::map<std::string, int> ends;
    for (auto& call : calls_) {
      const auto reply = call.get();
      ++ends[reply.ok() ? absl::StrCat(reply.response.hash()) : reply.status.error_message()];
    }
    return ends;
  }

 private:
  std::vector<std::future<Reply<etcdserverpb::HashKVResponse>>> calls_;
};

TEST_F(BusyMember, HashesBeyondTheRequestTimeoutAndReadsMeanwhile) {
  Start("request_timeout = \"60s\"");
  if (HasFatalFailure()) return;
  for (int i = 0; i < 3; ++i) PutAll();  // more versions to hash
  ASSERT_EQ(cluster_->Terminate(0), 0);
  const std::string config = ReadFile(cluster_->config_path());
  WriteFile(cluster_->config_path(),
            absl::StrReplaceAll(
                config, {{"\"60s\"", "\"300ms\""},
                         {"heartbeat_interval = \"100ms\"", "heartbeat_interval = \"20ms\""},
                         {"election_timeout = \"1000ms\"", "election_timeout = \"200ms\""}}));
  cluster_->Start(0);
  ASSERT_EQ(cluster_->WaitForLeader(), 0);

  // As many as may wait; together they take several request timeouts.
  Hashes hashes(*cluster_, 8, absl::Seconds(60));
  etcdserverpb::RangeRequest range = GetRequest("key000000", /*serializable=*/true);
  range.set_range_end("key000500");  // too many keys for the loop: a worker reads them
  bool answered = false;
  while (hashes.AnyUnanswered()) {
    const auto reply = Range(connection(), range);
    if (!reply.ok()) {  // on a busy machine any call may take 300 ms
      ASSERT_EQ(reply.status.error_message(), "etcdserver: request timed out");
      continue;
    }
    ASSERT_EQ(reply.response.kvs_size(), 500);
    answered = answered || hashes.AnyUnanswered();
  }
  EXPECT_TRUE(answered) << "no range was answered before all hashes were";
  const auto ends = hashes.Wait();
  EXPECT_EQ(ends.size(), 1u) << "all hashes must be equal: " << testing::PrintToString(ends);
  EXPECT_FALSE(ends.contains("etcdserver: request timed out"));

  // Beyond a limit, calls get "too many requests". Calls whose clients gave up are dropped.
  auto impatient = Hashes(*cluster_, 16, absl::Milliseconds(500)).Wait();
  EXPECT_GT(impatient["etcdserver: too many requests"], 0);
  EXPECT_GT(impatient["Deadline Exceeded"], 0);
  EXPECT_EQ(Hashes(*cluster_, 1, absl::Seconds(60)).Wait(),
            (std::map<std::string, int>{{ends.begin()->first, 1}}));
}

TEST_F(BusyMember, BoundsTheCallsThatWaitForACompaction) {
  Start("request_timeout = \"60s\"");
  if (HasFatalFailure()) return;
  PutAll();  // so that the compaction has much to remove
  constexpr int kCalls = 400;
  int64_t revision = 0;
  for (int i = 0; i < kCalls; ++i) {
    const auto put = cluster_->Put(0, "key000000", "v");
    ASSERT_TRUE(put.ok()) << put.status.error_message();
    revision = put.response.header().revision();
  }
  struct One {
    std::unique_ptr<grpc::ClientContext> context = MakeContext(absl::Seconds(60));
    std::unique_ptr<grpc::ClientAsyncResponseReader<etcdserverpb::CompactionResponse>> reader;
    etcdserverpb::CompactionResponse response;
    grpc::Status status;
  };
  grpc::CompletionQueue queue;
  std::vector<One> calls(kCalls);
  for (int i = 0; i < kCalls; ++i) {
    etcdserverpb::CompactionRequest request;
    request.set_revision(revision - kCalls + 1 + i);
    request.set_physical(true);
    calls[i].reader = connection().kv->AsyncCompact(calls[i].context.get(), request, &queue);
    calls[i].reader->Finish(&calls[i].response, &calls[i].status, &calls[i]);
  }
  std::map<std::string, int> ends;
  for (int i = 0; i < kCalls; ++i) {
    void* tag = nullptr;
    bool ok = false;
    ASSERT_TRUE(queue.Next(&tag, &ok));
    ++ends[static_cast<One*>(tag)->status.error_message()];
  }
  EXPECT_GT(ends["etcdserver: too many requests"], 0);
  EXPECT_GT(ends[""], 0);
  // Afterwards new calls may wait again, and the rejected ones have had no effect.
  etcdserverpb::CompactionRequest request;
  request.set_revision(revision + 1);
  request.set_physical(true);
  ASSERT_TRUE(cluster_->Put(0, "key000000", "v").ok());
  EXPECT_TRUE(Call(connection(), *connection().kv, &KV::Stub::Compact, request).ok());
}

TEST_F(BusyMember, EndsLargeReadsWhenItIsToldToStop) {
  Start("request_timeout = \"60s\"");
  if (HasFatalFailure()) return;
  ManyLargeReads reads(*cluster_, kManyReads, absl::Seconds(60));
  ASSERT_TRUE(cluster_->Status(0, absl::Seconds(20)).ok());
  EXPECT_EQ(cluster_->Terminate(0), 0);
  EXPECT_GT(reads.Wait()["etcdserver: server stopped"], 0);
}

}  // namespace
}  // namespace raftkv::e2e
