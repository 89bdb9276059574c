// One flipped bit in each kind of file of a data directory, and in the files of a snapshot that
// arrives. One of three results is right: the member does not start; it repairs itself from its
// own log or from its peers; or the bit does not matter. It must never start with less than it had,
// or with something else.

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "gtest/gtest.h"
#include "storage/base/checksum.h"
#include "tests/storage/crash_jobs.h"
#include "tests/storage/crash_story.h"

namespace raftkv {
namespace {

namespace fs = std::filesystem;

// The contents that a directory must have. Written to a file, because another process compares
// them.
struct Expected {
  raft::Index first = 0, last = 0;
  uint64_t chain_hash = 0, digest = 0;
  uint32_t hash = 0;

  static Expected Of(DataDir* dir) {
    const LogStore& log = *dir->log;
    const raft::Index applied = dir->state->applied().index;
    dir->state->Apply(log.Entries(applied + 1, log.last_index(), SIZE_MAX));
    const auto hash = dir->state->Snapshot()->HashKv(0);
    CHECK(hash.ok()) << hash.status();
    return {log.first_index(), log.last_index(), log.ChainHash(log.last_index()),
            dir->state->digest(), hash->hash};
  }
  std::string ToString() const {
    return absl::StrCat(first, " ", last, " ", chain_hash, " ", digest, " ", hash, "\n");
  }
};

DataDirOptions Options(const std::string& dir) {
  DataDirOptions options = TestDirOptions(dir);
  options.cache_bytes = 1 << 20;
  return options;
}

DataDir MustOpen(const std::string& dir) {
  absl::StatusOr<DataDir> opened = OpenDataDir(Options(dir));
  CHECK(opened.ok()) << opened.status();
  return *std::move(opened);
}

void Add(DataDir* dir, History* history, uint64_t count) {
  const auto entries = history->Draw(history->last_id(), 1, count);
  for (const raft::Entry& entry : entries) {
    dir->log->Save(raft::HardState{1, 1, entry.id.index}, {entry});
  }
  history->Commit(entries);
  dir->state->Apply(entries);
}

// A directory with files of every kind. `cut`: the log starts after an installed snapshot, so the
// state machine cannot be rebuilt from it.
void Fill(const std::string& dir, History* history, bool cut) {
  DataDir member = MustOpen(dir);
  if (cut) {
    history->Commit(history->Draw(history->last_id(), 1, 30));
    std::unique_ptr<ReceivedSnapshot> received = history->Send(member.states.get());
    const LogStore::Tip base = received->base();
    std::unique_ptr<StateMachine> state = member.states->Replace(std::move(received));
    member.log->Reset(base);
    member.states->Replaced();
    member.state->Install(std::move(state));
  }
  Add(&member, history, 60);
  member.state->Flush();
  Add(&member, history, 60);
  member.state->Flush();
  member = DataDir();
  member = MustOpen(dir);  // moves the log up to here into a table file
  member.state->Apply(
      member.log->Entries(member.state->applied().index + 1, member.log->last_index(), SIZE_MAX));
  Add(&member, history, 40);
}

// The kind of a file, from its path in the data directory. Empty: nothing depends on it.
std::string KindOf(const std::string& path) {
  const fs::path p(path);
  const std::string name = p.filename().string();
  const std::string dir = p.parent_path().string();
  if (dir.empty()) return name == "LOCK" ? "" : name;
  const std::string whose = dir == "log" ? "log/" : "sm/";
  if (name.starts_with("LOG")) return "";
  for (const char* prefix : {"MANIFEST", "OPTIONS"}) {
    if (name.starts_with(prefix)) return absl::StrCat(whose, prefix);
  }
  for (const char* suffix : {".sst", ".blob", ".log"}) {
    if (name.ends_with(suffix)) return absl::StrCat(whose, "*", suffix);
  }
  return whose + name;
}

void FlipBit(const std::string& path, uint64_t bit) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekg(static_cast<std::streamoff>(bit / 8));
  const char byte = static_cast<char>(file.get() ^ (1 << (bit % 8)));
  file.seekp(static_cast<std::streamoff>(bit / 8));
  file.put(byte);
  CHECK(file.good()) << path;
}

enum Outcome { kDeclined, kRepaired, kHarmless, kLost, kOutcomes };
using Table = std::map<std::string, std::array<int, kOutcomes>>;

void Print(const char* title, const Table& table) {
  std::printf("%-28s %10s %10s %10s %10s\n", title, "declined", "repaired", "harmless", "lost");
  for (const auto& [kind, counts] : table) {
    std::printf("%-28s", kind.c_str());
    for (const int count : counts) std::printf(" %10d", count);
    std::printf("\n");
  }
  std::fflush(stdout);
}

Outcome OutcomeOf(const std::string& dir) {
  int status = RunCrashJob("--check", dir);
  // A read found the damage, and noted it for the next start.
  if (WIFEXITED(status) && WEXITSTATUS(status) == 66) status = RunCrashJob("--check", dir);
  if (!WIFEXITED(status)) return kLost;
  switch (WEXITSTATUS(status)) {
    case kExitWhole:
      return kHarmless;
    case kExitDeclined:
      return kDeclined;
    case kExitRepaired:
      return kRepaired;
    default:
      return kLost;
  }
}

int FlipsOfEachKind() { return std::getenv("RAFTKV_SOAK") != nullptr ? 150 : 2; }

TEST(BitFlips, OfTheDataDirectoryLoseNothingSilently) {
  for (const bool cut : {false, true}) {
    const TempDir dir;
    History history(dir / "sender");
    Fill(dir / "whole", &history, cut);
    fs::copy(dir / "whole", dir / "copy", fs::copy_options::recursive);
    {
      DataDir member = MustOpen(dir / "copy");
      std::ofstream(dir / "expected") << Expected::Of(&member).ToString();
    }
    std::map<std::string, std::vector<std::string>> files;  // by kind
    for (const auto& entry : fs::recursive_directory_iterator(dir / "whole")) {
      if (!entry.is_regular_file() || entry.file_size() == 0) continue;
      const std::string path = fs::relative(entry.path(), dir / "whole").string();
      if (const std::string kind = KindOf(path); !kind.empty()) files[kind].push_back(path);
    }
    Table table;
    sim::Rng rng(cut ? 2 : 1);
    for (const auto& [kind, paths] : files) {
      for (int i = 0; i < FlipsOfEachKind(); ++i) {
        fs::remove_all(dir / "copy");
        fs::copy(dir / "whole", dir / "copy", fs::copy_options::recursive);
        const std::string path = dir / ("copy/" + paths[rng.Below(paths.size())]);
        uint64_t bit = rng.Below(8 * fs::file_size(path));
        if (kind == "log/WATERMARK") bit = rng.Below(2) * 8 * 4096 + rng.Below(84 * 8);
        FlipBit(path, bit);
        const Outcome outcome = OutcomeOf(dir / "copy");
        ++table[kind][outcome];
        EXPECT_NE(outcome, kLost) << path << ", bit " << bit << (cut ? ", cut log" : "");
      }
    }
    Print(cut ? "cut log" : "log from entry 1", table);
    EXPECT_GE(table.size(), 9u);
    EXPECT_GT(table["log/*.log"][kDeclined], 0);
    EXPECT_GT(table["sm/*.sst"][cut ? kDeclined : kRepaired], 0);
    EXPECT_GT(table["sm/*.blob"][cut ? kDeclined : kRepaired], 0);
  }
}

// A table file ends with a footer of this size. About 30 of its bytes have no meaning and no
// checksum. Every other byte of the file has a checksum.
constexpr size_t kFooterBytes = 53;

// A peer's disk damaged the files before it sent them: the checksums of the chunks are right.
TEST(BitFlips, OfASnapshotThatArrivesAreFound) {
  const TempDir dir;
  History history(dir / "sender");
  history.Commit(history.Draw(history.last_id(), 1, 60));
  DataDir member = MustOpen(dir / "member");
  Table table;
  sim::Rng rng(3);
  for (size_t file = 0; file < 4; ++file) {
    for (int i = 0; i < FlipsOfEachKind(); ++i) {
      std::string kind;
      const auto received = history.TrySend(member.states.get(), [&](auto& manifest, auto& files) {
        const size_t which = file % files.size();
        kind = KindOf("sm/" + manifest.files[which].name);
        const uint64_t bit = rng.Below(8 * files[which].size());
        if (kind == "sm/*.sst" && bit / 8 + kFooterBytes >= files[which].size()) kind += ", footer";
        files[which][bit / 8] = static_cast<char>(files[which][bit / 8] ^ (1 << (bit % 8)));
      });
      ++table[kind][received.ok() ? kHarmless : kDeclined];
    }
  }
  Print("snapshot that arrives", table);
  EXPECT_GT(table["sm/*.sst"][kDeclined], 0);
  EXPECT_EQ(table["sm/*.sst"][kHarmless], 0);
  EXPECT_EQ(table["sm/CURRENT"][kHarmless], 0);
}

}  // namespace

