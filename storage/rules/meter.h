#ifndef RAFTKV_STORAGE_RULES_METER_H_
#define RAFTKV_STORAGE_RULES_METER_H_

// Measures the cost of reads and log entries, and compares it with their limits while they run.
//
// There are two kinds of limits:
//   - Limits (below) are local. They keep the thread that reads or applies from being blocked for
//     long: a read that exceeds them runs again on a worker; an entry that exceeds them is applied
//     later, or on a worker. They never decide what an entry does.
//   - Rules (version.h) are replicated. They decide whether an entry fails.
//
// Both count steps. Reading a record takes about a microsecond. Compacting a record takes five to
// nine microseconds, because its version is deleted. Costs (version.h) says how many steps bytes
// cost.

#include <cstddef>
#include <cstdint>
#include <functional>

#include "absl/status/status.h"
#include "storage/rules/revision.h"
#include "storage/rules/version.h"

namespace raftkv {

// The defaults are "no limit". The store reads no clock: a caller with a deadline checks that
// deadline in `give_up`.
struct Limits {
  int64_t steps_max = INT64_MAX;
  int64_t answer_bytes_max = INT64_MAX;  // of reads
  // Called on the reading thread every Meter::kStepsPerQuestion steps. True ends the read with
  // Cancelled. Empty: the read never gives up.
  std::function<bool()> give_up = {};
};

// One Meter serves all parts of a read, or all entries of one call of StateMachine::Apply. Code
// that reads records calls Step for each record, and passes skips_left() to its iterators. Once
// over() is true, the caller must discard the results so far and end with status().
//
// Iterators also pass deleted keys that the engine has not removed yet. Those cost no steps, but a
// read or an entry with a limit of steps may pass at most kSkipsMax of them. Passing kSkipsMax
// takes at most some milliseconds; passing a hundred thousand takes a tenth of a second.
class Meter {
 public:
  static constexpr int64_t kStepsPerQuestion = 1024;
  static constexpr int64_t kSkipsMax = 2048;

  explicit Meter(const Limits& limits = Limits(), int64_t skips_max = kSkipsMax);

  // --- local limits

  // Charges the read of one record (a key, version, event or block of counts) with `bytes` bytes.
  // Returns !over().
  bool Step(size_t bytes = 0);
  // Charges bytes that are read, copied or hashed in addition to records.
  void Bytes(size_t bytes);
  // Charges steps that another meter has counted. Returns !over().
  bool Charge(int64_t steps);
  // Whether steps are limited. If not, callers may skip work that only measures.
  bool limited() const { return limited_; }
  int64_t steps_left() const { return steps_left_; }
  // For iterators; null: no limit.
  int64_t* skips_left() { return limited_ ? &skips_left_ : nullptr; }
  // True: a local limit was exceeded. The check of an entry then has no verdict.
  bool interrupted() const { return exhausted_ || given_up_ || skips_left_ < 0; }

  // --- bytes of answers: limited by Limits in a read, by Rules in an entry

  int64_t answer_bytes_left() const { return answer_bytes_left_; }
  // Charges bytes of an answer. A negative number undoes an earlier charge. Returns !over().
  bool Answer(int64_t bytes);

  // --- the rules of an entry

  // Starts the check of an entry by `rules`, which must outlive the check. `compacted` is the
  // compacted revision: the oldest one that can be read.
  void BeginEntry(const Rules& rules, Revision compacted);
  bool in_entry() const { return rules_ != nullptr; }
  const Rules& rules() const { return *rules_; }
  // `newest`: the revision of a key's newest version, which may be a tombstone. True: every member
  // still stores that version, because the revision is not below the compacted one.
  bool EveryMemberHas(Revision newest) const { return newest >= compacted_; }
  // These charge an entry for a key that a walk passes, a value that it reads, or a number of
  // steps. In a read they charge nothing. They return !over().
  bool WalkKey(size_t stored_key_bytes) {
    return rules_ == nullptr ? !over() : Walk(1 + rules_->costs.OfKey(stored_key_bytes));
  }
  bool WalkValue(size_t bytes) {
    return rules_ == nullptr ? !over() : Walk(rules_->costs.OfValue(bytes));
  }
  bool Walk(int64_t steps);
  // Charges the deletion of one key of a range. Returns !over().
  bool Delete(size_t key_bytes, size_t stored_key_bytes);
  // What it would cost, in steps, to walk over all keys that this entry has deleted so far.
  int64_t deleted_steps() const { return deleted_steps_; }

  bool over() const {
    return interrupted() || answer_bytes_left_ < 0 || walked_steps_left_ < 0 ||
           deleted_keys_left_ < 0 || deleted_key_bytes_left_ < 0;
  }
  // Call it when over() is true. If a rule was broken: the entry's verdict, ResourceExhausted with
  // a text that names the rule. If a local limit was exceeded: ResourceExhausted "read budget", or
  // Cancelled if give_up returned true.
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

#endif  // RAFTKV_STORAGE_RULES_METER_H_
