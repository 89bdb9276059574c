// Watches of real processes: the wire, and watches that are resumed while members are killed.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <fstream>
#include <map>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "google/protobuf/text_format.h"
#include "tests/e2e/cluster.h"

namespace raftkv::e2e {
namespace {

using etcdserverpb::WatchRequest;
using etcdserverpb::WatchResponse;
using mvccpb::Event;

// One stream of watches.
class WatchStream {
 public:
  explicit WatchStream(Connection& connection, bool needs_leader = false) {
    if (needs_leader) context_->AddMetadata("hasleader", "true");
    if (connection.Ready()) stream_ = connection.watch->Watch(context_.get());
  }
  ~WatchStream() {
    if (stream_ != nullptr) Finish();
  }

  bool connected() const { return stream_ != nullptr; }
  bool Send(const std::string& text) {
    WatchRequest request;
    EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &request)) << text;
    absl::MutexLock lock(&send_mutex_);
    return stream_->Write(request);
  }
  bool Read(WatchResponse* response) { return stream_->Read(response); }
  void HalfClose() { stream_->WritesDone(); }
  void Cancel() { context_->TryCancel(); }
  grpc::Status Finish() {
    context_->TryCancel();
    grpc::Status status = stream_->Finish();
    stream_.reset();
    return status;
  }
  // The status with which the server ended the stream.
  grpc::Status End() {
    WatchResponse response;
    while (stream_->Read(&response)) {
    }
    grpc::Status status = stream_->Finish();
    stream_.reset();
    return status;
  }

 private:
  std::unique_ptr<grpc::ClientContext> context_ = MakeContext(absl::Seconds(60));
  absl::Mutex send_mutex_;  // gRPC allows one write at a time
  std::unique_ptr<grpc::ClientReaderWriter<WatchRequest, WatchResponse>> stream_;
};

int64_t PutAt(Cluster& cluster, int member, const std::string& key, const std::string& value) {
  const auto reply = cluster.Put(member, key, value);
  EXPECT_TRUE(reply.ok()) << reply.status.error_message();
  return reply.response.header().revision();
}

TEST(Watch, SendsEventsAndAnswersRequestsInOrder) {
  Cluster cluster({.size = 1});
  cluster.StartAll();
  ASSERT_EQ(cluster.WaitForLeader(), 0);
  const int64_t first = PutAt(cluster, 0, "k", "1");
  PutAt(cluster, 0, "k", "2");
  WatchStream stream(cluster.connection(0));
  ASSERT_TRUE(stream.Send(
      absl::StrCat("create_request { key: 'k' start_revision: ", first, " prev_kv: true }")));
  ASSERT_TRUE(stream.Send("create_request { key: 'k' watch_id: 0 }"));
  WatchResponse response;
  ASSERT_TRUE(stream.Read(&response));
  EXPECT_TRUE(response.created());
  EXPECT_EQ(response.watch_id(), 0);
  EXPECT_EQ(response.header().revision(), first + 1);
  EXPECT_NE(response.header().cluster_id(), 0u);
  EXPECT_NE(response.header().member_id(), 0u);
  EXPECT_NE(response.header().raft_term(), 0u);
  std::map<int64_t, std::string> seen;
  for (bool created = false; !created || seen[0] != "12";) {
    ASSERT_TRUE(stream.Read(&response));
    created |= response.created();
    for (const Event& event : response.events()) seen[response.watch_id()] += event.kv().value();
  }
  stream.HalfClose();  // as curl and the gateway do: the watches go on
  PutAt(cluster, 0, "k", "3");
  while (seen[0] != "123" || seen[1] != "3") {
    ASSERT_TRUE(stream.Read(&response));
    ASSERT_EQ(response.events_size(), 1);
    EXPECT_EQ(response.events(0).has_prev_kv(), response.watch_id() == 0);
    seen[response.watch_id()] += response.events(0).kv().value();
  }
}

