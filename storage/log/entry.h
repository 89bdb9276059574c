#ifndef RAFTKV_STORAGE_LOG_ENTRY_H_
#define RAFTKV_STORAGE_LOG_ENTRY_H_

// The words that the Raft log and the consensus core share: plain values, named as in the Raft
// paper. The core (server/raft) produces entries, storage/log keeps them, storage/state_machine
// applies them.
//
// `Index` is a position in the replicated log, the first entry is 1; 0 means "before the log".
// It is never mixed with a *revision*, which counts changes of the key-value store.
// `Term` starts at 0 in an empty member; the first elected leader has term 1 or more.
// `MemberId` 0 means "nobody".

#include <compare>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

namespace raftkv::raft {

using MemberId = uint64_t;
using Term = uint64_t;
using Index = uint64_t;

inline constexpr MemberId kNobody = 0;

// Names one log entry. Two logs that hold the same EntryId hold the same prefix (Log Matching,
// §5.3). Ordered by term, then index: exactly the paper's "at least as up-to-date" (§5.4.1).
struct EntryId {
  Term term = 0;
  Index index = 0;

  friend auto operator<=>(const EntryId&, const EntryId&) = default;
};

// Immutable bytes, shared by the log, every peer stream and the applier: encoded once at the edge,
// parsed once at apply. Copying a Payload copies a pointer.
class Payload {
 public:
  Payload() = default;
  explicit Payload(std::string bytes)
      : bytes_(std::make_shared<const std::string>(std::move(bytes))) {}

  std::string_view view() const { return bytes_ ? std::string_view(*bytes_) : std::string_view(); }
  size_t size() const { return bytes_ ? bytes_->size() : 0; }

  friend bool operator==(const Payload& a, const Payload& b) { return a.view() == b.view(); }

 private:
  std::shared_ptr<const std::string> bytes_;
};

// On disk and on the wire by these numbers; never renumbered.
enum class EntryType : uint8_t {
  kNoOp = 0,           // appended by each new leader (§8); the state machine only notes its index
  kCommand = 1,        // opaque to the core
  kConfiguration = 2,  // an encoded Configuration, effective when appended (thesis §4.1)
};

struct Entry {
  EntryId id = {};
  EntryType type = EntryType::kNoOp;
  Payload payload = {};

  friend bool operator==(const Entry&, const Entry&) = default;
};

// What one entry counts towards the byte bounds of the core: its payload and a fixed overhead, so
// that a flood of empty entries is bounded too.
inline constexpr size_t kEntryOverheadBytes = 32;
inline size_t EntryBytes(const Entry& e) { return e.payload.size() + kEntryOverheadBytes; }

// What must be on stable storage before any message that depends on it leaves (Figure 2).
// `commit_index` rides along as a hint for restart and is never synced for its own sake.
struct HardState {
  Term current_term = 0;
  MemberId voted_for = kNobody;
  Index commit_index = 0;

  friend bool operator==(const HardState&, const HardState&) = default;
};

}  // namespace raftkv::raft

#endif  // RAFTKV_STORAGE_LOG_ENTRY_H_
