#ifndef RAFTKV_STORAGE_ENGINE_H_
#define RAFTKV_STORAGE_ENGINE_H_

// The small ordered key-value engine under the log and the state machine. Two implementations:
// RocksEngine (rocks_engine.h) and MemoryEngine (memory_engine.h, for the simulator and tests), with
// the same contract on crashes:
//
//   - a batch is atomic: after a crash all of it is there or nothing of it;
//   - batches survive a crash in order, as a prefix: never a later one without an earlier one;
//   - Durability::kSynced engines (the log): a batch written with `sync` has survived when Write
//     returns;
//   - Durability::kFlushed engines (the state machine, no write-ahead log): what was written before
//     a Flush that returned has survived; everything after may be lost.
//
// Errors: a failed write, sync or flush ends the process inside the engine (one line first): nothing
// on that file can be trusted after it. Corruption met while reading does the same with exit code 66
// except while opening, where it comes back as a DataLoss status.
//
// One writer at a time (the owner's job). Views may be read from any thread.

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace raftkv {

enum class Durability { kSynced, kFlushed };

// Collected changes, applied in order. Reusable after Clear.
class WriteBatch {
 public:
  struct Op {
    enum class Kind : uint8_t { kPut, kDelete, kDeleteRange } kind;
    std::string key;
    std::string value;  // kDeleteRange: the end, exclusive
  };

  void Put(std::string_view key, std::string_view value) {
    bytes_ += key.size() + value.size();
    ops_.push_back({Op::Kind::kPut, std::string(key), std::string(value)});
  }
  void Delete(std::string_view key) {
    bytes_ += key.size();
    ops_.push_back({Op::Kind::kDelete, std::string(key), {}});
  }
  void DeleteRange(std::string_view begin, std::string_view end) {
    bytes_ += begin.size() + end.size();
    ops_.push_back({Op::Kind::kDeleteRange, std::string(begin), std::string(end)});
  }
  void Clear() { ops_.clear(); bytes_ = 0; }
  bool empty() const { return ops_.empty(); }
  size_t bytes() const { return bytes_; }
  const std::vector<Op>& ops() const { return ops_; }

 private:
  std::vector<Op> ops_;
  size_t bytes_ = 0;
};

// Ordered walk over a view. After any move: valid() or at the end; a damaged block ends the process.
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

// A pinned, unchanging state. Cheap to take; hold it no longer than needed.
class View {
 public:
  virtual ~View() = default;
  virtual std::optional<std::string> Get(std::string_view key) const = 0;
  // Bounds: `upper` is exclusive, empty for none.
  virtual std::unique_ptr<Iterator> NewIterator(std::string_view upper = {}) const = 0;
};

class Engine {
 public:
  virtual ~Engine() = default;

  virtual void Write(const WriteBatch& batch, bool sync) = 0;
  virtual std::optional<std::string> Get(std::string_view key) const = 0;
  virtual std::unique_ptr<Iterator> NewIterator(std::string_view upper = {}) const = 0;
  virtual std::shared_ptr<const View> NewView() const = 0;

  // Makes everything written so far survive a crash. Blocks until done.
  virtual void Flush() = 0;

  virtual uint64_t DiskBytes() const = 0;   // space taken on disk, estimated
  // The next write may have to wait for compactions: do it where waiting harms nobody.
  virtual bool WouldStall() const = 0;
};

}  // namespace raftkv

#endif  // RAFTKV_STORAGE_ENGINE_H_
