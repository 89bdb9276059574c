// A log that was written and applied by the first release (recorded/record.cc) gives the same
// results for ever: the rules of a cluster version never change.

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "gtest/gtest.h"
#include "storage/base/checksum.h"
#include "storage/data_dir/data_dir.h"
#include "storage/engine/memory_engine.h"
#include "storage/state_machine.h"
#include "tests/storage/testing.h"

namespace raftkv {
namespace {

constexpr size_t kEntriesPerLine = 50;

std::string ReadFile(const std::string& name) {
  std::ifstream file(RAFTKV_SOURCE_DIR "/tests/storage/recorded/v1/" + name, std::ios::binary);
  CHECK(file.good()) << name;
  std::stringstream bytes;
  bytes << file.rdbuf();
  return bytes.str();
}

std::vector<raft::Entry> RecordedLog() {
  const std::string bytes = ReadFile("log");
  std::vector<raft::Entry> log;
  for (size_t at = 0; at < bytes.size();) {
    const size_t size = Fixed32(&bytes[at]);
    at += 4;
    CHECK_LE(size, bytes.size() - at);
    const raft::Index index = log.size() + 1;
    if (size == 0) {
      log.push_back({{.term = 1, .index = index}, raft::EntryType::kNoOp, {}});
    } else {
      log.push_back(MakeEntry(1, index, bytes.substr(at, size)));
    }
    at += size;
  }
  return log;
}

std::vector<std::string> RecordedResults() {
  std::istringstream lines(ReadFile("results"));
  std::vector<std::string> results;
  for (std::string line; std::getline(lines, line);) results.push_back(line);
  return results;
}

std::unique_ptr<StateMachine> OpenEmpty(StateMachineOptions options = {}) {
  return *StateMachine::Open(
      std::make_unique<MemoryEngine>(std::make_shared<MemoryDisk>(), Durability::kFlushed),
      options);
}

// The status with the error text of the first release. Error texts are not replicated, so later
// releases may change them.
std::string TextOfThen(const absl::Status& status) {
  return absl::StrReplaceAll(
      status.ToString(),
      {{"may take at most ", "may look at at most "},
       {" steps to read its ranges (one for each key, and more for a large key or value); ask for "
        "smaller ranges, or compact what was deleted",
        " keys in its ranges, large values counted for more; ask for smaller ranges, or compact "
        "what was deleted"}});
}

// Applies the log, `batch` entries at a time. Returns a line as in the file `results` for each 50
// entries.
std::vector<std::string> Replay(StateMachine* state, size_t batch, bool compact) {
  const std::vector<raft::Entry> log = RecordedLog();
  std::vector<std::string> lines;
  uint64_t answers = 0;
  for (size_t at = 0; at < log.size();) {
    const size_t to_line = kEntriesPerLine - at % kEntriesPerLine;
    const size_t wanted = std::min({batch, to_line, log.size() - at});
    const auto results = state->Apply(absl::MakeSpan(log).subspan(at, wanted));
    CHECK(!results.empty());
    for (const ApplyResult& result : results) {
      answers = Hash64(TextOfThen(result.status), answers);
      answers = Hash64(result.response.SerializeAsString(), answers);
    }
    at += results.size();
    if (compact && state->compacting()) state->CompactStep();
    if (at % kEntriesPerLine != 0) continue;
    const auto snapshot = state->Snapshot();
    lines.push_back(absl::StrFormat("%d %d %d %016x %08x %08x %016x", at, state->revision(),
                                    state->compacted_revision(), state->digest(),
                                    snapshot->HashKv(0)->hash, *snapshot->Hash(), answers));
  }
  return lines;
}

TEST(Recorded, Version1GivesTheSameResultsForEver) {
  const std::vector<std::string> expected = RecordedResults();
  ASSERT_GE(expected.size(), 15u);
  EXPECT_EQ(Replay(OpenEmpty().get(), /*batch=*/1, /*compact=*/true), expected);
  EXPECT_EQ(Replay(OpenEmpty().get(), /*batch=*/50, /*compact=*/false), expected);
}

// Otherwise the test above would not show that entries are judged by the rules of their version.
TEST(Recorded, ItHoldsEntriesThatVersion2JudgesOtherwise) {
  const auto state = OpenEmpty(
      {.rules_of = [](ClusterVersion) -> const Rules& { return RulesOf(kNewestVersion); }});
  EXPECT_NE(Replay(state.get(), /*batch=*/50, /*compact=*/false), RecordedResults());
}

// A data directory that raftkv-server 0.1.0 left at kill -9, with cluster version 4: a flushed
// state, table files of the log, and entries that are in its write-ahead log only. Later releases
// must open it, and come to the same state. (RESERVE and the LOCK files were removed.)
TEST(Recorded, ADirectoryOfVersion4GivesTheSameStateForEver) {
  const TempDir dir;
  DataDirOptions options;
  options.dir = dir / "n1";
  std::filesystem::copy(RAFTKV_SOURCE_DIR "/tests/storage/recorded/directory-v4", options.dir,
                        std::filesystem::copy_options::recursive);
  options.cluster_id = 0xd93a1b31a3f6ba4d;
  options.cluster_name = "recorded";
  options.member_id = 0x954ffca9f322a7f6;
  options.member_name = "n1";
  absl::StatusOr<DataDir> opened = OpenDataDir(options);
  ASSERT_TRUE(opened.ok()) << opened.status();
  EXPECT_TRUE(opened->warnings.empty()) << opened->warnings[0];
  EXPECT_EQ(opened->log->last_index(), 62u);
  EXPECT_EQ(opened->log->hard_state().current_term, 2u);
  EXPECT_TRUE(opened->log->may_vote());
  StateMachine& state = *opened->state;
  EXPECT_EQ(state.applied().index, 55u) << "the rest is replayed";
  while (state.applied().index < 62) {
    state.Apply(opened->log->Entries(state.applied().index + 1, 62, 1 << 20));
  }
  EXPECT_EQ(state.cluster_version(), 4u);
  EXPECT_EQ(state.members().all().size(), 1u);
  EXPECT_EQ(state.revision(), 53);
  EXPECT_EQ(state.compacted_revision(), 30);
  const auto snapshot = state.Snapshot();
  EXPECT_EQ(snapshot->HashKv(0)->hash, 72111523u) << "as raftkv endpoint hashkv printed it then";
  EXPECT_EQ(absl::StrFormat("%016x %08x", state.digest(), *snapshot->Hash()),
            "4bbae698acdf51b8 a694d240");
}

}  // namespace
}  // namespace raftkv