TEST(Watch, ProgressCancelAndCompaction) {
  Cluster cluster({.size = 1});
  cluster.StartAll();
  ASSERT_EQ(cluster.WaitForLeader(), 0);
  int64_t revision = 0;
  for (int i = 0; i < 5; ++i) revision = PutAt(cluster, 0, "k", "v");
  WatchStream stream(cluster.connection(0));
  WatchResponse response;
  ASSERT_TRUE(stream.Send("create_request { key: 'k' }"));
  ASSERT_TRUE(stream.Read(&response));
  ASSERT_TRUE(stream.Send("progress_request { }"));
  ASSERT_TRUE(stream.Read(&response));
  EXPECT_EQ(response.watch_id(), -1);
  EXPECT_EQ(response.header().revision(), revision);
  EXPECT_EQ(response.events_size(), 0);
  ASSERT_TRUE(stream.Send("cancel_request { watch_id: 0 }"));
  ASSERT_TRUE(stream.Read(&response));
  EXPECT_TRUE(response.canceled());
  EXPECT_EQ(response.watch_id(), 0);
  EXPECT_EQ(response.cancel_reason(), "");

  etcdserverpb::CompactionRequest compaction;
  compaction.set_revision(revision - 1);
  ASSERT_TRUE(Call(cluster.connection(0), *cluster.connection(0).kv,
                   &etcdserverpb::KV::Stub::Compact, compaction)
                  .ok());
  ASSERT_TRUE(
      stream.Send(absl::StrCat("create_request { key: 'k' start_revision: ", revision - 2, " }")));
  ASSERT_TRUE(stream.Read(&response));
  EXPECT_TRUE(response.created());
  EXPECT_FALSE(response.canceled());
  ASSERT_TRUE(stream.Read(&response));
  EXPECT_TRUE(response.canceled());
  EXPECT_EQ(response.compact_revision(), revision - 1);
  EXPECT_EQ(response.header().revision(), 0);
  EXPECT_EQ(response.watch_id(), 1);
}

TEST(Watch, EndsWhenTheMemberStopsOrHasNoLeader) {
  Cluster cluster({.size = 3, .election_timeout = absl::Milliseconds(500)});
  cluster.StartAll();
  ASSERT_GE(cluster.WaitForLeader(), 0);
  WatchStream stream(cluster.connection(0), /*needs_leader=*/true);
  WatchResponse response;
  ASSERT_TRUE(stream.Send("create_request { key: 'k' }"));
  ASSERT_TRUE(stream.Read(&response));
  cluster.Kill(1);
  cluster.Kill(2);
  grpc::Status status = stream.End();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(status.error_message(), "etcdserver: no leader");

  WatchStream without(cluster.connection(0));
  ASSERT_TRUE(without.Send("create_request { key: 'k' }"));
  ASSERT_TRUE(without.Read(&response));
  cluster.process(0).Signal(SIGTERM);
  status = without.End();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  if (ProductUnderTest() == Product::kRaftkv) {
    EXPECT_EQ(status.error_message(), "etcdserver: server stopped");
  }
  EXPECT_EQ(cluster.process(0).Wait(absl::Seconds(15)), 0);
}

// There are more create requests than may be unanswered. The server reads further ones when the
// client reads the answers.
TEST(Watch, ManyCreatesAtOnceAreAnsweredInOrder) {
  Cluster cluster({.size = 1});
  cluster.StartAll();
  ASSERT_EQ(cluster.WaitForLeader(), 0);
  constexpr int kWatches = 8000;
  WatchStream stream(cluster.connection(0));
  std::thread sender([&stream] {
    for (int i = 0; i < kWatches; ++i) stream.Send("create_request { key: 'k' range_end: 'l' }");
  });
  WatchResponse response;
  for (int i = 0; i < kWatches; ++i) {
    ASSERT_TRUE(stream.Read(&response));
    ASSERT_TRUE(response.created());
    ASSERT_EQ(response.watch_id(), i);
  }
  sender.join();
  const int64_t revision = PutAt(cluster, 0, "k", "v");
  std::vector<bool> told(kWatches);
  for (int i = 0; i < kWatches; ++i) {
    ASSERT_TRUE(stream.Read(&response));
    ASSERT_EQ(response.events(0).kv().mod_revision(), revision);
    ASSERT_FALSE(told[response.watch_id()]);
    told[response.watch_id()] = true;
  }
}

int64_t ResidentBytes(pid_t pid) {
  std::ifstream file(absl::StrCat("/proc/", pid, "/statm"));
  int64_t total = 0, resident = 0;
  file >> total >> resident;
  return resident * sysconf(_SC_PAGESIZE);
}

