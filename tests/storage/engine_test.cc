// Both engines must keep the same contract (storage/engine/engine.h).

#include "storage/engine/engine.h"

#include <sys/resource.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "gtest/gtest.h"
#include "rocksdb/env.h"
#include "storage/base/files.h"
#include "storage/engine/memory_engine.h"
#include "storage/engine/rocks_engine.h"
#include "storage/engine/rocks_env.h"
#include "storage/mvcc/layout.h"
#include "tests/storage/rocks.h"
#include "tests/storage/testing.h"

namespace raftkv {
namespace {

// A disk of one kind: opens engines on it, and crashes.
class MemoryRig {
 public:
  std::unique_ptr<Engine> Open(Durability durability) {
    return std::make_unique<MemoryEngine>(disk_, durability);
  }
  // Destroys the engine and loses what a crash may lose.
  void Crash(std::unique_ptr<Engine>* engine) {
    engine->reset();
    disk_->Crash();
  }

 private:
  std::shared_ptr<MemoryDisk> disk_ = std::make_shared<MemoryDisk>();
};

class RocksRig {
 public:
  std::unique_ptr<Engine> Open(Durability durability) {
    RocksOptions options;
    options.dir = dir_ / "db";
    options.durability = durability;
    options.create_if_missing = true;
    absl::StatusOr<std::unique_ptr<Engine>> engine = OpenRocksEngine(options);
    CHECK(engine.ok()) << engine.status();
    return *std::move(engine);
  }
  void Crash(std::unique_ptr<Engine>* engine) { engine->reset(); }
  std::string path() const { return dir_ / "db"; }

