// Reading while entries are applied: snapshots from any thread, and readers that give up.

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "storage/engine/memory_engine.h"
#include "storage/mvcc/layout.h"
#include "tests/storage/rocks.h"
#include "tests/storage/store_test.h"

namespace raftkv {
namespace {

using etcdserverpb::RangeRequest;
using etcdserverpb::RangeResponse;
using etcdserverpb::TxnResponse;

std::unique_ptr<StateMachine> OpenState(std::unique_ptr<Engine> engine) {
  auto state = StateMachine::Open(std::move(engine));
  CHECK(state.ok()) << state.status();
  return *std::move(state);
}

// Each entry writes two keys together and advances the revision and the applied index by one.
void CheckSnapshot(const StateSnapshot& snapshot) {
  RangeResponse response;
  ASSERT_TRUE(snapshot.Range(AllKeys(), Limits(), &response).ok());
  const Revision revision = snapshot.revision();
  ASSERT_EQ(response.header().revision(), revision);
  ASSERT_EQ(revision, static_cast<Revision>(snapshot.applied().index) + 1);
  ASSERT_EQ(response.count(), revision == 1 ? 0 : 2);
  for (const mvccpb::KeyValue& kv : response.kvs()) {
    ASSERT_EQ(kv.value(), absl::StrCat("v", revision));
    ASSERT_EQ(kv.mod_revision(), revision);
  }
}

raft::Entry PutTwo(raft::Index index) {
  const std::string put = absl::StrCat("' value: 'v", index + 1, "' } }");
  return MakeEntry(1, index,
                   Parse<proto::Command>("txn { success { request_put { key: 'a" + put +
                                         "success { request_put { key: 'b" + put + "}"));
}

void ReadBesideTheApplier(std::unique_ptr<Engine> engine) {
  const std::unique_ptr<StateMachine> state = OpenState(std::move(engine));
  std::atomic<bool> done{false};
  std::atomic<int> rounds{0};
  std::vector<std::thread> readers;
  for (int i = 0; i < 2; ++i) {
    readers.emplace_back([&] {
      raft::Index last = 0;
      while (!done) {
        const auto snapshot = state->Snapshot();
        ASSERT_GE(snapshot->applied().index, last);
        last = snapshot->applied().index;
        CheckSnapshot(*snapshot);
        (void)state->DiskBytes();
        if (++rounds % 50 == 0) state->StartDefragment();
      }
    });
  }
  raft::Index index = 0;
  for (int batch = 0; batch < 400 || rounds < 100; ++batch) {
    std::vector<raft::Entry> entries;
    for (int i = 0; i <= batch % 5; ++i) entries.push_back(PutTwo(++index));
    state->Apply(entries);
    EXPECT_EQ(state->Snapshot()->applied().index, index) << "what was applied is seen";
  }
  done = true;
  for (std::thread& reader : readers) reader.join();
}

TEST(Snapshot, FromAnyThreadWhileTheMemoryEngineApplies) {
  ReadBesideTheApplier(
      std::make_unique<MemoryEngine>(std::make_shared<MemoryDisk>(), Durability::kFlushed));
}

TEST(Snapshot, FromAnyThreadWhileRocksApplies) {
  TempDir dir;
  ReadBesideTheApplier(OpenRocks(dir / "db"));
}

// Using an engine during a write would wait for that write. In this engine it is an error.
class BusyEngine final : public Engine {
 public:
  void Write(const WriteBatch& batch, bool sync) override {
    writing_ = true;
    if (meanwhile) std::thread(meanwhile).join();
    writing_ = false;
    engine_.Write(batch, sync);
    ++writes;
  }
  std::shared_ptr<const View> NewView() const override {
    EXPECT_FALSE(writing_) << "a view is taken in the middle of a write";
    return engine_.NewView();
  }
  std::optional<std::string> Get(std::string_view key) const override { return engine_.Get(key); }
  std::unique_ptr<Iterator> NewIterator(std::string_view upper,
                                        int64_t* skips_left) const override {
    return engine_.NewIterator(upper, skips_left);
  }
  absl::Status Scan(std::string_view begin, std::string_view end,
                    const Visitor& visit) const override {
    return engine_.Scan(begin, end, visit);
  }
  absl::StatusOr<std::optional<KeyValue>> Last() const override { return engine_.Last(); }
  void Drop(std::string_view end) override { engine_.Drop(end); }
  uint64_t written() const override { return engine_.written(); }
  uint64_t survived() const override { return engine_.survived(); }
  void Flush() override { engine_.Flush(); }
  void StartFlush() override { engine_.StartFlush(); }
  uint64_t DiskBytes() const override { return engine_.DiskBytes(); }
  bool WouldStall() const override { return false; }

