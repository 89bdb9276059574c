// Crashes at every point of a compaction: a sequence of puts, deletes, transactions, compactions,
// steps of physical compaction and flushes is stopped before each single write and flush of the
// engine. Then the store is opened again, the log is replayed from its applied index, and
// everything that can be read is compared with the model. On the memory engine at every point, on
// RocksDB at a sample of them.

#include <algorithm>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "storage/mvcc/layout.h"
#include "storage/state_machine.h"
#include "tests/model/random_requests.h"
#include "tests/sim/disk.h"
#include "tests/storage/rocks.h"
#include "tests/storage/testing.h"

namespace raftkv {
namespace {

using etcdserverpb::RangeRequest;
using etcdserverpb::RangeResponse;

// A random sequence of steps, determined by a seed, and what the model says after each entry.
class Story {
 public:
  static constexpr int kEntries = 110;

  explicit Story(uint64_t seed) {
    RandomRequests random(seed);
    auto reference = StateMachine::Open(
        std::make_unique<MemoryEngine>(std::make_shared<MemoryDisk>(), Durability::kFlushed));
    CHECK(reference.ok());
    moments_.push_back(model_.now());
    hashes_.push_back(HashOf(**reference));
    while (log_.size() < kEntries) {
      proto::Command command = random.Command(model_.now());
      if (random.OneIn(6)) {
        command.mutable_compaction()->set_revision(
            std::min(model_.revision(), model_.now().compacted + 1 + random.Below(12)));
      }
      model_.Apply(command, log_.size() + 1);
      log_.push_back(MakeEntry(1, log_.size() + 1, command));
      moments_.push_back(model_.now());
      (*reference)->Apply({log_.back()});
      hashes_.push_back(HashOf(**reference));
    }
    for (raft::Index next = 0; next < kEntries;) {
      const int64_t draw = random.Below(10);
      if (draw < 5) {
        const raft::Index count = std::min<raft::Index>(1 + random.Below(4), kEntries - next);
        steps_.push_back({Do::kApply, static_cast<int64_t>(count)});
        next += count;
      } else if (draw < 8) {
        steps_.push_back({Do::kCompact, 1 + random.Below(6)});
      } else {
        steps_.push_back({Do::kFlush, 0});
      }
    }
  }

  size_t steps() const { return steps_.size(); }

  // Runs the first `steps` steps on the empty `state`, as long as `alive`. Returns what was
  // reported as persisted at the end.
  raft::EntryId Tell(StateMachine* state, size_t steps, const std::function<bool()>& alive) const {
    raft::EntryId persisted;
    size_t next = 0;
    for (size_t i = 0; i < steps && alive(); ++i) {
      const auto [what, count] = steps_[i];
      if (what == Do::kApply) {
        state->Apply(absl::MakeSpan(&log_[next], static_cast<size_t>(count)));
        next += static_cast<size_t>(count);
      } else if (what == Do::kCompact) {
        state->CompactStep(count);
      } else {
        state->Flush();
      }
      if (alive()) persisted = state->persisted_applied();
    }
    return persisted;
  }

  // Checks the store after a crash: its contents, the replay, and the state after that.
  void Check(StateMachine* state, raft::EntryId persisted, RandomRequests* random) const {
    ASSERT_GE(state->applied(), persisted) << "what was reported as persisted is lost";
    ASSERT_LE(state->applied().index, log_.size());
    CheckContents(*state);
    while (state->applied().index < log_.size() && !testing::Test::HasFatalFailure()) {
      const raft::Index next = state->applied().index;
      const size_t count =
          std::min<size_t>(1 + static_cast<size_t>(random->Below(20)), log_.size() - next);
      state->Apply(absl::MakeSpan(&log_[next], count));
      if (random->OneIn(2)) state->CompactStep(1 + random->Below(6));
      if (random->OneIn(6)) state->Flush();
    }
    CheckContents(*state);
    int64_t left = 10 * kEntries;
    for (; left > 0 && state->compacting(); --left) state->CompactStep(1);
    EXPECT_GT(left, 0) << "physical compaction does not end";
    EXPECT_EQ(state->compaction_done(), state->compacted_revision());
    CheckContents(*state);
    state->Flush();
  }

