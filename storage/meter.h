#ifndef RAFTKV_STORAGE_METER_H_
#define RAFTKV_STORAGE_METER_H_

// What reads and log entries may cost, and what is left of it while they run.
//
// There are two kinds of limits:
//   - Limits (below) are local. They keep the thread that reads or applies from being held up: a
//     read that exceeds them runs again on a worker; an entry that exceeds them is applied
//     later, or on a worker. They never decide what an entry does.
//   - Rules (version.h) are replicated. They decide whether an entry fails.
//
// Both count steps of about a microsecond by one table of costs (Costs in version.h).

#include <cstddef>
#include <cstdint>
#include <functional>

#include "absl/status/status.h"
#include "storage/mvcc/layout.h"  // Revision
#include "storage/version.h"

namespace raftkv {

// The defaults are "no limit". The store reads no clock: a caller with a deadline checks its own in
// `give_up`.
struct Limits {
  int64_t steps_max = INT64_MAX;
  int64_t answer_bytes_max = INT64_MAX;  // of reads
  // Asked on the reading thread every Meter::kStepsPerQuestion steps; true ends the read with
  // Cancelled. Empty: never.
  std::function<bool()> give_up = {};
};

// One for all parts of a read, or for all entries of one call of StateMachine::Apply. Code that
// reads records calls Step for each and passes skips_left() to its iterators. Once over() is true,
// what was found so far must be dropped, and the work ends with status().
//
// Iterators also pass keys that were deleted and that the engine has not removed yet. Those cost no
// steps; a read or an entry with a limit of steps may pass kSkipsMax of them in all. That takes
// some milliseconds at most, where passing a hundred thousand of them takes a tenth of a second.
class Meter {
 public:
  static constexpr int64_t kStepsPerQuestion = 1024;
  static constexpr int64_t kSkipsMax = 2048;

  explicit Meter(const Limits& limits = Limits(), int64_t skips_max = kSkipsMax);

  // --- local limits

  // One record is read: a key, version, event or block of counts, of so many bytes. False: over.
  bool Step(size_t bytes = 0);
  // These bytes are read, copied or hashed without a record of their own.
  void Bytes(size_t bytes);
  // Whether steps are limited. If not, work that only serves to measure can be left out.
  bool limited() const { return limited_; }
  int64_t steps_left() const { return steps_left_; }
  // For iterators; null: no limit.
  int64_t* skips_left() { return limited_ ? &skips_left_ : nullptr; }
  // A local limit is exceeded. An entry that is being checked has no verdict then.
  bool interrupted() const { return exhausted_ || given_up_ || skips_left_ < 0; }

  // --- answers: by Limits in a read, by Rules in an entry

  int64_t answer_bytes_left() const { return answer_bytes_left_; }
  // False: over. Negative bytes are given back.
  bool Answer(int64_t bytes);

  // --- the rules of an entry

  // From here on an entry is checked by `rules`, which must outlive the check. `compacted` is the
  // oldest revision that can be read.
  void BeginEntry(const Rules& rules, Revision compacted);
  bool in_entry() const { return rules_ != nullptr; }
  const Rules& rules() const { return *rules_; }
  // Whether every member holds a key with this newest version, though it may be a tombstone.
  bool IsHeld(Revision newest) const { return newest >= compacted_; }
  // A walk passes a key, reads a value, or takes so many steps. False: over. No effect in a read.
  bool WalkKey(size_t stored_key_bytes) {
    return rules_ == nullptr ? !over() : Walk(1 + rules_->costs.OfKey(stored_key_bytes));
  }
  bool WalkValue(size_t bytes) {
    return rules_ == nullptr ? !over() : Walk(rules_->costs.OfValue(bytes));
  }
  bool Walk(int64_t steps);
  // A key of a range is to be deleted. False: over.
  bool Delete(size_t key_bytes, size_t stored_key_bytes);
  // What it costs to pass all keys that were deleted so far.
  int64_t deleted_steps() const { return deleted_steps_; }

  bool over() const {
    return interrupted() || answer_bytes_left_ < 0 || walked_steps_left_ < 0 ||
           deleted_keys_left_ < 0 || deleted_key_bytes_left_ < 0;
  }
  // When over: the verdict of an entry that broke a rule, ResourceExhausted with the rule; else
  // ResourceExhausted "read budget", or Cancelled.
  absl::Status status() const;

 private:
  void Take(int64_t steps);

  int64_t steps_left_;
  const bool limited_;
  int64_t skips_left_;
  const std::function<bool()> give_up_;
  int64_t steps_to_question_ = kStepsPerQuestion;
  bool exhausted_ = false;
  bool given_up_ = false;

  int64_t answer_bytes_left_;

  const Rules* rules_ = nullptr;  // of the entry that is checked; null in a read
  Revision compacted_ = 0;
  int64_t walked_steps_left_ = 0;
  int64_t deleted_keys_left_ = 0;
  int64_t deleted_key_bytes_left_ = 0;
  int64_t deleted_steps_ = 0;
};

}  // namespace raftkv

#endif  // RAFTKV_STORAGE_METER_H_
