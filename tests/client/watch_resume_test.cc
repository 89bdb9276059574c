// Where a watch goes on after its stream has broken, or an endpoint has rejected it.

#include <gtest/gtest.h>

#include <chrono>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "client/raftkv.h"
#include "tests/client/fake_server.h"

namespace raftkv::client {
namespace {

using etcdserverpb::WatchCreateRequest;
using etcdserverpb::WatchResponse;

WatchResponse Created(int64_t revision) {
  WatchResponse response;
  response.set_created(true);
  response.mutable_header()->set_revision(revision);
  return response;
}

// With an event for each of `events`, a revision. None: a notification of progress.
WatchResponse Batch(int64_t revision, const std::vector<int64_t>& events) {
  WatchResponse response;
  response.mutable_header()->set_revision(revision);
  for (const int64_t event : events) {
    response.add_events()->mutable_kv()->set_mod_revision(event);
  }
  return response;
}

WatchResponse Fragment(int64_t revision, const std::vector<int64_t>& events) {
  WatchResponse response = Batch(revision, events);
  response.set_fragment(true);
  return response;
}

absl::Time Soon() { return absl::Now() + absl::Seconds(20); }

std::unique_ptr<Client> WatchClient(std::vector<std::string> endpoints) {
  auto client =
      Client::Connect({.endpoints = std::move(endpoints), .request_timeout = absl::Minutes(10)});
  EXPECT_TRUE(client.ok()) << client.status();
  return *std::move(client);
}

// A watch from revision 2 on. Its first stream ends after `responses`, its second one after a batch
// with revision 200. Returns the start_revision with which it resumes.
int64_t ResumesAt(const std::vector<WatchResponse>& responses) {
  FakeServer server;
  absl::Mutex mutex;
  std::vector<int64_t> starts;
  server.answer_watch = [&](const WatchCreateRequest& request, FakeServer::WatchStream* stream) {
    absl::MutexLock lock(&mutex);
    starts.push_back(request.start_revision());
    stream->Write(Created(100));
    if (starts.size() > 1) stream->Write(Batch(200, {200}));
    for (const WatchResponse& response : responses) {
      if (starts.size() == 1) stream->Write(response);
    }
    return std::optional(grpc::Status::OK);
  };
  const auto client = WatchClient({server.address()});
  const auto watcher = client->Watch("k", {.start_revision = 2, .progress_notify = true});
  EXPECT_TRUE(watcher.ok()) << watcher.status();
  if (!watcher.ok()) return 0;
  for (bool resumed = false; !resumed;) {
    const auto batch = (*watcher)->Next(Soon());
    EXPECT_TRUE(batch.ok()) << batch.status();
    if (!batch.ok()) return 0;
    resumed = !batch->events.empty() && batch->events.back().kv.mod_revision == 200;
  }
  EXPECT_EQ((*watcher)->next_revision(), 201);
  absl::MutexLock lock(&mutex);
  EXPECT_EQ(starts[0], 2);
  return starts.at(1);
}

// While etcd's watch catches up, each batch has the newest revision in its header.
TEST(WatchResume, AfterTheLastEventAndNotAfterTheRevisionOfTheHeader) {
  EXPECT_EQ(ResumesAt({Batch(100, {2})}), 3);
  EXPECT_EQ(ResumesAt({Batch(100, {2, 2, 5, 7, 7})}), 8);
  EXPECT_EQ(ResumesAt({Batch(100, {2}), Batch(100, {3, 4})}), 5);
}

TEST(WatchResume, AfterTheLastWholeBatch) {
  EXPECT_EQ(ResumesAt({Fragment(100, {2}), Batch(100, {2, 3})}), 4);
  EXPECT_EQ(ResumesAt({Batch(100, {2}), Fragment(100, {3, 4})}), 3) << "its end did not come";
}

TEST(WatchResume, AfterTheRevisionOfANotificationOfProgress) {
  EXPECT_EQ(ResumesAt({}), 2) << "its creation says nothing about earlier events";
  EXPECT_EQ(ResumesAt({Batch(100, {2}), Batch(100, {})}), 101);
}

std::optional<grpc::Status> AnswerLikeALearner(const WatchCreateRequest&,
                                               FakeServer::WatchStream*) {
  return grpc::Status(grpc::StatusCode::FAILED_PRECONDITION,
                      "etcdserver: rpc not supported for learner");
}

TEST(WatchResume, ALearnerIsPassedOver) {
  FakeServer learner, server;
  learner.answer_watch = AnswerLikeALearner;
  const auto client = WatchClient({learner.address(), server.address()});
  const auto watcher = client->Watch("k", {}, {.deadline = Soon()});
  EXPECT_TRUE(watcher.ok()) << watcher.status();
  EXPECT_EQ(learner.calls, 1);
  EXPECT_EQ(server.calls, 1);
}

// It is passed over also by a watch that has lost its member.
TEST(WatchResume, ALearnerDoesNotEndAWatch) {
  FakeServer server, learner;
  learner.answer_watch = AnswerLikeALearner;
  const auto client = WatchClient({server.address(), learner.address()});
  const auto watcher = client->Watch("k");
  ASSERT_TRUE(watcher.ok()) << watcher.status();
  server.Stop();
  for (const absl::Time end = Soon(); learner.calls < 2 && absl::Now() < end;) {
    const absl::Status status = (*watcher)->Next(absl::Now() + absl::Milliseconds(100)).status();
    ASSERT_TRUE(absl::IsDeadlineExceeded(status)) << status;
  }
  EXPECT_GE(learner.calls, 2);
}

TEST(WatchResume, LearnersOnlyAreAnError) {
  FakeServer one, two;
  one.answer_watch = two.answer_watch = AnswerLikeALearner;
  const auto client = WatchClient({one.address(), two.address()});
  const absl::Status status = client->Watch("k", {}, {.deadline = Soon()}).status();
  EXPECT_EQ(status, absl::FailedPreconditionError("etcdserver: rpc not supported for learner"));
  EXPECT_EQ(one.calls + two.calls, 2);
}

// The watch of an observer is behind a compaction, while the leader stays.
TEST(WatchResume, AnObserverReturnsALeaderOnce) {
  FakeServer server;
  auto* leader = server.range_response.add_kvs();
  leader->set_key("name/1");
  leader->set_value("v");
  leader->set_mod_revision(5);
  int watches = 0;  // one after the other
  server.answer_watch = [&](const WatchCreateRequest&, FakeServer::WatchStream* stream) {
    stream->Write(Created(100));
    WatchResponse response;
    if (++watches == 1) {
      response.set_canceled(true);
      response.set_compact_revision(50);
    } else {
      response = Batch(101, {101});
      response.mutable_events(0)->mutable_kv()->set_key("name/1");
      response.mutable_events(0)->mutable_kv()->set_value("w");
    }
    stream->Write(response);
    return std::optional<grpc::Status>();
  };
  const auto client = WatchClient({server.address()});
  LeaderObserver observer(client.get(), "name");
  for (const char* value : {"v", "w"}) {
    const auto next = observer.Next(Soon());
    ASSERT_TRUE(next.ok()) << next.status();
    EXPECT_EQ(next->leader.value, value);
  }
}

}  // namespace
}  // namespace raftkv::client
