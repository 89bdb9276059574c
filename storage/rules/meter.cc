#include "storage/rules/meter.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace raftkv {
namespace {

// The costs of local limits. They do not depend on the cluster version.
constexpr Costs kLocalCosts;
static_assert(kLocalCosts.key_bytes_per_step == kLocalCosts.value_bytes_per_step,
              "the bytes of a record are charged together");

}  // namespace

Meter::Meter(const Limits& limits, int64_t skips_max)
    : steps_left_(limits.steps_max),
      limited_(limits.steps_max != INT64_MAX),
      skips_left_(skips_max),
      give_up_(limits.give_up),
      answer_bytes_left_(limits.answer_bytes_max) {}

bool Meter::Step(size_t bytes) {
  if (steps_left_ == 0) exhausted_ = true;
  if (over()) return false;
  Take(1 + kLocalCosts.OfValue(bytes));
  return !given_up_;
}

void Meter::Bytes(size_t bytes) { Take(kLocalCosts.OfValue(bytes)); }

bool Meter::Charge(int64_t steps) {
  if (steps_left_ < steps) exhausted_ = true;
  Take(steps);
  return !over();
}

void Meter::Take(int64_t steps) {
  // A record that costs more than what is left is still read; the next Step fails.
  steps_left_ -= std::min(steps_left_, steps);
  if (!give_up_ || given_up_) return;
  steps_to_question_ -= steps;
  if (steps_to_question_ > 0) return;
  steps_to_question_ = kStepsPerQuestion;
  given_up_ = give_up_();
}

bool Meter::Answer(int64_t bytes) {
  answer_bytes_left_ -= bytes;
  return !over();
}

void Meter::BeginEntry(const Rules& rules, Revision compacted) {
  rules_ = &rules;
  compacted_ = compacted;
  answer_bytes_left_ = rules.answer_bytes;
  walked_steps_left_ = rules.walked_steps;
  deleted_keys_left_ = rules.deleted_keys;
  deleted_key_bytes_left_ = rules.deleted_key_bytes;
  deleted_steps_ = 0;
}

bool Meter::Walk(int64_t steps) {
  if (rules_ != nullptr) walked_steps_left_ -= steps;
  return !over();
}

bool Meter::Delete(size_t key_bytes, size_t stored_key_bytes) {
  --deleted_keys_left_;
  deleted_key_bytes_left_ -= static_cast<int64_t>(key_bytes);
  deleted_steps_ += 1 + rules_->costs.OfKey(stored_key_bytes);
  return !over();
}

absl::Status Meter::status() const {
  if (walked_steps_left_ < 0) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "one transaction or deletion may take at most ", rules_->walked_steps,
        " steps to read its ranges (one for each key, and more for a large key or value); ask for "
        "smaller ranges, or compact what was deleted"));
  }
  if (deleted_keys_left_ < 0 || deleted_key_bytes_left_ < 0) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "one request may delete at most ", rules_->deleted_keys, " keys, of ",
        rules_->deleted_key_bytes, " bytes; delete smaller ranges one after the other"));
  }
  if (answer_bytes_left_ < 0 && rules_ != nullptr) {
    return absl::ResourceExhaustedError(
        absl::StrCat("one transaction or deletion may answer at most ", rules_->answer_bytes,
                     " bytes of keys and values; ask for less of them"));
  }
  if (given_up_) return absl::CancelledError("the reader has given up");
  return absl::ResourceExhaustedError("read budget");
}

}  // namespace raftkv
