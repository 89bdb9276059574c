#include "server/watch/hub.h"

#include <algorithm>
#include <deque>
#include <optional>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/model/random_requests.h"
#include "tests/model/watch_client.h"
#include "tests/storage/store_test.h"

namespace raftkv::watch {
namespace {

using etcdserverpb::WatchCreateRequest;
using etcdserverpb::WatchRequest;
using etcdserverpb::WatchResponse;

class WatchHub : public StoreTest {
 protected:
  void Make(const HubOptions& options = {}) {
    hub_ = std::make_unique<Hub>(options);
    stream_ = hub_->Open([] {});
    hub_->Run(*state_->Snapshot(), now_);
  }
  void Put(const std::string& key, const std::string& value = "v") {
    Apply(PutCommand(key, value));
  }
  void Run() {
    hub_->Run(*state_->Snapshot(), now_);
    while (const auto order = hub_->TakeCatchUp()) {
      hub_->OnCaughtUp(RunCatchUp(*order, *state_->Snapshot()));
    }
  }
  void Request(const std::string& text) {
    stream_->OnRequest(Parse<WatchRequest>(text), *state_->Snapshot(), now_);
  }
  // The next responses in short: "created 0@1", "0@3 PUT k=v DELETE k", "0@0 compacted 5".
  std::string Take(Stream* stream) {
    std::string all;
    while (const auto r = stream->Take()) {
      absl::StrAppend(&all, all.empty() ? "" : "; ", r->created() ? "created " : "", r->watch_id(),
                      "@", r->header().revision());
      if (r->fragment()) absl::StrAppend(&all, " part");
      for (const mvccpb::Event& e : r->events()) {
        const bool put = e.type() == mvccpb::Event::PUT;
        absl::StrAppend(&all, put ? " PUT " : " DELETE ", e.kv().key());
        if (put) absl::StrAppend(&all, "=", e.kv().value());
        if (e.has_prev_kv()) absl::StrAppend(&all, " was ", e.prev_kv().value());
      }
      if (r->compact_revision() != 0) absl::StrAppend(&all, " compacted ", r->compact_revision());
      if (r->canceled()) absl::StrAppend(&all, " canceled");
      if (!r->cancel_reason().empty()) absl::StrAppend(&all, " \"", r->cancel_reason(), "\"");
    }
    return all;
  }
  std::string Take() {
    Run();
    std::string all = Take(stream_.get());
    Run();
    if (std::string more = Take(stream_.get()); !more.empty()) absl::StrAppend(&all, "; ", more);
    return all;
  }

