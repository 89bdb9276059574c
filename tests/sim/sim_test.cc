// Tests of the simulator itself: a seed determines a run, the checkers find violations, and the
// list of planted bugs matches the product.

#include <filesystem>
#include <fstream>
#include <regex>
#include <set>
#include <sstream>
#include <string>

#include "gtest/gtest.h"
#include "storage/base/mutant.h"
#include "tests/sim/mutants.h"
#include "tests/sim/register_search.h"
#include "tests/sim/runner.h"
#include "tests/sim/world.h"

namespace raftkv::sim {
namespace {

TEST(Sim, OneSeedGivesOneRun) {
  const RunResult first = RunSeed(7, "", /*trace=*/false);
  const RunResult again = RunSeed(7, "", /*trace=*/false);
  EXPECT_EQ(first.invariant, "");
  EXPECT_EQ(first.trace_hash, again.trace_hash);
  EXPECT_EQ(first.events, again.events);
  EXPECT_NE(first.trace_hash, RunSeed(8, "", /*trace=*/false).trace_hash);
}

TEST(Sim, SeedMeetsItsMinima) {
  const Profile minima;
  const RunResult run = RunSeed(9, "", /*trace=*/false);
  EXPECT_EQ(run.invariant, "");
  EXPECT_GE(run.time, minima.time_min);
  EXPECT_GE(run.events, minima.events_min);
  EXPECT_GE(run.crashes, minima.crashes_min);
  EXPECT_GE(run.partitions, minima.partitions_min);
  EXPECT_GE(run.acknowledged_writes, minima.acknowledged_min);
}

TEST(Sim, PlantedBugEndsARunWithItsInvariant) {
  EXPECT_EQ(RunSeed(1, "reply-before-save", /*trace=*/false).invariant, "I7");
  EXPECT_EQ(RunSeed(1, "", /*trace=*/false).invariant, "");
}

// --- the history checker, with histories made by hand --------------------------------------------

class HistoryTest : public ::testing::Test {
 protected:
  // Commits a put with the number `operation` as the next entry. Returns the correct answer.
  ApplyResult Commit(uint64_t operation) {
    proto::Command command;
    command.mutable_put()->set_key("k");
    MarkOperation(operation, &command);
    raft::Entry entry{{1, ledger_.size() + 1},
                      raft::EntryType::kCommand,
                      raft::Payload(command.SerializeAsString())};
    chain_ = Mix(chain_, EntryHash(entry));
    ledger_.Commit(entry.id.index, 1, chain_, 1);
    ledger_.OnHandOver(0, {entry});
    const Model::Answer answer = model_.Apply(command, entry.id.index);
    ApplyResult result;
    result.status = answer.status;
    result.revision = answer.revision;
    result.response = answer.response;
    return result;
  }
  uint64_t Put() {
    proto::Command command;
    command.mutable_put()->set_key("k");
    return history_.Invoke(0, &command);
  }

  Verdict verdict_;
  Marks marks_;
  Ledger ledger_{1, [](const auto&...) {}, &verdict_};
  History history_{&ledger_, &marks_, &verdict_};
  Model model_;
  uint64_t chain_ = 0;
};

TEST_F(HistoryTest, AcceptsACorrectHistory) {
  const uint64_t put = Put();
  history_.OnProposed(put, Fate::kApplied, Commit(put));
  const uint64_t lost = Put();
  history_.OnProposed(lost, Fate::kUnknownLeaderLost, {});
  Commit(lost);
  history_.Finish();
  EXPECT_EQ(verdict_.what(), "");
}

TEST_F(HistoryTest, FindsAnAcknowledgementWithoutACommit) {
  const uint64_t put = Put();
  history_.OnProposed(put, Fate::kApplied, {});
  EXPECT_EQ(verdict_.invariant(), "I16");
}

TEST_F(HistoryTest, FindsASecondAnswer) {
  const uint64_t put = Put();
  const ApplyResult result = Commit(put);
  history_.OnProposed(put, Fate::kApplied, result);
  history_.OnProposed(put, Fate::kApplied, result);
  EXPECT_EQ(verdict_.invariant(), "I16");
}

TEST_F(HistoryTest, FindsAWriteThatIsAppliedTwice) {
  const uint64_t put = Put();
  Commit(put);
  Commit(put);
  EXPECT_EQ(verdict_.invariant(), "I16");
}

TEST_F(HistoryTest, FindsAFailedWriteThatIsAppliedLater) {
  const uint64_t put = Put();
  history_.OnProposed(put, Fate::kTimedOut, {});
  EXPECT_EQ(verdict_.what(), "");
  Commit(put);
  history_.Finish();
  EXPECT_EQ(verdict_.invariant(), "I16");
}

TEST_F(HistoryTest, FindsAWrongAnswer) {
  const uint64_t put = Put();
  ApplyResult result = Commit(put);
  ++result.revision;
  history_.OnProposed(put, Fate::kApplied, result);
  EXPECT_EQ(verdict_.invariant(), "I16");
}

TEST_F(HistoryTest, FindsAWriteOrderedBeforeOneThatWasKnown) {
  const uint64_t early = Put();
  const ApplyResult early_result = Commit(early);
  const uint64_t other = Put();
  history_.OnProposed(other, Fate::kApplied, Commit(other));
  // It is invoked after `other` was answered, but its answer is that of an earlier entry.
  const uint64_t late = Put();
  EXPECT_EQ(late, 3u);
  Commit(late);
  history_.OnProposed(late, Fate::kApplied, early_result);
  EXPECT_EQ(verdict_.invariant(), "I16");
}

TEST_F(HistoryTest, FindsAStaleRead) {
  auto state_machine = StateMachine::Open(
      std::make_unique<MemoryEngine>(std::make_shared<MemoryDisk>(), Durability::kFlushed));
  ASSERT_TRUE(state_machine.ok());
  const uint64_t put = Put();
  history_.OnProposed(put, Fate::kApplied, Commit(put));
  etcdserverpb::RangeRequest range;
  range.set_key("k");
  const uint64_t read = history_.Invoke(0, range);
  history_.OnRead(read, Fate::kApplied, **state_machine);  // this state machine is empty
  EXPECT_EQ(verdict_.invariant(), "I10");
}

// --- the search for an order of operations -------------------------------------------------------

class SearchTest : public ::testing::Test {
 protected:
  void Write(uint64_t operation) {
    search_.StartWrite(operation, operation);
    search_.EndWrite(operation);
  }
  void Read(uint64_t operation, uint64_t value) {
    search_.StartRead(operation);
    search_.EndRead(operation, value);
  }
  std::string Found() {
    search_.Check();
    return verdict_.invariant();
  }

