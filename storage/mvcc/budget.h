#ifndef RAFTKV_STORAGE_MVCC_BUDGET_H_
#define RAFTKV_STORAGE_MVCC_BUDGET_H_

// How much one read may do, and what is left of that on its way.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>

#include "absl/status/status.h"
#include "storage/mvcc/layout.h"
#include "storage/mvcc/limits.h"

namespace raftkv {

// The defaults are "no limit". The store knows no clock: whoever has a deadline asks its own in
// `give_up`, on the reader's thread.
struct ReadBudget {
  int64_t visited_keys_max = INT64_MAX;
  int64_t bytes_max = INT64_MAX;
  // Asked now and then (Budget::kVisitsPerQuestion); true ends the read with Cancelled. Empty:
  // never.
  std::function<bool()> give_up = {};
};

namespace mvcc {

absl::Status WalksTooFar();  // of an entry of the log: limits.h

// One for all parts of a read. Whoever walks calls Visit before each step and gives skips_left() to
// the iterators; once over(), whatever was found is worth nothing, and the read ends with status().
//
// Deleted keys of which the engine has not got rid yet are passed within it, without a visit. A
// read that may not visit as much as it likes may pass kSkipsMax of them in all: some milliseconds
// at most, where a hundred thousand of them take a tenth of a second.
class Budget {
 public:
  static constexpr int kVisitsPerQuestion = 1024;
  static constexpr int64_t kSkipsMax = 2048;
  static constexpr size_t kBytesPerVisit = 4096;

  explicit Budget(const ReadBudget& budget = ReadBudget(), int64_t skips_max = kSkipsMax)
      : bytes_left(budget.bytes_max),
        visits_left_(budget.visited_keys_max),
        bounded_(budget.visited_keys_max != INT64_MAX),
        skips_left_(skips_max),
        give_up_(budget.give_up) {}

  // Of a key (a deleted one too), a version, a block of the counts or an event.
  bool Visit() {
    if (visits_left_ == 0) exhausted_ = true;
    if (over()) return false;
    --visits_left_;
    if (give_up_ && ++visits_ % kVisitsPerQuestion == 0) given_up_ = give_up_();
    return !given_up_;
  }
  // Values take time as well, even where they are not answered: so many bytes count as a visit.
  void VisitBytes(size_t bytes) {
    const auto visits = static_cast<int64_t>(bytes / kBytesPerVisit);
    visits_left_ -= std::min(visits_left_, visits);
  }
  void Exhaust() { exhausted_ = true; }

  // Within an entry of the log: what walks meet is taken from `entry`, by the rules of limits.h.
  void ChargeWalks(EntryBudget* entry, Revision compacted) {
    entry_ = entry;
    compacted_ = compacted;
  }
  bool charges_walks() const { return entry_ != nullptr; }
  // Whether every member holds a key with this newest version, though it may be a tombstone.
  bool IsHeld(Revision newest) const { return newest >= compacted_; }
  bool Walk(int64_t keys) {
    if (entry_ != nullptr) entry_->walked_keys -= keys;
    return !over();
  }

  // What was visited in vain.
  void PutBack(int64_t visits) { visits_left_ += visits; }
  int64_t visits_left() const { return visits_left_; }

  // For the iterators of this read; null: no limit.
  int64_t* skips_left() { return bounded_ ? &skips_left_ : nullptr; }

  bool over() const { return exhausted_ || given_up_ || skips_left_ < 0 || walked_too_far(); }
  // Of a read that is over: ResourceExhausted "read budget", or Cancelled; or WalksTooFar.
  absl::Status status() const {
    if (walked_too_far()) return WalksTooFar();
    return given_up_ ? absl::CancelledError("the reader has given up")
                     : absl::ResourceExhaustedError("read budget");
  }

  int64_t bytes_left;

 private:
  bool walked_too_far() const { return entry_ != nullptr && entry_->walked_keys < 0; }

  int64_t visits_left_;
  const bool bounded_;
  int64_t skips_left_;
  const std::function<bool()> give_up_;
  int64_t visits_ = 0;
  EntryBudget* entry_ = nullptr;
  Revision compacted_ = 0;
  bool exhausted_ = false;
  bool given_up_ = false;
};

}  // namespace mvcc
}  // namespace raftkv

#endif  // RAFTKV_STORAGE_MVCC_BUDGET_H_
