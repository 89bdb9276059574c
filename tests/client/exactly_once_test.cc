// Options::exactly_once: when a write of a session is sent again, and what its error then says.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <future>
#include <mutex>
#include <stop_token>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "client/raftkv.h"
#include "client/writer_threads.h"
#include "proto/etcd/metadata.h"
#include "proto/etcd/outcome.h"
#include "tests/client/fake_server.h"

namespace raftkv::client {
namespace {

using grpc::StatusCode;
constexpr std::chrono::seconds kSoon(20);

grpc::Status LeaderLost() {
  return {StatusCode::UNAVAILABLE,
          "etcdserver: request timed out, possibly due to previous leader failure"};
}
grpc::Status Expired() { return {StatusCode::FAILED_PRECONDITION, "etcdserver: session expired"}; }
grpc::Status NotFound() { return {StatusCode::NOT_FOUND, "etcdserver: requested lease not found"}; }

class ExactlyOnceTest : public testing::Test {
 protected:
  ExactlyOnceTest() {
    second_.grants = 10;
    for (FakeServer* server : {&first_, &second_}) {
      server->status_response.set_clusterversion(4);
      server->before = [this, server](grpc::ServerContext* context) {
        return Answer(server == &first_ ? first_answers_ : second_answers_, context);
      };
    }
  }
  std::unique_ptr<Client> Connect(absl::Duration timeout = absl::Seconds(20)) {
    auto client = Client::Connect({.endpoints = {first_.address(), second_.address()},
                                   .request_timeout = timeout,
                                   .exactly_once = true});
    EXPECT_TRUE(client.ok()) << client.status();
    return *std::move(client);
  }

  // The answers of a server to its calls that have a session, in order; then OK.
  struct Answers {
    std::vector<grpc::Status> statuses = {};
    std::string outcome = {};  // the trailer of all of them
    size_t given = 0;
  };
  grpc::Status Answer(Answers& answers, grpc::ServerContext* context) {
    const auto& metadata = context->client_metadata();
    const auto value = [&](std::string_view key) -> std::string {
      const auto it = metadata.find(std::string(key));
      return it == metadata.end() ? "" : std::string(it->second.data(), it->second.size());
    };
    if (value(kSessionKey).empty()) return grpc::Status::OK;
    std::lock_guard lock(mutex_);
    sent_ += absl::StrCat(value(kSessionKey), ".", value(kSeqKey), "/", value(kAckedKey), " ");
    if (!answers.outcome.empty()) context->AddTrailingMetadata(kOutcomeKey, answers.outcome);
    if (answers.given == answers.statuses.size()) return grpc::Status::OK;
    return answers.statuses[answers.given++];
  }

  // Waits until a server has got this write.
  bool AwaitSent(const std::string& write) {
    for (int i = 0; i < 2000; ++i) {
      if (std::lock_guard lock(mutex_); sent_.find(write) != std::string::npos) return true;
      absl::SleepFor(absl::Milliseconds(10));
    }
    return false;
  }

