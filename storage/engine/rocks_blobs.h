#ifndef RAFTKV_STORAGE_ENGINE_ROCKS_BLOBS_H_
#define RAFTKV_STORAGE_ENGINE_ROCKS_BLOBS_H_

// Which blob files have to be collected, and which small table files merged (docs/decisions/0027).
//
// The state machine's large values are in RocksDB's blob files, and its table files only refer to
// them. A flush writes a new blob file. If a compaction drops a key, its value stays in its blob
// file as garbage. RocksDB counts it. A blob file is removed when all of it is garbage. So a few
// live values may keep much garbage on the disk. To *collect* the oldest blob files means to run a
// compaction that writes their live values into new blob files.
//
// RocksDB counts a value as garbage only once a compaction meets both the key and its deletion. In
// a store with many small values they may be in different levels for very long. To *merge* means to
// run a compaction of all table files that refer to blob files, so that all garbage is counted.
//
// With large values, a flush writes a small table file. RocksDB compacts the first level
// when it has eight files, whatever their size, and that rewrites the whole second level. So small
// files of the first level are first joined into a larger one.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace rocksdb {
class DB;
}

namespace raftkv {

// What RocksDB knows about the files of a database.
struct BlobFiles {
  struct Blob {
    uint64_t number = 0;
    uint64_t bytes = 0;
    uint64_t garbage = 0;  // of these bytes
    uint64_t values = 0;   // the number of values that are not garbage
  };
  struct Table {
    uint64_t bytes = 0;
    uint64_t deletions = 0;
    uint64_t oldest_blob = 0;  // the oldest blob file that it refers to; 0: none
    std::string smallest, largest;
    std::string name;
    int level = 0;
    bool compacting = false;
  };
  std::vector<Blob> blobs;    // by number
  std::vector<Table> tables;  // by level; the newest first in the first level
};

// Reads the current files. From any thread; it locks the database's mutex for a moment.
BlobFiles BlobFilesOf(rocksdb::DB* db);

// A compaction of the keys from `begin` to `end`. It writes the live values of the first `collect`
// blob files into new ones.
struct BlobWork {
  std::string begin, end;
  size_t collect = 0;   // 0: merge
  size_t blobs = 0;     // how many blob files there are
  uint64_t oldest = 0;  // the number of the first one
};

enum class BlobGoal {
  kBound,    // begins above the bound
  kReduce,   // goes on after kBound: to half of the bound
  kReclaim,  // an operator asked for the space: garbage is at most an eighth of the values
};

// The next step towards the goal; none: it is reached. The bound: garbage is not larger than the
// values that the tables refer to, plus the slack. The slack is `unit`, or a quarter of the table
// files to rewrite if that is more. One step writes values of up to half of the slack.
//
// Tables are merged when the deletions in them may hide more garbage than half of the values plus
// the slack, but only if at least as many bytes as they have were `written` since they were merged.
std::optional<BlobWork> NextBlobWork(const BlobFiles& files, BlobGoal goal, uint64_t unit,
                                     uint64_t written);

// The names of the table files to join now: the newest ones of the first level, if there are at
// least four and each has less than `small` bytes. Empty: none are, or the first level has very
// many files, which RocksDB must compact.
std::vector<std::string> SmallTables(const BlobFiles& files, uint64_t small);

}  // namespace raftkv

#endif  // RAFTKV_STORAGE_ENGINE_ROCKS_BLOBS_H_
