#include "storage/engine/rocks_reclaim.h"

#include <rocksdb/convenience.h>
#include <rocksdb/db.h>
#include <rocksdb/options.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/time/time.h"
#include "glog/logging.h"
#include "storage/engine/rocks_failure.h"

namespace raftkv {
namespace {

// After a compaction that failed, for example because the disk has no room for it.
constexpr absl::Duration kPause = absl::Minutes(1);

// A compaction that also rewrites the last level.
rocksdb::CompactRangeOptions CompactOptions() {
  rocksdb::CompactRangeOptions options;
  options.exclusive_manual_compaction = false;  // automatic ones go on: writes may need them
  options.bottommost_level_compaction = rocksdb::BottommostLevelCompaction::kForceOptimized;
  options.blob_garbage_collection_policy = rocksdb::BlobGarbageCollectionPolicy::kDisable;
  return options;
}

}  // namespace

Reclaimer::Reclaimer(rocksdb::DB* db, Options options)
    : db_(*db), options_(std::move(options)), thread_([this] { Run(); }) {}

Reclaimer::~Reclaimer() {
  {
    absl::MutexLock lock(&mutex_);
    ends_ = true;
  }
  // A compaction, or a flush that waits for space, returns early.
  db_.DisableManualCompaction();
  rocksdb::CancelAllBackgroundWork(&db_, /*wait=*/false);
  thread_.join();
}

void Reclaimer::Start() {
  absl::MutexLock lock(&mutex_);
  whole_ = true;
}

void Reclaimer::OnFlush(uint64_t bytes) {
  absl::MutexLock lock(&mutex_);
  written_ += bytes;
  changed_ = true;
}

void Reclaimer::OnCompaction() {
  absl::MutexLock lock(&mutex_);
  changed_ = true;
}

void Reclaimer::Run() {
  absl::MutexLock lock(&mutex_);
  const auto due = [this]()
                       ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return whole_ || changed_ || ends_; };
  const auto asked = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return whole_ || ends_; };
  while (true) {
    mutex_.Await(absl::Condition(&due));
    if (ends_) return;
    const bool whole = whole_;
    changed_ = false;
    mutex_.Unlock();
    JoinSmallTables();
    const bool done =
        whole ? CompactAll() && Collect(BlobGoal::kReclaim) : Collect(BlobGoal::kBound);
    mutex_.Lock();
    if (whole) whole_ = false;
    if (!done) mutex_.AwaitWithTimeout(absl::Condition(&asked), kPause);
  }
}

bool Reclaimer::Collect(BlobGoal goal) {
  std::optional<BlobWork> before;
  while (const auto work = Next(goal)) {
    // An automatic compaction at the same time may have left something undone.
    const bool again =
        before && before->oldest == work->oldest && (before->collect > 0) == (work->collect > 0);
    if (again || !Compact(*work)) return false;
    if (goal == BlobGoal::kBound && work->collect > 0) goal = BlobGoal::kReduce;
    before = work;
  }
  return true;
}

// If it fails, the files stay as they are, and RocksDB compacts them when there are eight.
void Reclaimer::JoinSmallTables() {
  const std::vector<std::string> names = SmallTables(BlobFilesOf(&db_), options_.small);
  if (names.empty()) return;
  rocksdb::CompactionOptions options;
  options.compression = rocksdb::kDisableCompressionOption;  // that of the database: none
  // RocksDB does not tell the listener of the database about this compaction.
  WhenFull* const when_full = options_.when_full.get();
  if (when_full != nullptr) when_full->BeginCompaction(/*manual=*/false);
  const rocksdb::Status status = db_.CompactFiles(options, names, /*output_level=*/0);
  // Not refused, and not ended by closing: then it was not the new file that found the disk full.
  const bool record_failed =
      status.IsNoSpace() && when_full != nullptr && !WhenFull::refused() && !when_full->closed();
  // Not "succeeded": a larger compaction that did not fit is not repeated because of this one.
  if (when_full != nullptr) when_full->EndCompaction(/*succeeded=*/false);
  // The listener takes any failure of CompactFiles for a failed compaction. But the record of the
  // new file may be on the disk, and the file is removed.
  if (record_failed) StopOnFailure(options_.dir, "a background job", status);
}

std::optional<BlobWork> Reclaimer::Next(BlobGoal goal) {
  const BlobFiles files = BlobFilesOf(&db_);
  absl::MutexLock lock(&mutex_);
  std::optional<BlobWork> work = NextBlobWork(files, goal, options_.unit, written_);
  if (work && work->collect == 0) written_ = 0;
  return work;
}

bool Reclaimer::CompactAll() {
  rocksdb::CompactRangeOptions options = CompactOptions();
  options.bottommost_level_compaction = rocksdb::BottommostLevelCompaction::kIfHaveCompactionFilter;
  return Compact(options, nullptr, nullptr);
}

bool Reclaimer::Compact(const BlobWork& work) {
  rocksdb::CompactRangeOptions options = CompactOptions();
  if (work.collect > 0) {
    options.blob_garbage_collection_policy = rocksdb::BlobGarbageCollectionPolicy::kForce;
    // RocksDB rounds the number of blob files down.
    options.blob_garbage_collection_age_cutoff =
        std::min(1.0, (static_cast<double>(work.collect) + 0.5) / static_cast<double>(work.blobs));
  }
  const rocksdb::Slice begin(work.begin), end(work.end);
  return Compact(options, &begin, &end);
}

bool Reclaimer::Compact(const rocksdb::CompactRangeOptions& options, const rocksdb::Slice* begin,
                        const rocksdb::Slice* end) {
  if (!options_.flush()) {  // CompactRange would wait for a flush
    LOG(WARNING) << options_.dir
                 << ": a flush is left for later: no space is freed by compaction now";
    return false;
  }
  const rocksdb::Status status = db_.CompactRange(options, begin, end);
  // If the disk fails, the listener of the database ends the process.
  if (!status.ok() && !status.IsIncomplete() && !status.IsShutdownInProgress()) {
    LOG(WARNING) << options_.dir << ": freeing disk space failed: " << status.ToString();
  }
  return status.ok();
}

}  // namespace raftkv