  std::unique_ptr<Hub> hub_;
  std::unique_ptr<Stream> stream_;
  MonotonicTime now_;
};

TEST_F(WatchHub, CreatedComesFirstThenEventsInOrder) {
  Make();
  Request("create_request { key: 'k' }");
  Request("create_request { key: 'a' range_end: 'z' prev_kv: true }");
  EXPECT_EQ(Take(), "created 0@1; created 1@1");
  Put("k", "1");
  Put("k", "2");
  Apply(DeleteCommand("k"));
  Put("zz");
  EXPECT_EQ(Take(), "0@4 PUT k=1 PUT k=2 DELETE k; 1@4 PUT k=1 PUT k=2 was 1 DELETE k was 2");
}

TEST_F(WatchHub, StartsInThePastThenGoesOnLive) {
  Make();
  for (const char* value : {"1", "2", "3"}) Put("k", value);
  Request("create_request { key: 'k' start_revision: 3 prev_kv: true }");
  EXPECT_EQ(Take(), "created 0@4; 0@4 PUT k=2 was 1 PUT k=3 was 2");
  Put("k", "4");
  EXPECT_EQ(Take(), "0@5 PUT k=4 was 3");
}

TEST_F(WatchHub, StartsInTheFuture) {
  Make();
  Request("create_request { key: 'k' start_revision: 4 }");
  Put("k", "2");
  Request("progress_request {}");
  Put("k", "3");
  EXPECT_EQ(Take(), "created 0@1");
  Request("progress_request {}");
  Put("k", "4");
  EXPECT_EQ(Take(), "-1@3; 0@4 PUT k=4");
}

TEST_F(WatchHub, ReportsACompactedStart) {
  Make();
  for (int i = 0; i < 5; ++i) Put("k");
  Apply(CompactCommand(4));
  Request("create_request { key: 'k' start_revision: 3 }");
  Request("create_request { key: 'k' start_revision: 4 }");
  EXPECT_EQ(Take(),
            "created 0@6; 0@0 compacted 4 canceled; created 1@6; 1@6 PUT k=v PUT k=v PUT k=v");
  EXPECT_EQ(stream_->watches(), 1u);
}

TEST_F(WatchHub, AnswersWrongRequestsAsEtcd) {
  Make();
  Request("create_request { key: 'k' watch_id: 7 }");
  Request("create_request { key: 'k' watch_id: 7 }");
  Request("create_request { key: 'b' range_end: 'a' }");
  Request("create_request { key: 'b' range_end: 'b' }");
  Request("create_request { key: 'k' start_revision: -1 }");
  Request("cancel_request { watch_id: 3 }");
  Request("cancel_request { watch_id: 7 }");
  Request("progress_request {}");
  Request("");
  EXPECT_EQ(Take(),
            "created 7@1; "
            "created -1@1 canceled \"mvcc: duplicate watch ID provided on the WatchStream\"; "
            "created -1@1 canceled \"mvcc: watcher range is empty\"; "
            "created -1@1 canceled \"mvcc: watcher range is empty\"; "
            "created -1@1 canceled \"etcdserver: mvcc: required revision has been compacted\"; "
            "7@1 canceled");
}

TEST_F(WatchHub, FiltersAndEmptyKeys) {
  Make();
  Request("create_request { filters: NOPUT range_end: '\\000' }");
  Request("create_request { filters: NODELETE range_end: '\\000' }");
  Put("k");
  Apply(DeleteCommand("k"));
  EXPECT_EQ(Take(), "created 0@1; created 1@1; 1@2 PUT k=v; 0@3 DELETE k");
}

TEST_F(WatchHub, OneTransactionIsOneResponse) {
  Make();
  Request("create_request { key: 'a' range_end: 'z' prev_kv: true }");
  Put("a", "0");
  ApplyText(
      "txn { success { request_txn { success { request_put { key: 'a' value: '1' } } } }"
      "      success { request_txn { success { request_delete_range { key: 'a' } } } }"
      "      success { request_put { key: 'b' } } }");
  EXPECT_EQ(Take(), "created 0@1; 0@3 PUT a=0 PUT a=1 was 0 DELETE a was 0 PUT b=");
}

TEST_F(WatchHub, ASlowReaderFallsBehindAndCatchesUp) {
  Make({.stream_bytes_max = 1000, .all_bytes_max = 1 << 20, .inline_events = 2});
  Request("create_request { key: 'k' }");
  EXPECT_EQ(Take(), "created 0@1");
  std::string expected;
  for (int i = 0; i < 100; ++i) {
    Put("k", absl::StrCat(i));
    absl::StrAppend(&expected, " PUT k=", i);
    Run();
    EXPECT_LE(stream_->bytes(), 1000u);
    if (i == 50) {  // behind: no progress
      Request("progress_request {}");
    }
  }
  std::string got;
  for (int i = 0; i < 100; ++i) {
    Run();
    const auto response = stream_->Take();
    if (!response) continue;
    EXPECT_NE(response->watch_id(), -1);
    for (const auto& event : response->events()) {
      absl::StrAppend(&got, " PUT k=", event.kv().value());
    }
  }
  EXPECT_EQ(got, expected);
  Request("progress_request {}");
  EXPECT_EQ(Take(), "-1@101");
}

TEST_F(WatchHub, LargeRevisionsAreFragmentedOnlyOnRequest) {
  Make({.fragment_bytes = 600});
  Request("create_request { key: 'a' range_end: 'z' fragment: true }");
  Request("create_request { key: 'a' range_end: 'z' }");
  EXPECT_EQ(Take(), "created 0@1; created 1@1");
  ApplyText(
      "txn { success { request_put { key: 'a' } } success { request_put { key: 'b' } }"
      "      success { request_put { key: 'c' } } success { request_put { key: 'd' } }"
      "      success { request_put { key: 'e' } } }");
  EXPECT_EQ(Take(),
            "0@2 part PUT a= PUT b= PUT c= PUT d=; 0@2 PUT e=; "
            "1@2 PUT a= PUT b= PUT c= PUT d= PUT e=");
}

TEST_F(WatchHub, TooLargeARevisionCancelsTheWatch) {
  Make({.stream_bytes_max = 300, .response_bytes_max = 600, .open_bytes_max = 200});
  Request("create_request { key: 'a' range_end: 'z' }");
  Request("create_request { key: 'b' }");
  EXPECT_EQ(Take(), "created 0@1; created 1@1");
  ApplyText(
      "txn { success { request_put { key: 'a' } } success { request_put { key: 'b' } }"
      "      success { request_put { key: 'c' } } success { request_put { key: 'd' } }"
      "      success { request_put { key: 'e' } } }");
  const std::string got = Take();
  EXPECT_NE(got.find("0@2 canceled \"etcdserver: the events of one revision are too large"),
            std::string::npos)
      << got;
  EXPECT_NE(got.find("1@2 PUT b="), std::string::npos) << got;
}

TEST_F(WatchHub, ProgressNotifyWhenQuiet) {
  Make();
  Request("create_request { key: 'k' progress_notify: true }");
  Request("create_request { key: 'x' }");
  EXPECT_EQ(Take(), "created 0@1; created 1@1");
  Put("y");
  now_ += absl::Minutes(11);
  EXPECT_EQ(Take(), "0@2");
  Put("k");
  EXPECT_EQ(Take(), "0@3 PUT k=v");
  now_ += absl::Minutes(11);
  EXPECT_EQ(Take(), "");
  now_ += absl::Minutes(11);
  EXPECT_EQ(Take(), "0@3");
}

TEST_F(WatchHub, BoundsWatches) {
  Make({.stream_watches_max = 2, .stream_answers_max = 3});
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(stream_->WantsRequest());
    Request("create_request { key: 'k' }");
  }
  EXPECT_FALSE(stream_->WantsRequest());
  EXPECT_EQ(Take(),
            "created 0@1; created 1@1; created -1@1 canceled \"etcdserver: too many requests\"");
  EXPECT_TRUE(stream_->WantsRequest());
  stream_.reset();
  EXPECT_EQ(hub_->watches(), 0u);
  EXPECT_EQ(hub_->bytes(), 0u);
}

// One event for many watches is given to some of them in each Run. What happens in between must not
// lose or repeat an event, and progress must not fall behind the events that are queued.
TEST_F(WatchHub, DistributesOneRevisionInSteps) {
  Make();
  constexpr int kWatches = 20;
  for (int i = 0; i < kWatches; ++i) Request("create_request { key: 'k' }");
  (void)Take();
  Put("k", "1");
  const auto run = [this] { hub_->Run(*state_->Snapshot(), now_, {.steps_max = 3}); };
  run();
  Request("create_request { key: 'k' start_revision: 2 watch_id: 100 }");
  Request("create_request { key: 'k' watch_id: 101 }");
  Request("cancel_request { watch_id: 5 }");
  std::string got;
  bool asked = false;
  for (int i = 0; hub_->busy() || hub_->head() < 2; ++i) {
    ASSERT_LT(i, 100);
    run();
    got += Take(stream_.get()) + "; ";
    if (!asked && got.find(" 1@2 PUT") != std::string::npos) {
      asked = true;
      ASSERT_EQ(hub_->head(), 1) << "only some watches have got the event";
      Request("progress_request {}");
      EXPECT_EQ(Take(stream_.get()).find("-1@"), std::string::npos);
      Request("cancel_request { watch_id: 0 }");
      Request("cancel_request { watch_id: 19 }");
    }
  }
  got += Take();
  for (int i = 1; i < kWatches - 1; ++i) {
    const std::string event = absl::StrCat("; ", i, "@2 PUT k=1;");
    EXPECT_EQ(got.find(event) != std::string::npos, i != 5) << i << " in " << got;
    EXPECT_EQ(got.find(event), got.rfind(event)) << got;
  }
  EXPECT_NE(got.find("100@2 PUT k=1"), std::string::npos) << got;
  EXPECT_EQ(got.find("101@2 PUT"), std::string::npos) << got;
  EXPECT_NE(got.find("-1@2"), std::string::npos) << "the progress that was asked for: " << got;
}

// A few events with large keys cost as much as many small ones.
TEST_F(WatchHub, TheBytesOfEventsCost) {
  constexpr int kEvents = 10;
  const auto put = [this](char first) {
    for (int i = 0; i < kEvents; ++i) Put(absl::StrCat(std::string(1 << 20, first), i));
  };
  Make({.stream_bytes_max = 64 << 20});
  Request("create_request { key: 'k' range_end: 'l' }");
  (void)Take();
  for (const char first : {'a', 'k'}) {  // not wanted; wanted
    put(first);
    int runs = 0;
    for (; hub_->busy() || hub_->head() < state_->revision(); ++runs) {
      hub_->Run(*state_->Snapshot(), now_, {.steps_max = 300});
      stream_->Take();
    }
    EXPECT_GE(runs, kEvents / 2) << first;
    Run();
    while (stream_->Take()) Run();
  }

  // The loop's thread runs a catch-up of a few events itself, but not if they are this large.
  put('a');
  Run();
  Request("create_request { key: 'k' start_revision: 2 }");
  hub_->Run(*state_->Snapshot(), now_);
  (void)stream_->Take();
  stream_->Take();
  hub_->Run(*state_->Snapshot(), now_);
  const std::optional<CatchUp> order = hub_->TakeCatchUp();
  ASSERT_TRUE(order.has_value()) << "it was read on the loop's thread";
  EXPECT_FALSE(order->inline_only);
  int asked = 0;
  hub_->OnCaughtUp(RunCatchUp(*order, *state_->Snapshot(), [&] { return ++asked < 0; }));
  EXPECT_GE(asked, kEvents / 2);
}

// The limit holds for any number of clients that do not read, and for any size of one revision.
TEST_F(WatchHub, AllQueuesTogetherAreBounded) {
  const HubOptions options{.stream_bytes_max = 2000,
                           .stream_bytes_min = 500,
                           .all_bytes_max = 10'000,
                           .stall_max = absl::Seconds(10),
                           .open_bytes_max = 3000,
                           .catch_ups_max = 2};
  Make(options);
  std::vector<std::unique_ptr<Stream>> idle;
  const auto watch = Parse<WatchRequest>("create_request { key: 'a' range_end: 'z' }");
  for (int i = 0; i < 50; ++i) {
    idle.push_back(hub_->Open([] {}));
    idle.back()->OnRequest(watch, *state_->Snapshot(), now_);
  }
  Run();
  for (auto& stream : idle) EXPECT_EQ(Take(stream.get()), "created 0@1");
  const std::string value(1000, 'v');
  for (int i = 0; i < 30; ++i) {
    ApplyText(absl::StrCat("txn { success { request_put { key: 'a' value: '", value,
                           "' } } success { request_put { key: 'b' value: '", value, "' } } }"));
    Run();
    // The limit may be exceeded by the events of one revision, and by catch-ups that ran already.
    EXPECT_LT(hub_->bytes(), options.all_bytes_max + options.open_bytes_max + 2 * 2500);
  }
  EXPECT_GE(hub_->bytes(), options.all_bytes_max / 2);
  const auto stalled = [&] {
    return std::count_if(idle.begin(), idle.end(),
                         [this](const auto& stream) { return stream->Stalled(now_); });
  };
  EXPECT_EQ(stalled(), 0);
  now_ += absl::Seconds(11);
  Run();
  const auto reader = std::find_if(idle.begin(), idle.end(),
                                   [](const auto& stream) { return stream->bytes() > 0; });
  (void)(*reader)->Take();
  EXPECT_FALSE((*reader)->Stalled(now_)) << "its client reads";
  ASSERT_GT(stalled(), 3);
  Request("create_request { key: 'a' range_end: 'z' start_revision: 2 }");
  std::string got;
  for (int round = 0; round < 30 && got.find("PUT a=") == std::string::npos; ++round) {
    std::erase_if(idle, [this](const auto& stream) { return stream->Stalled(now_); });
    got += Take();
    now_ += absl::Seconds(11);
  }
  EXPECT_NE(got.find("PUT a="), std::string::npos) << "the memory is free for others";
}

// --- many random watches, checked against the model

// One client with one stream at a time. It reads when it likes.
class Client {
 public:
  Client(const Model* model, RandomRequests* random)
      : model_(*model), random_(*random), client_(model) {}

