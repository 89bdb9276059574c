// Power losses at every change of the files of a data directory, on the real RocksDB (crash_disk.h,
// crash_story.h). In CI at a sample of the changes; with RAFTKV_SOAK=1 at all, more than 20,000.

#include <sys/wait.h>

#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <map>
#include <string>

#include "absl/strings/match.h"
#include "glog/logging.h"
#include "gtest/gtest.h"
#include "tests/storage/crash_jobs.h"
#include "tests/storage/crash_story.h"

namespace raftkv {
namespace {

constexpr int kOperations = 40;

// Syncs that the program leaves out, by the name of the file (Recording).
struct PlantedBug {
  const char* name;
  bool (*ignored)(const std::string& name);
};
constexpr PlantedBug kPlantedBugs[] = {
    {"parent-directory", [](const std::string& name) { return name == "/"; }},
    {"data-directory", [](const std::string& name) { return name == "n1/"; }},
    {"state-directory", [](const std::string& name) { return name == "sm/"; }},
    {"log-directory", [](const std::string& name) { return name == "log/"; }},
    {"snapshot-directory", [](const std::string& name) { return name.starts_with("sm-"); }},
    {"identity", [](const std::string& name) { return name == "IDENTITY.tmp"; }},
    {"watermark", [](const std::string& name) { return name == "WATERMARK"; }},
    {"current", [](const std::string& name) { return name == "CURRENT.tmp"; }},
    {"write-ahead-log", [](const std::string& name) { return name.ends_with(".log"); }},
    {"table-file", [](const std::string& name) { return name.ends_with(".sst"); }},
    {"blob-file", [](const std::string& name) { return name.ends_with(".blob"); }},
    {"manifest", [](const std::string& name) { return name.starts_with("MANIFEST-"); }},
    {"rocksdb-current", [](const std::string& name) { return name.ends_with(".dbtmp"); }},
};

bool Soak() { return std::getenv("RAFTKV_SOAK") != nullptr; }

TEST(CrashPoints, NothingAcknowledgedIsLostAndNothingInvented) {
  const uint64_t stories = Soak() ? 30 : 4;  // some 800 crash points each
  std::map<std::string, int> checked, repairs;
  int images = 0, failures = 0;
  for (uint64_t seed = 1; seed <= stories; ++seed) {
    const TempDir dir;
    CrashStory story(seed, kOperations, dir.path());
    sim::Rng rng(seed);
    const size_t step = Soak() ? 1 : 23;
    for (size_t point = Soak() ? 1 : 1 + rng.Below(step); point < story.points(); point += step) {
      for (const CrashStory::Outcome& outcome : story.CrashBefore(point)) {
        if (!outcome.fresh) continue;
        ++images;
        ++checked[outcome.operation];
        for (const std::string& warning : outcome.warnings) {
          for (const char* what : {"ended in garbage", "rebuilding it", "finished the install"}) {
            if (absl::StrContains(warning, what)) ++repairs[what];
          }
        }
        if (outcome.failure.empty()) continue;
        ADD_FAILURE() << "story " << seed << " " << outcome.failure;
        ASSERT_LT(++failures, 20);
      }
    }
  }
  std::printf("%d crash points, of these during:\n", images);
  for (const auto& [operation, count] : checked) {
    std::printf("  %7d  %s\n", count, operation.c_str());
    EXPECT_GT(count, 0);
  }
  std::printf("what the start had to repair:\n");
  for (const auto& [what, count] : repairs) std::printf("  %7d  %s\n", count, what.c_str());
  EXPECT_GE(checked.size(), Soak() ? 12u : 5u) << "operations were never interrupted";
  EXPECT_GE(images, Soak() ? 20'000 : 100);
}

TEST(CrashPoints, EachSyncThatIsLeftOutIsFound) {
  for (size_t i = 0; i < std::size(kPlantedBugs); i += Soak() ? 1 : 3) {
    const PlantedBug& bug = kPlantedBugs[i];
    const int status = RunCrashJob("--planted", bug.name);
    // 1: a check failed; 66: a read found damage.
    EXPECT_TRUE(WIFEXITED(status) && (WEXITSTATUS(status) == 1 || WEXITSTATUS(status) == 66))
        << bug.name << ": wait status " << status;
  }
}

TEST(CrashPoints, EachNewParentOfADataDirectoryIsSynced) {
  const TempDir dir;
  Recording recording(dir.path());
  ASSERT_TRUE(OpenDataDir(TestDirOptions(dir / "a/b/c")).ok());
  CrashDisk disk;
  for (const Change& change : recording.Take()) disk.Apply(change);
  sim::Rng rng(1);
  EXPECT_TRUE(disk.After(Loss::kUnsynced, &rng).contains("a/b/c/INITIALIZED"));
}

}  // namespace

int RunPlantedBug(const std::string& name) {
  for (const PlantedBug& bug : kPlantedBugs) {
    if (bug.name != name) continue;
    for (uint64_t seed = 1; seed <= 10; ++seed) {
      const TempDir dir;
      CrashStory story(seed, kOperations, dir.path(), bug.ignored);
      for (size_t point = 1; point < story.points(); point += 3) {
        for (const CrashStory::Outcome& outcome : story.CrashBefore(point)) {
          if (outcome.failure.empty()) continue;
          std::printf("%-20s story %d %s\n", bug.name, static_cast<int>(seed),
                      outcome.failure.c_str());
          std::fflush(stdout);
          return 1;
        }
      }
    }
    return 0;
  }
  return 2;
}

}  // namespace raftkv

int main(int argc, char** argv) {
  google::InitGoogleLogging(argv[0]);
  FLAGS_logtostderr = true;
  FLAGS_minloglevel = google::ERROR;
  if (argc == 3 && std::string(argv[1]) == "--planted") return raftkv::RunPlantedBug(argv[2]);
  if (argc == 3 && std::string(argv[1]) == "--check") return raftkv::CheckDamagedDirectory(argv[2]);
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