// A client that does not read costs a bounded amount of memory, delays nobody, and still gets
// everything.
TEST(Watch, AStalledReaderIsBoundedAndCatchesUp) {
  Cluster cluster({.size = 1});
  cluster.StartAll();
  ASSERT_EQ(cluster.WaitForLeader(), 0);
  std::vector<std::unique_ptr<WatchStream>> stalled;
  WatchResponse response;
  for (int i = 0; i < 20; ++i) {
    stalled.push_back(std::make_unique<WatchStream>(cluster.connection(0)));
    ASSERT_TRUE(stalled.back()->Send("create_request { key: 'k' prev_kv: true }"));
    ASSERT_TRUE(stalled.back()->Read(&response));
  }
  Connection other(cluster.client_address(0));
  WatchStream live(other);
  ASSERT_TRUE(live.Send("create_request { key: 'k' }"));
  ASSERT_TRUE(live.Read(&response));
  constexpr int kPuts = 200;
  const std::string large(200'000, 'x');  // the stalled readers would need 20 * 80 MB
  const int64_t before = ResidentBytes(cluster.process(0).pid());
  for (int i = 0; i < kPuts; ++i) {
    const int64_t revision = PutAt(cluster, 0, "k", absl::StrCat(i, " ", large));
    ASSERT_TRUE(live.Read(&response));
    EXPECT_EQ(response.events(0).kv().mod_revision(), revision);
  }
  if (ProductUnderTest() == Product::kRaftkv) {
    EXPECT_LT(ResidentBytes(cluster.process(0).pid()) - before, int64_t{500} << 20);
  }
  for (auto& stream : stalled) {
    for (int next = 0; next < kPuts;) {
      ASSERT_TRUE(stream->Read(&response));
      for (const Event& event : response.events()) {
        ASSERT_TRUE(absl::StartsWith(event.kv().value(), absl::StrCat(next, " ")));
        ASSERT_EQ(event.has_prev_kv(), next > 0);
        ++next;
      }
    }
  }
}

// --- watches that are resumed while members are killed

// Watches a range, at one member after the other, and keeps what it got.
class Resumer {
 public:
  Resumer(Cluster* cluster, std::string range, int64_t start)
      : cluster_(*cluster), range_(std::move(range)), next_(start), start_(start) {
    for (int i = 0; i < cluster->size(); ++i) {
      connections_.push_back(std::make_unique<Connection>(cluster->client_address(i)));
    }
    thread_ = std::thread([this] { Run(); });
  }
  ~Resumer() { Stop(); }

  // Waits until everything up to `revision` has arrived. Asks for progress again and again, because
  // a member ignores such a request while the watch is behind, as etcd does.
  bool WaitFor(int64_t revision) {
    return Eventually(absl::Seconds(30), [&] {
      absl::MutexLock lock(&mutex_);
      if (stream_ != nullptr) stream_->Send("progress_request { }");
      return next_ > revision;
    });
  }
  void Stop() {
    stop_ = true;
    {
      absl::MutexLock lock(&mutex_);
      if (stream_ != nullptr) stream_->Cancel();
    }
    if (thread_.joinable()) thread_.join();
  }

  int64_t start() const { return start_; }
  // After Stop.
  const std::vector<Event>& events() const { return events_; }
  int streams() const { return streams_; }
  const std::string& wrong() const { return wrong_; }

 private:
  void Run() {
    for (int member = 0; !stop_ && wrong_.empty(); member = (member + 1) % cluster_.size()) {
      WatchStream stream(*connections_[member], /*needs_leader=*/true);
      if (!stream.connected()) continue;
      {
        absl::MutexLock lock(&mutex_);
        stream_ = &stream;
      }
      ReadFrom(&stream);
      absl::MutexLock lock(&mutex_);
      stream_ = nullptr;
    }
  }

  void ReadFrom(WatchStream* stream) {
    if (stop_ ||
        !stream->Send(absl::StrCat("create_request { ", range_, " prev_kv: true ",
                                   "start_revision: ", next_.load(), " }")) ||
        !stream->Send("progress_request { }")) {
      return;
    }
    bool counted = false;
    WatchResponse response;
    while (!stop_ && wrong_.empty() && stream->Read(&response)) {
      if (response.canceled()) wrong_ = "canceled: " + response.ShortDebugString();
      if (!response.created()) Take(response);
      if (!response.events().empty() && !std::exchange(counted, true)) ++streams_;
      // Requests progress often, so that the progress responses are checked, too.
      if (response.events().empty() || events_.size() % 16 == 0) {
        stream->Send("progress_request { }");
        absl::SleepFor(absl::Milliseconds(1));
      }
    }
  }

  void Take(const WatchResponse& response) {
    for (const Event& event : response.events()) {
      if (event.kv().mod_revision() < next_) {
        wrong_ = absl::StrCat("before ", next_.load(), ": ", event.ShortDebugString());
      }
      events_.push_back(event);
    }
    if (response.header().revision() + 1 < next_ && !response.events().empty()) {
      wrong_ = absl::StrCat("header before its events: ", response.ShortDebugString());
    }
    next_ = std::max<int64_t>(next_, response.header().revision() + 1);
  }

  Cluster& cluster_;
  const std::string range_;
  std::vector<std::unique_ptr<Connection>> connections_;
  std::atomic<int64_t> next_;
  const int64_t start_;
  std::atomic<bool> stop_{false};
  std::vector<Event> events_;
  int streams_ = 0;  // the number of streams that sent events
  std::string wrong_;
  absl::Mutex mutex_;
  WatchStream* stream_ ABSL_GUARDED_BY(mutex_) = nullptr;
  std::thread thread_;
};

// Writes through all members in turn until it is stopped.
class Writer {
 public:
  explicit Writer(Cluster* cluster) : cluster_(*cluster), thread_([this] { Run(); }) {}
  ~Writer() { Stop(); }

  void Stop() {
    stop_ = true;
    if (thread_.joinable()) thread_.join();
  }
  int writes() const { return writes_; }
  // After Stop: the values that were acknowledged, by revision.
  const std::map<int64_t, std::string>& acknowledged() const { return acknowledged_; }

 private:
  void Run() {
    std::vector<std::unique_ptr<Connection>> connections;
    for (int i = 0; i < cluster_.size(); ++i) {
      connections.push_back(std::make_unique<Connection>(cluster_.client_address(i)));
    }
    for (int i = 0; !stop_; ++i) {
      const std::string value = absl::StrCat(i);
      const auto reply = Put(*connections[i % connections.size()], absl::StrCat("k", i % 5), value,
                             absl::Seconds(1));
      if (!reply.ok()) continue;
      acknowledged_[reply.response.header().revision()] = value;
      ++writes_;
    }
  }

  Cluster& cluster_;
  std::atomic<bool> stop_{false};
  std::atomic<int> writes_{0};
  std::map<int64_t, std::string> acknowledged_;
  std::thread thread_;
};

// The events are those of every revision from 2 to `last`, with the previous values and with what
// was acknowledged.
void ExpectComplete(const std::vector<Event>& events, int64_t last,
                    const std::map<int64_t, std::string>& acknowledged) {
  std::map<std::string, Event> state;
  int64_t revision = 1;
  for (const Event& event : events) {
    ASSERT_EQ(event.kv().mod_revision(), ++revision);
    const auto before = state.find(event.kv().key());
    ASSERT_EQ(event.has_prev_kv(), before != state.end());
    if (event.has_prev_kv()) {
      EXPECT_EQ(event.prev_kv().DebugString(), before->second.kv().DebugString());
    }
    state[event.kv().key()] = event;
    const auto found = acknowledged.find(revision);
    if (found != acknowledged.end()) {
      EXPECT_EQ(event.kv().value(), found->second);
    }
  }
  EXPECT_EQ(revision, last);
}

// The events of one key, or of all keys if it is empty.
std::vector<std::string> EventsOf(const std::vector<Event>& events, const std::string& key) {
  std::vector<std::string> texts;
  for (const Event& event : events) {
    if (key.empty() || event.kv().key() == key) texts.push_back(event.ShortDebugString());
  }
  return texts;
}

TEST(Watch, LosesAndRepeatsNothingWhileMembersAreKilled) {
  Cluster cluster({.size = 3, .election_timeout = absl::Milliseconds(500)});
  cluster.StartAll();
  ASSERT_GE(cluster.WaitForLeader(), 0);
  std::vector<std::unique_ptr<Resumer>> watches;
  for (int i = 0; i < 4; ++i) {
    watches.push_back(std::make_unique<Resumer>(&cluster, "key: 'a' range_end: 'z'", 2));
    watches.push_back(std::make_unique<Resumer>(&cluster, absl::StrCat("key: 'k", i, "'"), 2));
  }
  Writer writer(&cluster);
  for (int round = 0; round < 6; ++round) {
    const int victim = round % 2 == 0 ? cluster.WaitForLeader() : round % 3;
    if (victim < 0) break;
    const int before = writer.writes();
    EXPECT_TRUE(Eventually(absl::Seconds(20), [&] { return writer.writes() >= before + 30; }));
    cluster.Kill(victim);
    EXPECT_TRUE(Eventually(absl::Seconds(10), [&] { return cluster.WaitForLeader() >= 0; }));
    cluster.Start(victim);
  }
  writer.Stop();
  ASSERT_GE(cluster.WaitForLeader(), 0);
  const int64_t last = PutAt(cluster, 0, "last", "");
  ASSERT_GT(writer.acknowledged().size(), 100u);

  Resumer reference(&cluster, "key: 'a' range_end: 'z'", 2);
  EXPECT_TRUE(reference.WaitFor(last));
  reference.Stop();
  ExpectComplete(reference.events(), last, writer.acknowledged());
  int streams = 0;
  for (size_t i = 0; i < watches.size(); ++i) {
    EXPECT_TRUE(watches[i]->WaitFor(last)) << i;
    watches[i]->Stop();
    EXPECT_EQ(watches[i]->wrong(), "");
    streams += watches[i]->streams();
    const std::string key = i % 2 == 0 ? "" : absl::StrCat("k", i / 2);
    EXPECT_EQ(EventsOf(watches[i]->events(), ""), EventsOf(reference.events(), key))
        << "watch " << i;
  }
  EXPECT_GT(streams, 10) << "the kills must break streams, or the test proves nothing";
}

}  // namespace
}  // namespace raftkv::e2e
