#ifndef RAFTKV_STORAGE_ENGINE_ENGINE_H_
#define RAFTKV_STORAGE_ENGINE_ENGINE_H_

// The ordered key-value engine that stores the log and the state machine. Two implementations:
// RocksEngine (rocks_engine.h) and MemoryEngine (memory_engine.h, for the simulator and tests).
// Both behave alike at a crash:
//
//   - A batch is atomic: after a crash either all of it or none of it is present.
//   - The batches that survive are a prefix of those written: if one survives, so do all before it.
//   - Durability::kSynced (the log): a batch written with `sync` is durable when Write returns.
//   - Durability::kFlushed (the state machine; no write-ahead log): when Flush returns, all batches
//     written before it are durable. Later ones may be lost.
//
// Errors: a failed write, sync or flush is logged and ends the process, because the file can no
// longer be trusted. Except: a flush or a compaction that finds the disk full is repeated later;
// until then survived() stays behind. Corruption found by a read is logged and ends the process
// with exit code 66; Scan and the functions that open an engine return DataLoss instead.
//
// The owner must not write from two threads at once. Any thread may create and read views, and call
// DiskBytes, Usage and StartReclaim. A view that is created while a batch is written contains all
// of the batch or none of it.

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace raftkv {

enum class Durability { kSynced, kFlushed };

// A list of changes, applied in order. May be used again after Clear. All keys and values share one
// buffer. Clear keeps its memory, because a new batch is built in almost every turn.
class WriteBatch {
 public:
  enum class Kind : uint8_t { kPut, kDelete, kDeleteRange };
  struct Op {  // `key` and `value` are valid until the batch changes
    Kind kind;
    std::string_view key;
    std::string_view value;  // of kDeleteRange: the end of the range, excluded
  };

  void Put(std::string_view key, std::string_view value) { Add(Kind::kPut, key, value); }
  // The value is `head` and then `tail`, so that the caller need not copy a large value to put
  // something before it. Neither may be a view of this batch.
  void Put(std::string_view key, std::string_view head, std::string_view tail) {
    Add(Kind::kPut, key, head);
    slots_.back().value_size += static_cast<uint32_t>(tail.size());
    data_.append(tail);
  }
  void Delete(std::string_view key) { Add(Kind::kDelete, key, {}); }
  void DeleteRange(std::string_view begin, std::string_view end) {
    Add(Kind::kDeleteRange, begin, end);
  }
  void Clear() {
    slots_.clear();
    data_.clear();
  }
  bool empty() const { return slots_.empty(); }
  size_t size() const { return slots_.size(); }
  size_t bytes() const { return data_.size(); }
  Op op(size_t i) const {
    const Slot& slot = slots_[i];
    const char* key = data_.data() + slot.offset;
    return {slot.kind, {key, slot.key_size}, {key + slot.key_size, slot.value_size}};
  }

 private:
  struct Slot {
    size_t offset;
    uint32_t key_size;
    uint32_t value_size;
    Kind kind;
  };
  void Add(Kind kind, std::string_view key, std::string_view value) {
    slots_.push_back({data_.size(), static_cast<uint32_t>(key.size()),
                      static_cast<uint32_t>(value.size()), kind});
    data_.append(key);
    data_.append(value);
  }

  std::string data_;
  std::vector<Slot> slots_;
};

// Iterates over the keys of a view in order. valid() is false at the end, and when skips_left (see
// NewIterator) is used up. A damaged block ends the process.
class Iterator {
 public:
  virtual ~Iterator() = default;
  virtual void Seek(std::string_view key) = 0;         // first key >= `key`
  virtual void SeekForPrev(std::string_view key) = 0;  // last key <= `key`
  virtual void Next() = 0;
  virtual void Prev() = 0;
  virtual bool valid() const = 0;
  virtual std::string_view key() const = 0;  // valid until the next move
  virtual std::string_view value() const = 0;
};

// An immutable snapshot of an engine. It is cheap to create, but it keeps old data on disk: hold it
// no longer than needed.
class View {
 public:
  virtual ~View() = default;
  virtual std::optional<std::string> Get(std::string_view key) const = 0;
  // `upper` is an exclusive bound; empty: none.
  // Deleted keys remain in the engine for some time, and iterators have to pass them. `skips_left`
  // limits how many of them the iterator may pass; null: no limit. The iterator decrements it;
  // several iterators may share it. When it is below 0, valid() is false, as at the end. So a
  // caller that sets a limit must check `*skips_left`.
  virtual std::unique_ptr<Iterator> NewIterator(std::string_view upper = {},
                                                int64_t* skips_left = nullptr) const = 0;
};

// What an engine uses and does in the background, for metrics.
struct EngineUsage {
  uint64_t write_buffer_bytes = 0;
  uint64_t block_cache_bytes = 0;
  uint64_t files = 0;              // table files
  uint64_t first_level_files = 0;  // of these, the ones that flushes wrote
  uint64_t value_bytes = 0;        // of large values, which have files of their own
  uint64_t garbage_bytes = 0;      // of these, the ones that are not needed any more
  uint64_t compaction_bytes = 0;   // estimated bytes that pending compactions will rewrite
  uint64_t flushes = 0;            // running
  uint64_t compactions = 0;        // running
  bool slows_writes = false;       // RocksDB delays or stops writes
};

class Engine {
 public:
  virtual ~Engine() = default;

  virtual void Write(const WriteBatch& batch, bool sync) = 0;
  virtual std::optional<std::string> Get(std::string_view key) const = 0;
  virtual std::unique_ptr<Iterator> NewIterator(std::string_view upper = {},
                                                int64_t* skips_left = nullptr) const = 0;
  virtual std::shared_ptr<const View> NewView() const = 0;

  // Calls `visit` for each key in [begin, end) in order, until `visit` returns an error. An empty
  // `end` means no bound. If it reads damaged data, it returns DataLoss instead of ending the
  // process, so that code that opens a store can report the damage.
  using Visitor = std::function<absl::Status(std::string_view key, std::string_view value)>;
  virtual absl::Status Scan(std::string_view begin, std::string_view end,
                            const Visitor& visit) const = 0;

  // The largest key and its value; none if there is no key. DataLoss: as in Scan.
  struct KeyValue {
    std::string key;
    std::string value;
  };
  virtual absl::StatusOr<std::optional<KeyValue>> Last() const = 0;

  // Gives back disk space of the keys before `end`. The caller must not read these keys again,
  // because some or all of them may still be there, also after a crash.
  virtual void Drop(std::string_view end) = 0;

  // Positions in the sequence of writes. written() is the position after the last batch. All
  // batches up to survived() are durable. The data in an engine that was just opened is durable.
  virtual uint64_t written() const = 0;
  virtual uint64_t survived() const = 0;

  // Makes everything written so far durable. Flush waits until that is done, or the disk is full,
  // or RocksDB has stopped writes. StartFlush returns at once; survived() reaches the current
  // written() later, but in these two cases only after a later flush.
  virtual void Flush() = 0;
  virtual void StartFlush() = 0;

  // Starts to free the disk space of deleted data, unless that is already running, and returns at
  // once. It stops when the engine is closed. A log, and an engine whose deletions free space at
  // once, do nothing.
  virtual void StartReclaim() {}

  // Makes a copy of the data, as it is now or later, in the new directory `dir`, and returns when
  // the copy is durable. From any thread. Unimplemented in memory.
  virtual absl::Status Checkpoint(const std::string& /*dir*/) {
    return absl::UnimplementedError("the engine has no files");
  }

  virtual uint64_t DiskBytes() const = 0;  // disk space in use, estimated
  virtual EngineUsage Usage() const { return {}; }
  // Whether the next write may wait for compactions. Then write on a thread that may block.
  virtual bool WouldStall() const = 0;
};

}  // namespace raftkv

#endif  // RAFTKV_STORAGE_ENGINE_ENGINE_H_
