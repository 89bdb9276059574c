#include "storage/engine/rocks_blobs.h"

#include <rocksdb/db.h>
#include <rocksdb/metadata.h>

#include <algorithm>

namespace raftkv {
namespace {

using Blob = BlobFiles::Blob;
using Table = BlobFiles::Table;

constexpr size_t kJoinedMin = 4;
// With so many, RocksDB has to compact the first level before it stops writes. It begins no such
// compaction while files are joined, and a join that fails does not begin it again.
constexpr size_t kFirstLevelMax = 16;

// The keys of the table files that refer to a blob file with a number up to `newest`.
BlobWork Covering(const BlobFiles& files, uint64_t newest) {
  BlobWork work;
  bool first = true;
  for (const Table& table : files.tables) {
    if (table.oldest_blob == 0 || table.oldest_blob > newest) continue;
    if (first || table.smallest < work.begin) work.begin = table.smallest;
    if (first || table.largest > work.end) work.end = table.largest;
    first = false;
  }
  work.blobs = files.blobs.size();
  work.oldest = files.blobs.empty() ? 0 : files.blobs.front().number;
  return work;
}

// The sum of the table files that have keys in the range.
Table SumOfTables(const BlobFiles& files, const BlobWork& range) {
  Table sum;
  for (const Table& table : files.tables) {
    if (table.largest < range.begin || table.smallest > range.end) continue;
    sum.bytes += table.bytes;
    sum.deletions += table.deletions;
  }
  return sum;
}

// Collects the oldest blob files, until `enough` garbage is removed or `most` bytes are moved.
BlobWork Collection(const BlobFiles& files, uint64_t enough, uint64_t most) {
  size_t count = 0;
  uint64_t moved = 0, removed = 0;
  for (const Blob& blob : files.blobs) {
    moved += blob.bytes - blob.garbage;
    if (count > 0 && (removed >= enough || moved > most)) break;
    ++count;
    removed += blob.garbage;
  }
  BlobWork work = Covering(files, files.blobs[count - 1].number);
  work.collect = count;
  return work;
}

}  // namespace

BlobFiles BlobFilesOf(rocksdb::DB* db) {
  rocksdb::ColumnFamilyMetaData meta;
  db->GetColumnFamilyMetaData(&meta);
  BlobFiles files;
  for (const rocksdb::BlobMetaData& blob : meta.blob_files) {
    files.blobs.push_back({.number = blob.blob_file_number,
                           .bytes = blob.total_blob_bytes,
                           .garbage = blob.garbage_blob_bytes,
                           .values = blob.total_blob_count - blob.garbage_blob_count});
  }
  std::sort(files.blobs.begin(), files.blobs.end(),
            [](const Blob& a, const Blob& b) { return a.number < b.number; });
  for (const rocksdb::LevelMetaData& level : meta.levels) {
    for (const rocksdb::SstFileMetaData& table : level.files) {
      files.tables.push_back({.bytes = table.size,
                              .deletions = table.num_deletions,
                              .oldest_blob = table.oldest_blob_file_number,
                              .smallest = table.smallestkey,
                              .largest = table.largestkey,
                              .name = table.name,
                              .level = level.level,
                              .compacting = table.being_compacted});
    }
  }
  return files;
}

std::optional<BlobWork> NextBlobWork(const BlobFiles& files, BlobGoal goal, uint64_t unit,
                                     uint64_t written) {
  uint64_t garbage = 0, values = 0, count = 0;
  for (const Blob& blob : files.blobs) {
    garbage += blob.garbage;
    values += blob.bytes - blob.garbage;
    count += blob.values;
  }
  const BlobWork all = Covering(files, UINT64_MAX);
  const Table tables = SumOfTables(files, all);
  const uint64_t slack = std::max(unit, tables.bytes / 4);
  const uint64_t reduced = goal == BlobGoal::kReclaim ? values / 8 : (values + slack) / 2;
  const uint64_t limit = goal == BlobGoal::kBound ? values + slack : reduced;
  if (garbage > limit) return Collection(files, garbage - reduced, slack / 2);
  if (goal == BlobGoal::kReclaim || written < tables.bytes || count == 0) return std::nullopt;
  const uint64_t hidden = std::min(count, tables.deletions) * (values / count);
  return hidden > values / 2 + slack ? std::optional(all) : std::nullopt;
}

std::vector<std::string> SmallTables(const BlobFiles& files, uint64_t small) {
  std::vector<std::string> names;
  const auto first_level = std::count_if(files.tables.begin(), files.tables.end(),
                                         [](const Table& table) { return table.level == 0; });
  if (first_level >= kFirstLevelMax) return names;
  for (const Table& table : files.tables) {
    if (table.level > 0 || table.compacting || table.bytes >= small) break;
    names.push_back(table.name);
  }
  if (names.size() < kJoinedMin) names.clear();
  return names;
}

}  // namespace raftkv