  std::mutex mutex_;
  Answers first_answers_, second_answers_;
  std::string sent_;           // LEASE.SEQ/ACKED of each write
  FakeServer first_, second_;  // destroyed first: their threads use what is above
};

TEST_F(ExactlyOnceTest, WritesAreNumberedAndAcknowledged) {
  const auto client = Connect();
  EXPECT_TRUE(client->Put("a", "").ok());
  EXPECT_TRUE(client->Delete("a").ok());
  EXPECT_TRUE(client->Txn({.then = {Op::Put("a", "")}}).ok());
  EXPECT_TRUE(client->Txn({.then = {Op::Get("a")}}).ok());
  EXPECT_EQ(sent_, "1.1/0 1.2/1 1.3/2 ") << "a transaction that only reads is no write";
  EXPECT_EQ(first_.grants, 1);
}

TEST_F(ExactlyOnceTest, AWriteOfUnknownOutcomeIsSentAgainUnderItsNumber) {
  first_answers_.statuses = {LeaderLost()};
  const auto client = Connect();
  EXPECT_TRUE(client->Put("a", "").ok());
  EXPECT_TRUE(client->Put("a", "").ok());
  EXPECT_EQ(sent_, "1.1/0 1.1/0 1.2/1 ");
}

TEST_F(ExactlyOnceTest, UntilAMemberAnswers) {
  first_answers_.statuses.assign(5, LeaderLost());
  second_answers_.statuses.assign(5, LeaderLost());
  EXPECT_TRUE(Connect()->Put("a", "").ok());
}

TEST_F(ExactlyOnceTest, ASecondMemberIsAskedIfTheFirstDoesNotAnswer) {
  first_.before = [](grpc::ServerContext* context) {
    return context->client_metadata().contains(std::string(kSessionKey)) ? NeverAnswer(context)
                                                                         : grpc::Status::OK;
  };
  const auto put = Connect(absl::Seconds(8))->Put("a", "");
  EXPECT_TRUE(put.ok()) << put.status();
}

TEST_F(ExactlyOnceTest, AtTheEndOfItsTimeTheOutcomeIsUnknown) {
  first_answers_.statuses.assign(1000, LeaderLost());
  second_answers_.statuses.assign(1000, LeaderLost());
  const absl::Status status = Connect(absl::Milliseconds(500))->Put("a", "").status();
  EXPECT_TRUE(OutcomeUnknown(status)) << status;
}

TEST_F(ExactlyOnceTest, AnErrorIsKnownIfTheSessionHasDecidedIt) {
  first_answers_.statuses = {LeaderLost()};
  second_answers_ = {.statuses = {NotFound()}, .outcome = kDecided};
  const absl::Status status = Connect()->Put("a", "", {.lease = 9}).status();
  EXPECT_TRUE(absl::IsNotFound(status)) << status;
  EXPECT_FALSE(OutcomeUnknown(status)) << status;
  EXPECT_EQ(sent_, "1.1/0 1.1/0 ");
}

// The error of one attempt says nothing about another attempt.
TEST_F(ExactlyOnceTest, OtherwiseAnErrorLeavesAnEarlierAttemptUnknown) {
  first_answers_.statuses.assign(1000, LeaderLost());
  second_answers_.statuses.assign(1000, NotFound());
  const absl::Status status = Connect(absl::Seconds(1))->Put("a", "", {.lease = 9}).status();
  EXPECT_TRUE(OutcomeUnknown(status)) << status;
}

TEST_F(ExactlyOnceTest, TheErrorOfTheOnlyAttemptIsKnown) {
  first_answers_.statuses = {NotFound()};
  const absl::Status status = Connect()->Put("a", "", {.lease = 9}).status();
  EXPECT_TRUE(absl::IsNotFound(status)) << status;
  EXPECT_FALSE(OutcomeUnknown(status)) << status;
}

TEST_F(ExactlyOnceTest, AnExpiredSessionIsReplacedIfNothingWasSentInIt) {
  first_answers_.statuses = {Expired()};
  const auto client = Connect();
  EXPECT_TRUE(client->Put("a", "").ok());
  EXPECT_TRUE(client->Put("a", "").ok());
  EXPECT_EQ(sent_, "1.1/0 2.1/0 2.2/1 ");
}

TEST_F(ExactlyOnceTest, AnExpiredSessionLeavesAnEarlierAttemptUnknown) {
  first_answers_.statuses = {LeaderLost()};
  second_answers_.statuses = {Expired()};
  const auto client = Connect();
  const absl::Status status = client->Put("a", "").status();
  EXPECT_TRUE(OutcomeUnknown(status)) << status;
  EXPECT_TRUE(client->Put("a", "").ok());
  EXPECT_EQ(sent_, "1.1/0 1.1/0 11.1/0 ");
}

// The expired session is not revoked, which might take longer than the write may.
TEST_F(ExactlyOnceTest, AnExpiredSessionDoesNotDelayTheWrite) {
  std::atomic<int> revoked = 0;
  first_.before_revoke = second_.before_revoke = [&](grpc::ServerContext* context, int64_t lease) {
    if (lease != 1) return grpc::Status::OK;
    ++revoked;
    return NeverAnswer(context);
  };
  first_answers_.statuses = {Expired()};
  {
    const auto client = Connect(absl::Seconds(8));
    const auto put =
        client->Call(PutRequest("a", ""), {.deadline = absl::Now() + absl::Seconds(4)});
    EXPECT_TRUE(put.ok()) << put.status();
  }
  EXPECT_EQ(sent_, "1.1/0 2.1/0 ");
  EXPECT_EQ(revoked, 0);
}

TEST_F(ExactlyOnceTest, APartOfAnAnswerIsAnError) {
  first_answers_ = {.statuses = {}, .outcome = kReduced};
  const absl::Status status = Connect()->Put("a", "", {.prev_kv = true}).status();
  EXPECT_TRUE(AnswerLost(status)) << status;
  EXPECT_FALSE(OutcomeUnknown(status));
}

// A call that was started, as a future.
std::future<absl::Status> StartPut(Client& client, const CallOptions& options = {}) {
  std::promise<absl::Status> promise;
  auto future = promise.get_future();
  client.Start(
      PutRequest("a", ""),
      [p = std::move(promise)](auto put) mutable { p.set_value(put.status()); }, options);
  return future;
}

TEST_F(ExactlyOnceTest, AsynchronousWritesBelongToTheSessionToo) {
  first_answers_.statuses = {LeaderLost()};
  const auto client = Connect();
  EXPECT_TRUE(StartPut(*client).get().ok());
  EXPECT_EQ(sent_, "1.1/0 1.1/0 ");
  std::vector<std::future<absl::Status>> puts;
  for (int i = 0; i < 100; ++i) puts.push_back(StartPut(*client));
  for (auto& put : puts) EXPECT_TRUE(put.get().ok());
  EXPECT_EQ(first_.grants, 1);
}

TEST_F(ExactlyOnceTest, WritesEndWhenCancelledAndWithTheClient) {
  first_answers_.statuses.assign(100'000, LeaderLost());
  second_answers_.statuses.assign(100'000, LeaderLost());
  std::future<absl::Status> ended;
  {
    const auto client = Connect(absl::Hours(1));
    std::stop_source stop;
    auto started = StartPut(*client, {.cancel = stop.get_token()});
    auto blocked = std::async(std::launch::async, [&] {
      return client->Call(PutRequest("a", ""), {.cancel = stop.get_token()}).status();
    });
    ended = StartPut(*client);
    for (const char* write : {"1.1/", "1.2/", "1.3/"}) EXPECT_TRUE(AwaitSent(write)) << write;
    stop.request_stop();
    for (const absl::Status& status : {started.get(), blocked.get()}) {
      EXPECT_TRUE(absl::IsCancelled(status)) << status;
    }
  }
  const absl::Status status = ended.get();
  EXPECT_TRUE(absl::IsCancelled(status) && OutcomeUnknown(status)) << status;
}

TEST_F(ExactlyOnceTest, WritesThatWaitForTheSessionEndWhenCancelledAndWithTheClient) {
  first_.before = second_.before = NeverAnswer;
  std::future<absl::Status> ended;
  {
    const auto client = Connect(absl::Hours(1));
    std::stop_source stop_opening, stop_waiting;
    auto opens = StartPut(*client, {.cancel = stop_opening.get_token()});
    ASSERT_TRUE(first_.AwaitCalls(1));
    auto waits = StartPut(*client, {.cancel = stop_waiting.get_token()});
    ended = StartPut(*client);
    absl::SleepFor(absl::Milliseconds(100));  // on a slow machine it may not even wait yet
    stop_waiting.request_stop();
    ASSERT_EQ(waits.wait_for(kSoon), std::future_status::ready) << "it waits for the other one";
    EXPECT_EQ(opens.wait_for(std::chrono::seconds(0)), std::future_status::timeout);
    stop_opening.request_stop();
    for (const absl::Status& status : {opens.get(), waits.get()}) {
      EXPECT_TRUE(absl::IsCancelled(status) && !OutcomeUnknown(status)) << status;
    }
  }
  const absl::Status status = ended.get();
  EXPECT_TRUE(absl::IsCancelled(status) && !OutcomeUnknown(status)) << status;
}

// They end although all threads are busy.
TEST_F(ExactlyOnceTest, TooManyAsynchronousWritesAreRejected) {
  first_.before = second_.before = NeverAnswer;
  const auto start = [&](size_t writes, size_t value_bytes) {
    std::promise<void> rejected;
    std::atomic<bool> any = false;
    const auto client = Connect(absl::Hours(1));
    for (size_t i = 0; i < writes; ++i) {
      client->Start(PutRequest("a", std::string(value_bytes, 'v')), [&](const auto& put) {
        if (absl::IsResourceExhausted(put.status()) && !any.exchange(true)) rejected.set_value();
      });
    }
    EXPECT_EQ(rejected.get_future().wait_for(kSoon), std::future_status::ready);
  };
  start(WriterThreads::kThreadsMax + WriterThreads::kWaitingMax + 1, 1);
  start(WriterThreads::kThreadsMax + 65, 1 << 20);
}

TEST_F(ExactlyOnceTest, ReportsCountAllAttempts) {
  first_answers_.statuses.assign(3, LeaderLost());
  second_answers_.statuses.assign(3, LeaderLost());
  int attempts = 0;
  auto client = Client::Connect({.endpoints = {first_.address(), second_.address()},
                                 .exactly_once = true,
                                 .on_call_end = [&](const CallReport& report) {
                                   if (report.method == std::string("KV.Put")) {
                                     attempts = report.attempts;
                                   }
                                 }});
  EXPECT_TRUE((*client)->Put("a", "").ok());
  EXPECT_EQ(attempts, 7);
}

TEST_F(ExactlyOnceTest, AnotherServiceIsNotUsed) {
  first_.status_response.set_clusterversion(3);
  const absl::Status old = Connect()->Put("a", "").status();
  EXPECT_EQ(old, absl::FailedPreconditionError("exactly-once writes need cluster version 4, and "
                                               "this cluster is at version 3: upgrade all "
                                               "members"));
  first_.status_response.clear_clusterversion();
  const absl::Status etcd = Connect()->Put("a", "").status();
  EXPECT_EQ(etcd, absl::FailedPreconditionError("exactly-once writes need cluster version 4 of "
                                                "raftkv, and this is another service"));
  EXPECT_EQ(sent_, "");
}

}  // namespace
}  // namespace raftkv::client