  void Connect(Hub* hub) {
    stream_.reset();
    stream_ = hub->Open([] {});
    client_.Connect();
  }

  void Act(const StateSnapshot& snapshot, MonotonicTime now) {
    if (random_.OneIn(4) && client_.open() < 8) client_.Add(RandomCreate());
    if (!stream_->WantsRequest()) return;
    std::optional<WatchRequest> request = client_.Next();
    if (!request && random_.OneIn(3)) request.emplace().mutable_progress_request();
    if (!request && random_.OneIn(20)) request = client_.CancelOne();
    if (request) stream_->OnRequest(*request, snapshot, now);
  }

  void CreateWaiting(const StateSnapshot& snapshot, MonotonicTime now) {
    if (!stream_->WantsRequest()) return;
    if (const auto request = client_.Next()) stream_->OnRequest(*request, snapshot, now);
  }

  // Takes up to `count` responses.
  void Read(int64_t count) {
    for (; count > 0; --count) {
      const auto response = stream_->Take();
      if (!response) return;
      ASSERT_EQ(client_.OnResponse(*response), "") << response->ShortDebugString().substr(0, 1000);
    }
  }

  const WatchClient& client() const { return client_; }

 private:
  WatchCreateRequest RandomCreate() {
    const etcdserverpb::RangeRequest range = random_.Range(model_.now());
    WatchCreateRequest request;
    request.set_key(range.key().empty() ? "k" : range.key());
    if (range.range_end() == std::string(1, '\0') || range.range_end() > request.key()) {
      request.set_range_end(range.range_end());
    }
    if (!random_.OneIn(3)) request.set_start_revision(random_.Revision(model_.now()));
    if (request.start_revision() < 0) request.clear_start_revision();
    request.set_prev_kv(random_.OneIn(2));
    request.set_fragment(random_.OneIn(4));
    request.set_progress_notify(random_.OneIn(2));
    if (random_.OneIn(5)) request.add_filters(WatchCreateRequest::NOPUT);
    if (random_.OneIn(5)) request.add_filters(WatchCreateRequest::NODELETE);
    return request;
  }