  Verdict verdict_;
  Marks marks_;
  RegisterSearch search_{&marks_, &verdict_};
};

TEST_F(SearchTest, AcceptsReadsThatOverlapAWrite) {
  Write(1);
  search_.StartWrite(2, 2);
  Read(3, 1);
  Read(4, 2);
  search_.EndWrite(2);
  Read(5, 2);
  EXPECT_EQ(Found(), "");
  EXPECT_GT(marks_[Mark::kRegisterSearched], 0);
}

TEST_F(SearchTest, FindsAStaleRead) {
  Write(1);
  Write(2);
  Read(3, 1);
  EXPECT_EQ(Found(), "search");
}

TEST_F(SearchTest, FindsReadsThatGoBack) {
  Write(1);
  search_.StartWrite(2, 2);
  Read(3, 2);
  Read(4, 1);
  EXPECT_EQ(Found(), "search");
}

TEST_F(SearchTest, WriteOfUnknownFateMayTakeEffectLaterOrNever) {
  Write(1);
  search_.StartWrite(2, 2);
  for (uint64_t i = 3; i < 60; ++i) Read(i, i < 40 ? 1 : 2);
  EXPECT_EQ(Found(), "");
}

TEST_F(SearchTest, WriteThatCertainlyFailedHasNoEffect) {
  Write(1);
  search_.StartWrite(2, 2);
  search_.Drop(2);
  Read(3, 2);
  EXPECT_EQ(Found(), "search");
}

TEST_F(SearchTest, FindsADeletionThatIsForgotten) {
  Write(1);
  search_.StartWrite(2, 0);
  search_.EndWrite(2);
  Read(3, 1);
  EXPECT_EQ(Found(), "search");
}

// The search alone finds stale reads. The check of the answers' revisions (I10) is off.
TEST(Sim, SearchFindsStaleReads) {
  std::string found;
  for (uint64_t seed = 1; seed <= 40 && found != "search"; ++seed) {
    Rng rng(seed);
    Profile profile = DrawProfile(&rng);
    profile.search = 70 * kPercent;
    profile.think = 20 * kMillisecond;
    g_mutant = "read-skips-apply-queue";
    const RunOptions options{.seed = seed, .check_core = false, .ignored = "I10"};
    found = World(options, profile).Run().invariant;
    g_mutant = "";
  }
  EXPECT_EQ(found, "search");
}

TEST(Sim, CoresOfOneSeedGiveOneRun) {
  const RunResult first = RunSeed(7, "", /*trace=*/false, Kind::kCores);
  EXPECT_EQ(first.invariant, "");
  EXPECT_EQ(first.trace_hash, RunSeed(7, "", /*trace=*/false, Kind::kCores).trace_hash);
  EXPECT_EQ(RunSeed(1, "reply-before-save", /*trace=*/false, Kind::kCores).invariant, "I7");
}

// --- the list of planted bugs --------------------------------------------------------------------

TEST(Mutants, ListMatchesTheProduct) {
  std::set<std::string> planted;
  const std::regex macro("RAFTKV_MUTANT\\(\"([^\"]+)\"\\)");
  for (const char* directory : {"server", "storage"}) {
    for (const auto& file : std::filesystem::recursive_directory_iterator(
             std::filesystem::path(RAFTKV_SOURCE_DIR) / directory)) {
      if (file.path().extension() != ".cc" && file.path().extension() != ".h") continue;
      std::stringstream text;
      text << std::ifstream(file.path()).rdbuf();
      const std::string source = text.str();
      for (std::sregex_iterator it(source.begin(), source.end(), macro), end; it != end; ++it) {
        planted.insert((*it)[1]);
      }
    }
  }
  std::set<std::string> listed;
  for (const Mutant& mutant : Mutants()) listed.emplace(mutant.name);
  EXPECT_EQ(listed, planted);
}

}  // namespace
}  // namespace raftkv::sim
