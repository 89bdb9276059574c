#ifndef RAFTKV_STORAGE_ENGINE_ENGINE_H_
#define RAFTKV_STORAGE_ENGINE_ENGINE_H_

// The small ordered key-value engine under the log and the state machine. Two implementations:
// RocksEngine (rocks_engine.h) and MemoryEngine (memory_engine.h, for the simulator and tests),
// with the same contract on crashes:
//
//   - a batch is atomic: after a crash all of it is there or nothing of it;
//   - batches survive a crash in order, as a prefix: never a later one without an earlier one;
//   - Durability::kSynced engines (the log): a batch written with `sync` has survived when Write
//     returns;
//   - Durability::kFlushed engines (the state machine, no write-ahead log): what was written before
//     a Flush that returned has survived; everything after may be lost.
//
// Errors: a failed write, sync or flush ends the process inside the engine (one line first):
// nothing on that file can be trusted after it. Corruption met while reading does the same with
// exit code 66 except while opening, where it comes back as a DataLoss status.
//
// One writer at a time (the owner's job). Views may be taken and read, DiskBytes and StartReclaim
// called, from any thread; a view taken while a batch is written has all of it or nothing.

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

namespace raftkv {

enum class Durability { kSynced, kFlushed };

// Collected changes, applied in order. Reusable after Clear. All bytes lie in one buffer, because a
// batch of puts is built for every turn of the loop.
class WriteBatch {
 public:
  enum class Kind : uint8_t { kPut, kDelete, kDeleteRange };
  struct Op {
    Kind kind;
    std::string_view key;
    std::string_view value;  // kDeleteRange: the end, exclusive. Valid until the batch changes
  };

  void Put(std::string_view key, std::string_view value) { Add(Kind::kPut, key, value); }
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

// Ordered walk over a view. After any move: valid(), at the end, or out of skips (NewIterator); a
// damaged block ends the process.
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
  // Bounds: `upper` is exclusive, empty for none. `skips_left`: how many deleted keys, of which the
  // engine has not got rid yet, the walk may pass in all, shared with others if wanted; null: any
  // number. Once it is below 0 the walk is over wherever it is: whoever sets a limit has to look.
  virtual std::unique_ptr<Iterator> NewIterator(std::string_view upper = {},
                                                int64_t* skips_left = nullptr) const = 0;
};

class Engine {
 public:
  virtual ~Engine() = default;

  virtual void Write(const WriteBatch& batch, bool sync) = 0;
  virtual std::optional<std::string> Get(std::string_view key) const = 0;
  virtual std::unique_ptr<Iterator> NewIterator(std::string_view upper = {},
                                                int64_t* skips_left = nullptr) const = 0;
  virtual std::shared_ptr<const View> NewView() const = 0;

  // Walks [begin, end) in order until `visit` returns an error or the end is reached; `end` empty
  // for none. Damage comes back as DataLoss instead of ending the process: for opening.
  using Visitor = std::function<absl::Status(std::string_view key, std::string_view value)>;
  virtual absl::Status Scan(std::string_view begin, std::string_view end,
                            const Visitor& visit) const = 0;

  // Positions in the order of writes. Everything up to survived() outlives a crash; written() is
  // where the last batch ends. What was open()ed has survived.
  virtual uint64_t written() const = 0;
  virtual uint64_t survived() const = 0;

  // Makes everything written so far survive a crash. Flush blocks until done; StartFlush does not:
  // survived() reaches today's written() some time later.
  virtual void Flush() = 0;
  virtual void StartFlush() = 0;

  // Begins to give the space of what was deleted back to the disk, unless that is under way, and
  // returns at once. Ends when the engine is closed. Nothing to do where deleting gives it back.
  virtual void StartReclaim() {}

  virtual uint64_t DiskBytes() const = 0;  // space taken on disk, estimated
  // The next write may have to wait for compactions: do it where waiting harms nobody.
  virtual bool WouldStall() const = 0;
};

}  // namespace raftkv

#endif  // RAFTKV_STORAGE_ENGINE_ENGINE_H_