  const Model& model_;
  RandomRequests& random_;
  WatchClient client_;
  std::unique_ptr<Stream> stream_;
};

// One store, one hub and some clients, in random steps.
class Trial {
 public:
  explicit Trial(uint64_t seed)
      : random_(seed),
        state_(*StateMachine::Open(
            std::make_unique<MemoryEngine>(std::make_shared<MemoryDisk>(), Durability::kFlushed))),
        hub_(RandomOptions()) {
    for (int i = 0; i < 4; ++i) {
      clients_.emplace_back(&model_, &random_);
      clients_.back().Connect(&hub_);
    }
  }

  void Run(WatchClient::Counts* sum) {
    for (int step = 0; step < 3000 && !testing::Test::HasFatalFailure(); ++step) Step();
    for (int i = 0; i < 6000 && !testing::Test::HasFatalFailure(); ++i) {
      for (Client& client : clients_) {
        client.CreateWaiting(*state_->Snapshot(), now_);
        client.Read(100);
      }
      RunHub(/*calm=*/true);
    }
    for (const Client& client : clients_) {
      EXPECT_EQ(client.client().CheckComplete(), "");
      const WatchClient::Counts& counts = client.client().counts();
      sum->events += counts.events;
      sum->compacted += counts.compacted;
      sum->progress += counts.progress;
      sum->notified += counts.notified;
      sum->fragments += counts.fragments;
      sum->resumed += counts.resumed;
    }
    clients_.clear();
    EXPECT_EQ(hub_.bytes(), 0u);
    EXPECT_EQ(hub_.watches(), 0u);
  }