  std::function<void()> meanwhile;
  int writes = 0;

 private:
  MemoryEngine engine_{std::make_shared<MemoryDisk>(), Durability::kFlushed};
  std::atomic<bool> writing_{false};
};

TEST(Snapshot, InTheMiddleOfAWriteIsTheStateBefore) {
  auto owned = std::make_unique<BusyEngine>();
  BusyEngine* const engine = owned.get();
  const std::unique_ptr<StateMachine> state = OpenState(std::move(owned));
  raft::Index expected = 0;
  engine->meanwhile = [&] {
    EXPECT_EQ(state->Snapshot()->applied().index, expected);
    CheckSnapshot(*state->Snapshot());
  };
  for (raft::Index index = 1; index <= 20; ++index) {
    if (index % 3 == 0) (void)state->Snapshot();
    state->Apply({PutTwo(index)});
    expected = index;
  }
  state->Apply({MakeEntry(1, 21, CompactCommand(state->revision()))});
  expected = 21;
  engine->meanwhile = [&] { EXPECT_EQ(state->Snapshot()->applied().index, expected); };
  while (state->compacting()) state->CompactStep(3);
  EXPECT_GT(engine->writes, 25);
}

class GiveUp : public StoreTest {
 protected:
  static constexpr int kKeys = 5'000;
  static constexpr int kQuestions = kKeys / Meter::kStepsPerQuestion;

  GiveUp() {
    std::vector<raft::Entry> entries;
    for (raft::Index i = 1; i <= kKeys; ++i) {
      entries.push_back(MakeEntry(1, i, PutCommand(absl::StrCat("k", i), "v")));
    }
    state_->Apply(entries);
  }

  // How often give_up is asked during a read, and that the read ends when it says so.
  void Check(const std::function<absl::Status(const std::function<bool()>&)>& read,
             int questions_min) {
    int asked = 0;
    EXPECT_TRUE(read([&asked] { return ++asked < 0; }).ok());
    EXPECT_GE(asked, questions_min);
    EXPECT_LE(asked, 2 * questions_min + 1);
    asked = 0;
    const absl::Status status = read([&asked] { return ++asked == 2; });
    EXPECT_TRUE(absl::IsCancelled(status)) << status;
    EXPECT_EQ(asked, 2) << "and not asked again";
  }
  std::function<absl::Status(const std::function<bool()>&)> Reading(RangeRequest request) {
    return [this, request](const std::function<bool()>& give_up) {
      RangeResponse response;
      return state_->Snapshot()->Range(request, {.give_up = give_up}, &response);
    };
  }
};

TEST_F(GiveUp, RangesAndTheirSorts) {
  Check(Reading(AllKeys()), kQuestions);
  RangeRequest sorted = AllKeys();
  sorted.set_sort_target(RangeRequest::MOD);
  sorted.set_sort_order(RangeRequest::DESCEND);
  sorted.set_limit(3);
  Check(Reading(sorted), kQuestions);
}

TEST_F(GiveUp, CountsOfThePast) {
  RangeRequest count = AllKeys(2);
  count.set_count_only(true);
  Check(Reading(count), kQuestions - 1);
}

TEST_F(GiveUp, TransactionsCountAllTheirOperationsTogether) {
  etcdserverpb::TxnRequest request;
  for (int i = 0; i < 50; ++i) {
    RangeRequest* range = request.add_success()->mutable_request_range();
    range->set_key("k1");
    range->set_range_end("k12");  // 222 keys
  }
  Check(
      [&](const std::function<bool()>& give_up) {
        TxnResponse response;
        return state_->Snapshot()->Txn(request, {.give_up = give_up}, &response);
      },
      50 * 222 / Meter::kStepsPerQuestion);
}

TEST_F(GiveUp, Hashes) {
  Check([this](const auto& give_up) { return state_->Snapshot()->HashKv(0, give_up).status(); },
        kQuestions);
  Check([this](const auto& give_up) { return state_->Snapshot()->Hash(give_up).status(); },
        kQuestions);
}

}  // namespace
}  // namespace raftkv