  // After the end of the physical compaction, exactly what can still be read must be stored.
  void CheckStored(const Engine& engine) const {
    const Model::Moment at = model_.now();
    std::set<std::pair<std::string, int64_t>> found;
    CHECK(engine
              .Scan(std::string(1, mvcc::kVersionTable), std::string(1, mvcc::kVersionTable + 1),
                    [&](std::string_view key, std::string_view) {
                      found.emplace(mvcc::UserKey(mvcc::VersionPrefix(key)),
                                    mvcc::VersionRevision(key));
                      return absl::OkStatus();
                    })
              .ok());
    EXPECT_EQ(found, model_.Stored(at));
    std::string first;
    mvcc::AppendEventKey({at.compacted, 0}, &first);
    CHECK(engine
              .Scan(std::string(1, mvcc::kEventTable), first,
                    [&](std::string_view, std::string_view) {
                      ADD_FAILURE() << "an event before the compacted revision is still stored";
                      return absl::OkStatus();
                    })
              .ok());
  }

 private:
  enum class Do { kApply, kCompact, kFlush };

  static uint32_t HashOf(const StateMachine& state) {
    const auto hash = state.Snapshot()->HashKv(0);
    CHECK(hash.ok()) << hash.status();
    return hash->hash;
  }

  void CheckContents(const StateMachine& state) const {
    const Model::Moment at = moments_[state.applied().index];
    ASSERT_EQ(state.revision(), at.revision) << "at entry " << state.applied().index;
    ASSERT_EQ(state.compacted_revision(), at.compacted) << "at entry " << state.applied().index;
    ASSERT_LE(state.compaction_done(), at.compacted);
    ASSERT_EQ(HashOf(state), hashes_[state.applied().index]);
    const auto snapshot = state.Snapshot();
    RangeRequest all;
    all.set_key(std::string(1, '\0'));
    all.set_range_end(std::string(1, '\0'));
    for (int64_t r = std::max<int64_t>(at.compacted - 1, 1); r <= at.revision; ++r) {
      all.set_revision(r);
      RangeResponse expected, found;
      ASSERT_EQ(snapshot->Range(all, Limits(), &found), model_.Range(all, at, &expected));
      ASSERT_EQ(found.ShortDebugString(), expected.ShortDebugString()) << "at revision " << r;
    }
  }

  Model model_;
  std::vector<raft::Entry> log_;
  std::vector<Model::Moment> moments_;  // after so many entries
  std::vector<uint32_t> hashes_;        // of a store that was never cut nor compacted physically
  std::vector<std::pair<Do, int64_t>> steps_;
};

// Crashes before each write and flush, until a run ends without a crash.
TEST(CompactionCrash, EveryWriteAndFlushOfTheMemoryEngine) {
  int points = 0;
  for (uint64_t seed = 1; seed <= 8; ++seed) {
    const Story story(seed);
    bool cut = true;
    for (int effects = 0; cut && !HasFailure(); ++effects) {
      SCOPED_TRACE(testing::Message() << "story " << seed << ", cut before effect " << effects);
      sim::Disk disk;
      raft::EntryId persisted;
      {
        sim::Fuse fuse;
        fuse.on_blow = [&disk] { disk.NoteCrashPoint(); };
        auto state = StateMachine::Open(disk.OpenState(&fuse));
        ASSERT_TRUE(state.ok()) << state.status();
        fuse.Arm(effects);
        persisted = story.Tell(state->get(), story.steps(), [&] { return !fuse.blown(); });
        cut = fuse.blown();
      }
      sim::Rng rng(seed * 1000 + static_cast<uint64_t>(effects));
      disk.Crash(&rng);
      sim::Fuse fuse;
      {
        auto state = StateMachine::Open(disk.OpenState(&fuse));
        ASSERT_TRUE(state.ok()) << state.status();
        RandomRequests random(rng.Next());
        story.Check(state->get(), persisted, &random);
      }
      story.CheckStored(*disk.OpenState(&fuse));
      ++points;
    }
  }
  EXPECT_GT(points, 500);
}

// Closing the engine is a crash: there is no write-ahead log, so what was not flushed is lost.
TEST(CompactionCrash, SomeStepsOnRocks) {
  RandomRequests random(99);
  for (uint64_t seed = 1; seed <= 36 && !HasFailure(); ++seed) {
    const Story story(seed);
    const size_t steps = static_cast<size_t>(random.Below(static_cast<int64_t>(story.steps()) + 1));
    SCOPED_TRACE(testing::Message() << "story " << seed << ", cut after " << steps << " steps");
    TempDir dir;
    raft::EntryId persisted;
    {
      auto state = StateMachine::Open(OpenRocks(dir / "sm"));
      ASSERT_TRUE(state.ok()) << state.status();
      persisted = story.Tell(state->get(), steps, [] { return true; });
    }
    {
      auto state = StateMachine::Open(OpenRocks(dir / "sm"));
      ASSERT_TRUE(state.ok()) << state.status();
      story.Check(state->get(), persisted, &random);
    }
    story.CheckStored(*OpenRocks(dir / "sm"));
  }
}

}  // namespace
}  // namespace raftkv