 private:
  TempDir dir_;
};

// Else a large store would use up the file descriptors, and the next flush would end the process.
TEST(RocksEnv, AnEngineKeepsAPartOfTheFileDescriptorsFree) {
  rlimit before = {};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  const absl::Cleanup restore = [&] { setrlimit(RLIMIT_NOFILE, &before); };
  const rlimit low = {.rlim_cur = 1024, .rlim_max = before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &low), 0);
  EXPECT_EQ(OpenFilesMax(), 128);
  RocksRig rig;
  const std::unique_ptr<Engine> engine = rig.Open(Durability::kFlushed);
  int found = 0;
  for (const auto& file : std::filesystem::directory_iterator(rig.path())) {
    if (!absl::StartsWith(file.path().filename().string(), "OPTIONS-")) continue;
    ++found;
    const absl::StatusOr<std::string> text = ReadFile(file.path());
    ASSERT_TRUE(text.ok());
    EXPECT_TRUE(absl::StrContains(*text, "max_open_files=128\n"));
  }
  EXPECT_GE(found, 1);
}

// The state machine's threads are all at work. A flush of the log does not wait for them.
TEST(RocksEnv, LogAndStateMachineHaveThreadsOfTheirOwn) {
  struct Job {
    absl::Notification started, may_end, ended;
    int nice = 0;
  };
  const auto run = [](void* argument) {
    Job& job = *static_cast<Job*>(argument);
    job.nice = getpriority(PRIO_PROCESS, 0);
    job.started.Notify();
    job.may_end.WaitForNotification();
    job.ended.Notify();
  };
  Job flush, compaction, log_compaction;
  using Priority = rocksdb::Env::Priority;
  rocksdb::Env* const state = RocksEnv(Durability::kFlushed);
  state->Schedule(run, &flush, Priority::HIGH);
  state->Schedule(run, &compaction, Priority::LOW);
  RocksEnv(Durability::kSynced)->Schedule(run, &log_compaction, Priority::LOW);
  for (Job* job : {&flush, &compaction, &log_compaction}) job->started.WaitForNotification();

  RocksRig rig;
  const std::unique_ptr<Engine> log = rig.Open(Durability::kSynced);
  WriteBatch batch;
  batch.Put("k", "v");
  log->Write(batch, /*sync=*/true);
  log->Flush();
  for (Job* job : {&flush, &compaction, &log_compaction}) {
    job->may_end.Notify();
    job->ended.WaitForNotification();
  }
  EXPECT_EQ(flush.nice, log_compaction.nice);
  EXPECT_EQ(compaction.nice, std::min(flush.nice + kStateCompactionNice, 19));
}

template <typename Rig>
class EngineContract : public testing::Test {
 public:
  Rig rig_;
};
using Rigs = testing::Types<MemoryRig, RocksRig>;
TYPED_TEST_SUITE(EngineContract, Rigs);

void Put(Engine& engine, std::string_view key, std::string_view value, bool sync = false) {
  WriteBatch batch;
  batch.Put(key, value);
  engine.Write(batch, sync);
}

std::string Walk(std::unique_ptr<Iterator> it) {
  std::string out;
  for (it->Seek(""); it->valid(); it->Next()) {
    out.append(it->key()).append("=").append(it->value()).append(" ");
  }
  return out;
}

TYPED_TEST(EngineContract, BatchAppliesInOrder) {
  auto engine = this->rig_.Open(Durability::kFlushed);
  WriteBatch batch;
  for (const char* key : {"a", "b", "c", "d"}) batch.Put(key, "1");
  batch.DeleteRange("b", "d");
  batch.Put("c", "2");
  batch.Delete("a");
  batch.Delete("missing");
  batch.Put("e", "two ", "parts");
  batch.Put("f", "", "3");
  engine->Write(batch, false);
  EXPECT_EQ(Walk(engine->NewIterator()), "c=2 d=1 e=two parts f=3 ");
  EXPECT_EQ(engine->Get("c"), "2");
  EXPECT_EQ(engine->Get("b"), std::nullopt);
}

// Leaves a live key after every ten deleted ones.
void FillWithGaps(Engine& engine, int keys) {
  WriteBatch all, gone;
  for (int i = 0; i < keys; ++i) {
    const std::string key = absl::StrCat(100'000 + i);
    all.Put(key, "v");
    if (i % 11 != 10) gone.Delete(key);
  }
  engine.Write(all, false);
  engine.Write(gone, false);
}

TYPED_TEST(EngineContract, SkipsAreCountedOverTheWholeWalk) {
  auto engine = this->rig_.Open(Durability::kFlushed);
  FillWithGaps(*engine, 2'200);
  const auto view = engine->NewView();
  int64_t skips_left = 95;
  auto it = view->NewIterator({}, &skips_left);
  int seen = 0;
  for (it->Seek(""); it->valid(); it->Next()) ++seen;
  EXPECT_EQ(seen, 9);
  EXPECT_LT(skips_left, 0);
  it->Seek("2");
  EXPECT_FALSE(it->valid()) << "it stays invalid";
  it = view->NewIterator({}, &skips_left);
  it->Seek("");
  EXPECT_FALSE(it->valid()) << "so does another iterator that shares skips_left";

  skips_left = 2'010;  // enough for one walk, not for three
  for (int walk = 0; walk < 3; ++walk) {
    seen = 0;
    it = view->NewIterator({}, &skips_left);
    for (it->Seek(""); it->valid(); it->Next()) ++seen;
    EXPECT_EQ(seen, walk < 1 ? 200 : seen);
  }
  EXPECT_LT(skips_left, 0);
  EXPECT_LT(seen, 200);
  it = view->NewIterator();
  seen = 0;
  for (it->Seek(""); it->valid(); it->Next()) ++seen;
  EXPECT_EQ(seen, 200) << "without a limit";
}

TYPED_TEST(EngineContract, OneMoveStopsAmidVeryManySkips) {
  auto engine = this->rig_.Open(Durability::kFlushed);
  WriteBatch all, gone;
  for (int i = 0; i < 20'000; ++i) all.Put(absl::StrCat(100'000 + i), "v");
  for (int i = 0; i < 20'000; ++i) gone.Delete(absl::StrCat(100'000 + i));
  all.Put("9", "behind");
  engine->Write(all, false);
  engine->Write(gone, false);
  int64_t skips_left = 1'000;
  auto it = engine->NewIterator({}, &skips_left);
  it->Seek("");
  EXPECT_FALSE(it->valid());
  EXPECT_LT(skips_left, 0);
  EXPECT_GE(skips_left, -1'001) << "it stopped there";
  skips_left = 1'000;
  it->Seek("9");
  EXPECT_TRUE(it->valid()) << "no deleted key is there";
  it = engine->NewIterator();
  it->Seek("");
  ASSERT_TRUE(it->valid());
  EXPECT_EQ(it->key(), "9");
}

TYPED_TEST(EngineContract, IteratorMovesBothWaysWithinItsBound) {
  auto engine = this->rig_.Open(Durability::kFlushed);
  for (const char* key : {"a", "c", "e", "g"}) Put(*engine, key, key);
  const auto it = engine->NewIterator("f");
  it->Seek("b");
  ASSERT_TRUE(it->valid());
  EXPECT_EQ(it->key(), "c");
  it->Next();
  EXPECT_EQ(it->key(), "e");
  it->Prev();
  EXPECT_EQ(it->key(), "c");
  it->SeekForPrev("d");
  EXPECT_EQ(it->key(), "c");
  it->SeekForPrev("c");
  EXPECT_EQ(it->key(), "c");
  it->Seek("e");
  it->Next();
  EXPECT_FALSE(it->valid()) << "g lies beyond the bound";
  it->Seek("a");
  it->Prev();
  EXPECT_FALSE(it->valid());
}

TYPED_TEST(EngineContract, ViewsAndIteratorsDoNotSeeLaterWrites) {
  auto engine = this->rig_.Open(Durability::kFlushed);
  Put(*engine, "a", "old");
  Put(*engine, "b", "old");
  const std::shared_ptr<const View> view = engine->NewView();
  auto it = engine->NewIterator();
  it->Seek("a");
  WriteBatch batch;
  batch.Put("a", "new");
  batch.Put("aa", "new");
  batch.DeleteRange("b", "c");
  engine->Write(batch, false);
  for (int i = 0; i < 3000; ++i) Put(*engine, "z", std::string(1, static_cast<char>(i)));
  EXPECT_EQ(it->value(), "old");
  EXPECT_EQ(view->Get("a"), "old");
  EXPECT_EQ(view->Get("aa"), std::nullopt);
  EXPECT_EQ(Walk(view->NewIterator()), "a=old b=old ");
  EXPECT_EQ(Walk(engine->NewIterator("b")), "a=new aa=new ");
}

TYPED_TEST(EngineContract, ViewsAreReadFromOtherThreads) {
  auto engine = this->rig_.Open(Durability::kFlushed);
  for (int i = 0; i < 100; ++i) Put(*engine, absl::StrCat("k", i), "0");
  const std::shared_ptr<const View> view = engine->NewView();
  std::vector<std::thread> readers;
  std::vector<std::string> seen(4);
  const std::string before = Walk(view->NewIterator());
  for (std::string& out : seen) {
    readers.emplace_back([&out, &view] { out = Walk(view->NewIterator()); });
  }
  for (int i = 0; i < 2000; ++i) Put(*engine, absl::StrCat("k", i % 200), "1");
  for (std::thread& reader : readers) reader.join();
  for (const std::string& out : seen) EXPECT_EQ(out, before);
}

TYPED_TEST(EngineContract, LastIsTheLargestKeyThatIsNotDeleted) {
  auto engine = this->rig_.Open(Durability::kSynced);
  EXPECT_FALSE((*engine->Last()).has_value());
  Put(*engine, "a", "1", true);
  Put(*engine, "c", "2", true);
  EXPECT_EQ((*engine->Last())->key, "c");
  EXPECT_EQ((*engine->Last())->value, "2");
  WriteBatch batch;
  batch.Delete("c");
  engine->Write(batch, /*sync=*/true);
  EXPECT_EQ((*engine->Last())->key, "a");
}

TYPED_TEST(EngineContract, DropLeavesTheOtherKeys) {
  auto engine = this->rig_.Open(Durability::kSynced);
  for (char key = 'a'; key <= 'z'; ++key) {
    Put(*engine, std::string(1, key), "value", true);
    if (key == 'm') engine->Flush();
  }
  engine->Drop("k");
  for (int round = 0; round < 2; ++round) {
    for (char key = 'k'; key <= 'z'; ++key) {
      EXPECT_EQ(engine->Get(std::string(1, key)), "value");
    }
    this->rig_.Crash(&engine);
    engine = this->rig_.Open(Durability::kSynced);
  }
}

TYPED_TEST(EngineContract, ScanStopsAtTheVisitorsError) {
  auto engine = this->rig_.Open(Durability::kFlushed);
  for (const char* key : {"a", "b", "c", "d"}) Put(*engine, key, "");
  std::string seen;
  const auto visit = [&](std::string_view key, std::string_view) {
    seen += key;
    return key == "c" ? absl::CancelledError() : absl::OkStatus();
  };
  EXPECT_TRUE(engine->Scan("b", "c", visit).ok());
  EXPECT_EQ(seen, "b");
  EXPECT_TRUE(absl::IsCancelled(engine->Scan({}, {}, visit)));
  EXPECT_EQ(seen, "babc");
}

TYPED_TEST(EngineContract, SyncedBatchesSurviveACrash) {
  auto engine = this->rig_.Open(Durability::kSynced);
  for (int i = 0; i < 50; ++i) Put(*engine, std::to_string(100 + i), "x", /*sync=*/true);
  EXPECT_EQ(engine->survived(), engine->written());
  const std::string before = Walk(engine->NewIterator());
  this->rig_.Crash(&engine);
  EXPECT_EQ(Walk(this->rig_.Open(Durability::kSynced)->NewIterator()), before);
}

TYPED_TEST(EngineContract, FlushedStateSurvivesACrashAndTheRestIsGone) {
  auto engine = this->rig_.Open(Durability::kFlushed);
  Put(*engine, "a", "1");
  engine->Flush();
  EXPECT_EQ(engine->survived(), engine->written());
  Put(*engine, "a", "2");
  EXPECT_LT(engine->survived(), engine->written());
  this->rig_.Crash(&engine);
  engine = this->rig_.Open(Durability::kFlushed);
  EXPECT_EQ(engine->Get("a"), "1");
  EXPECT_EQ(engine->survived(), engine->written());
}

TYPED_TEST(EngineContract, StartedFlushIsDoneSomeTimeLater) {
  auto engine = this->rig_.Open(Durability::kFlushed);
  Put(*engine, "a", "1");
  const uint64_t position = engine->written();
  engine->StartFlush();
  Put(*engine, "b", "2");
  while (engine->survived() < position) std::this_thread::yield();
  this->rig_.Crash(&engine);
  EXPECT_EQ(this->rig_.Open(Durability::kFlushed)->Get("a"), "1");
}

TEST(MemoryEngine, APrefixOfTheBatchesAtRiskMaySurvive) {
  auto disk = std::make_shared<MemoryDisk>();
  auto engine = std::make_unique<MemoryEngine>(disk, Durability::kSynced);
  Put(*engine, "a", "1", /*sync=*/true);
  Put(*engine, "a", "2");
  Put(*engine, "b", "2");
  WriteBatch batch;
  batch.Delete("a");
  engine->Write(batch, false);
  EXPECT_EQ(disk->batches_at_risk(), 3u);
  engine.reset();
  disk->Crash(/*kept=*/2);
  engine = std::make_unique<MemoryEngine>(disk, Durability::kSynced);
  EXPECT_EQ(Walk(engine->NewIterator()), "a=2 b=2 ");
}

TEST(RocksEngine, ASecondProcessIsToldThatTheDirectoryIsInUse) {
  TempDir dir;
  RocksOptions options;
  options.dir = dir / "db";
  options.create_if_missing = true;
  const auto first = OpenRocksEngine(options);
  ASSERT_TRUE(first.ok());
  const auto second = OpenRocksEngine(options);
  EXPECT_EQ(second.status().code(), absl::StatusCode::kFailedPrecondition) << second.status();
}

TEST(RocksEngine, MissingDatabaseIsDamageUnlessItMayBeCreated) {
  TempDir dir;
  RocksOptions options;
  options.dir = dir / "db";
  EXPECT_EQ(OpenRocksEngine(options).status().code(), absl::StatusCode::kDataLoss);
}

// RocksDB drops a flush that is asked for while the database closes.
TEST(RocksEngine, ClosesWhileItBeginsToFreeSpace) {
  const TempDir dir;
  for (int i = 0; i < 200; ++i) {
    const std::unique_ptr<Engine> engine = OpenRocks(dir / "db");
    WriteBatch batch;
    batch.Put("a", "v");
    engine->Write(batch, /*sync=*/false);
    engine->StartReclaim();
    absl::SleepFor(absl::Microseconds(i));
  }
}

// The bounds of a range need not have the form of version keys, and they may end with the same
// bytes.
TEST(RocksEngine, FiltersNeverHideAKeyOfARange) {
  TempDir dir;
  const std::unique_ptr<Engine> engine = OpenRocks(dir / "db");
  std::vector<std::string> bounds;
  for (int i = 1000; i < 1040; ++i) {
    std::string key;
    mvcc::AppendVersionPrefix(absl::StrCat("/registry/key/", i), &key);
    bounds.push_back(key);
    bounds.push_back(mvcc::AfterVersions(key));
    mvcc::AppendRevisionDescending(i, &key);
    if (i % 2 == 0) Put(*engine, key, "");
  }
  for (const char* other : {"/", "/registry/", "/registry/k", "/registry0", "a", "zzzzzzzzzzzz"}) {
    mvcc::AppendVersionPrefix(other, &bounds.emplace_back());
  }
  engine->Flush();
  std::sort(bounds.begin(), bounds.end());
  for (auto begin = bounds.begin(); begin != bounds.end(); ++begin) {
    for (auto end = begin; ++end != bounds.end();) {
      std::vector<std::string> expected, seen;
      ASSERT_TRUE(engine
                      ->Scan(*begin, *end,
                             [&](std::string_view key, std::string_view) {
                               expected.emplace_back(key);
                               return absl::OkStatus();
                             })
                      .ok());
      const auto it = engine->NewIterator(*end);
      for (it->Seek(*begin); it->valid(); it->Next()) seen.emplace_back(it->key());
      ASSERT_EQ(seen, expected) << absl::CHexEscape(*begin) << " to " << absl::CHexEscape(*end);
    }
  }
}

}  // namespace
}  // namespace raftkv
