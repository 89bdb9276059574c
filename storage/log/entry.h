#ifndef RAFTKV_STORAGE_LOG_ENTRY_H_
#define RAFTKV_STORAGE_LOG_ENTRY_H_

// The types that the Raft log and the Raft core share: plain values, named as in the Raft paper.
// The core (server/raft) creates entries, storage/log stores them, storage/state_machine applies
// them.
//
// `Index` is a position in the replicated log. The first entry has index 1; 0 means "before the
// first entry". An index is not a *revision*, which counts changes of the key-value store.
// `Term` is 0 on a new member; the first elected leader has term 1 or more.
// `MemberId` 0 (kNobody) means "no member".

#include <compare>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "storage/base/checksum.h"

namespace raftkv::raft {

using MemberId = uint64_t;
using Term = uint64_t;
using Index = uint64_t;

inline constexpr MemberId kNobody = 0;

// Identifies one log entry. Two logs that contain the same EntryId are equal up to it (Log
// Matching, §5.3). The order is by term, then index: for last entries, a >= b is the paper's "at
// least as up-to-date" (§5.4.1).
struct EntryId {
  Term term = 0;
  Index index = 0;

  friend auto operator<=>(const EntryId&, const EntryId&) = default;
};

// Immutable bytes, shared by the log, the streams to the peers and the applier. A command is
// encoded once, when its request arrives, and parsed on each member when it is applied.
// Copying a Payload copies a pointer.
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

// These numbers are stored on disk and sent to peers. Never change them.
enum class EntryType : uint8_t {
  kNoOp = 0,           // appended by each new leader (§8); the state machine only records its id
  kCommand = 1,        // an encoded Command; the core does not read it
  kConfiguration = 2,  // a Command that changes the members; in force when appended (thesis §4.1)
};

// Who takes part in Raft. Both lists are sorted and hold no duplicates; no member is in both.
// Learners get the log, but do not vote and are never part of a majority.
struct Configuration {
  std::vector<MemberId> voters = {};
  std::vector<MemberId> learners = {};

  friend bool operator==(const Configuration&, const Configuration&) = default;
};

struct Entry {
  EntryId id = {};
  EntryType type = EntryType::kNoOp;
  Payload payload = {};

  friend bool operator==(const Entry&, const Entry&) = default;
};

// The chain hash of a log identifies its whole content: it is computed from that of the log without
// its last entry, and from that entry. It is 0 before the first entry. Two logs that contain the
// same EntryId have the same chain hash there (Log Matching, §5.3), unless a member has forgotten
// votes or entries that it had saved.
inline uint64_t ChainAfter(uint64_t before, const EntryId& id, EntryType type,
                           std::string_view payload) {
  uint64_t hash = HashMix(before, id.index);
  hash = HashMix(hash, id.term);
  hash = HashMix(hash, static_cast<uint64_t>(type));
  return Hash64(payload, hash);
}
inline uint64_t ChainAfter(uint64_t before, const Entry& entry) {
  return ChainAfter(before, entry.id, entry.type, entry.payload.view());
}

// The size of one entry for the byte bounds of the core: its payload and a fixed overhead. The
// overhead bounds the number of empty entries, too.
inline constexpr size_t kEntryOverheadBytes = 32;
inline size_t EntryBytes(const Entry& e) { return e.payload.size() + kEntryOverheadBytes; }

// The persistent state besides the log (Figure 2). Term and vote must be on disk before a message
// that depends on them is sent. A new commit index alone causes no save. But each save of entries
// also saves the newest one: a leader proposes a change of the configuration only after it knows
// that the one before is committed, and its followers learn that with the new change at the latest.
// So after a restart, too, at most one change is after the commit index.
struct HardState {
  Term current_term = 0;
  MemberId voted_for = kNobody;
  Index commit_index = 0;

  friend bool operator==(const HardState&, const HardState&) = default;
};

// How far a log has ever come: its current term, and the highest last index that it had in that
// term. All acknowledgements of the log's member are at or below it. It is saved with the log and
// never goes back, unless an older copy replaces the log.
struct Reached {
  Term term = 0;
  Index index = 0;

  friend auto operator<=>(const Reached&, const Reached&) = default;
};

}  // namespace raftkv::raft

#endif  // RAFTKV_STORAGE_LOG_ENTRY_H_
