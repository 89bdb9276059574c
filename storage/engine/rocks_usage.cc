#include "storage/engine/rocks_usage.h"

#include <rocksdb/db.h>

#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace raftkv {
namespace {

using Properties = rocksdb::DB::Properties;

uint64_t Number(rocksdb::DB* db, const std::string& property) {
  uint64_t value = 0;
  db->GetIntProperty(property, &value);
  return value;
}

// Not an integer property, though its text is a number.
uint64_t FilesOfLevel(rocksdb::DB* db, int level) {
  std::string text;
  uint64_t files = 0;
  const bool known =
      db->GetProperty(absl::StrCat(Properties::kNumFilesAtLevelPrefix, level), &text) &&
      absl::SimpleAtoi(text, &files);
  return known ? files : 0;
}

bool SlowsWrites(rocksdb::DB* db) {
  return Number(db, Properties::kIsWriteStopped) != 0 ||
         Number(db, Properties::kActualDelayedWriteRate) != 0;
}

}  // namespace

bool WriteStalls::Now(rocksdb::DB* db) {
  if (changed_) {
    absl::MutexLock lock(&mutex_);
    if (changed_.exchange(false)) slow_ = SlowsWrites(db);
  }
  return slow_;
}

EngineUsage UsageOf(rocksdb::DB* db) {
  EngineUsage usage{
      .write_buffer_bytes = Number(db, Properties::kCurSizeAllMemTables),
      .block_cache_bytes = Number(db, Properties::kBlockCacheUsage),
      .first_level_files = FilesOfLevel(db, 0),
      .value_bytes = Number(db, Properties::kLiveBlobFileSize),
      .garbage_bytes = Number(db, Properties::kLiveBlobFileGarbageSize),
      .compaction_bytes = Number(db, Properties::kEstimatePendingCompactionBytes),
      .flushes = Number(db, Properties::kNumRunningFlushes),
      .compactions = Number(db, Properties::kNumRunningCompactions),
      .slows_writes = SlowsWrites(db),
  };
  for (int level = 0; level < db->NumberLevels(); ++level) usage.files += FilesOfLevel(db, level);
  return usage;
}

}  // namespace raftkv
