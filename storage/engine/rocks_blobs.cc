#include "storage/engine/rocks_blobs.h"

#include <rocksdb/db.h>
#include <rocksdb/metadata.h>

#include <algorithm>

namespace raftkv {
namespace {

using Blob = BlobFiles::Blob;
using Table = BlobFiles::Table;

// The table files of the first level are merged by any compaction, and soon.
bool Refers(const Table& table) { return table.level > 0 && table.oldest_blob != 0; }

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

uint64_t BytesOfTables(const BlobFiles& files, const BlobWork& range) {
  uint64_t bytes = 0;
  for (const Table& table : files.tables) {
    if (table.largest >= range.begin && table.smallest <= range.end) bytes += table.bytes;
  }
  return bytes;
}

// An upper limit of the garbage that is not counted, if values are replaced: what was written since
// the oldest table file with references was made.
uint64_t WrittenSinceMerge(const BlobFiles& files) {
  uint64_t oldest = UINT64_MAX, bytes = 0;
  for (const Table& table : files.tables) {
    if (Refers(table)) oldest = std::min(oldest, table.number);
  }
  for (const Blob& blob : files.blobs) {
    if (blob.number > oldest) bytes += blob.bytes;
  }
  return bytes;
}

}  // namespace

BlobFiles BlobFilesOf(rocksdb::DB* db) {
  rocksdb::ColumnFamilyMetaData meta;
  db->GetColumnFamilyMetaData(&meta);
  BlobFiles files;
  for (const rocksdb::BlobMetaData& blob : meta.blob_files) {
    files.blobs.push_back({.number = blob.blob_file_number,
                           .bytes = blob.total_blob_bytes,
                           .garbage = blob.garbage_blob_bytes});
  }
  std::sort(files.blobs.begin(), files.blobs.end(),
            [](const Blob& a, const Blob& b) { return a.number < b.number; });
  for (const rocksdb::LevelMetaData& level : meta.levels) {
    for (const rocksdb::SstFileMetaData& table : level.files) {
      files.tables.push_back({.number = table.file_number,
                              .level = level.level,
                              .bytes = table.size,
                              .oldest_blob = table.oldest_blob_file_number,
                              .smallest = table.smallestkey,
                              .largest = table.largestkey});
    }
  }
  return files;
}

std::optional<BlobWork> NextBlobWork(const BlobFiles& files, BlobGoal goal, uint64_t unit) {
  uint64_t garbage = 0, values = 0;
  for (const Blob& blob : files.blobs) {
    garbage += blob.garbage;
    values += blob.bytes - blob.garbage;
  }
  const BlobWork all = Covering(files, UINT64_MAX);
  const uint64_t slack = std::max(unit, BytesOfTables(files, all) / 4);
  const uint64_t reduced = goal == BlobGoal::kReclaim ? values / 8 : (values + slack) / 2;
  const uint64_t limit = goal == BlobGoal::kBound ? values + slack : reduced;
  if (garbage > limit) {
    size_t count = 0;
    uint64_t moved = 0, left = garbage;
    for (const Blob& blob : files.blobs) {
      moved += blob.bytes - blob.garbage;
      if (count > 0 && (left <= reduced || moved > slack / 2)) break;
      ++count;
      left -= blob.garbage;
    }
    BlobWork work = Covering(files, files.blobs[count - 1].number);
    work.collect = count;
    return work;
  }
  if (goal != BlobGoal::kReclaim && WrittenSinceMerge(files) > values / 2 + slack) return all;
  return std::nullopt;
}

}  // namespace raftkv