 private:
  HubOptions RandomOptions() {
    const auto some = [this](int64_t low, int64_t more) {
      return static_cast<size_t>(low + random_.Below(more));
    };
    return {.progress_interval = absl::Seconds(1),
            .stream_bytes_max = some(200, 3000),
            .stream_bytes_min = 150,
            .all_bytes_max = some(2000, 20'000),
            .stream_answers_max = 4,
            .fragment_bytes = some(500, 2000),
            .open_bytes_max = some(300, 5000),
            .inline_revisions = random_.Below(20),
            .inline_events = some(1, 20),
            .inline_runs_max = some(0, 4),
            .catch_up_events = some(20, 500),
            .catch_up_watches = some(1, 6),
            .jump = 5 + random_.Below(200)};
  }

  void Step() {
    now_ += absl::Milliseconds(20);
    std::vector<raft::Entry> entries;
    for (int64_t count = random_.Below(4); count > 0; --count) {
      proto::Command command = random_.Command(model_.now());
      if (command.has_compaction() && !random_.OneIn(20)) continue;
      const raft::Index index = state_->applied().index + 1 + entries.size();
      model_.Apply(command, index);
      entries.push_back(MakeEntry(1, index, command));
    }
    state_->Apply(entries);
    if (random_.OneIn(3)) state_->CompactStep(1 + random_.Below(30));
    for (Client& client : clients_) {
      if (random_.OneIn(5)) client.Act(*state_->Snapshot(), now_);
      if (random_.OneIn(4)) client.Read(1 + random_.Below(3));
      if (random_.OneIn(500)) client.Connect(&hub_);
    }
    if (random_.OneIn(2)) RunHub(/*calm=*/false);
  }

  void RunHub(bool calm) {
    const int64_t max = calm ? 1000 : 1 + random_.Below(10);
    hub_.Run(*state_->Snapshot(), now_, {.steps_max = static_cast<size_t>(max)});
    while (auto order = hub_.TakeCatchUp()) taken_.push_back(*std::move(order));
    while (!taken_.empty() && (calm || random_.OneIn(3))) {
      hub_.OnCaughtUp(RunCatchUp(taken_.front(), *state_->Snapshot()));
      taken_.pop_front();
    }
  }

  RandomRequests random_;
  Model model_;
  std::unique_ptr<StateMachine> state_;
  MonotonicTime now_;
  Hub hub_;
  std::vector<Client> clients_;
  std::deque<CatchUp> taken_;
};

TEST(WatchHubRandom, KeepsEtcdsPromises) {
  WatchClient::Counts sum;
  for (uint64_t seed = 1; seed <= 8 && !testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    Trial(seed).Run(&sum);
  }
  EXPECT_GT(sum.events, 10'000);
  EXPECT_GT(sum.compacted, 10);
  EXPECT_GT(sum.progress, 10);
  EXPECT_GT(sum.notified, 10);
  EXPECT_GT(sum.fragments, 10);
  EXPECT_GT(sum.resumed, 10);
}

}  // namespace
}  // namespace raftkv::watch