int CheckDamagedDirectory(const std::string& dir) {
  absl::StatusOr<DataDir> opened = OpenDataDir(Options(dir));
  if (!opened.ok()) {
    const absl::string_view text = opened.status().message();
    const bool clear = absl::StrContains(text, dir) && !absl::StrContains(text, "\n");
    const bool remedy = absl::StrContains(text, "keep a copy of this directory") ||
                        !absl::IsDataLoss(opened.status());
    if (clear && remedy) return kExitDeclined;
    std::fprintf(stderr, "not clear: %s\n", opened.status().ToString().c_str());
    return kExitLost;
  }
  std::ifstream file(dir + "/../expected");
  std::string expected;
  std::getline(file, expected, '\0');
  const bool repaired = !opened->warnings.empty();
  const std::string found = Expected::Of(&*opened).ToString();
  if (found != expected) {
    std::fprintf(stderr, "lost: %sexpected: %s", found.c_str(), expected.c_str());
    return kExitLost;
  }
  return repaired ? kExitRepaired : kExitWhole;
}

int RunCrashJob(const std::string& job, const std::string& argument) {
  std::fflush(stdout);
  const pid_t child = fork();
  CHECK_GE(child, 0);
  if (child == 0) {
    execl("/proc/self/exe", "crash_points_test", job.c_str(), argument.c_str(), nullptr);
    _exit(127);
  }
  int status = 0;
  CHECK_EQ(waitpid(child, &status, 0), child);
  return status;
}

}  // namespace raftkv
