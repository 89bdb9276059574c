#include "tests/sim/register_search.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"

namespace raftkv::sim {

namespace {

constexpr size_t kWindow = 20;      // operations that start in a window
constexpr int kStepsMax = 200'000;  // of one window's search; then the window is left out
constexpr uint64_t kAnyValue = UINT64_MAX;

}  // namespace

// The search in one window.
class RegisterSearch::Window {
 public:
  // `from` is the start of the window's first operation.
  explicit Window(uint64_t from) : from_(from) {}

  // `required`: the operation takes effect before the window ends, and not before it starts.
  void Add(const Operation& operation, bool required) {
    if (required) required_ |= uint64_t{1} << operations_.size();
    operations_.push_back(operation);
  }
  size_t size() const { return operations_.size(); }

  // Whether there is an order. False also after kStepsMax.
  bool Search() { return From(0, kAnyValue); }
  bool gave_up() const { return steps_ >= kStepsMax; }

  // Whether a read and a write overlap.
  bool concurrent() const {
    return std::any_of(operations_.begin(), operations_.end(), [this](const Operation& read) {
      return read.read &&
             std::any_of(operations_.begin(), operations_.end(), [&](const Operation& write) {
               return !write.read && write.start < read.end && read.start < write.end;
             });
    });
  }

  std::string Text() const {
    std::string text;
    for (const Operation& o : operations_) {
      absl::StrAppend(&text, " ", o.number, o.read ? " read " : " wrote ", o.value, " [", o.start,
                      "-", o.end == kNever ? "" : absl::StrCat(o.end), "]");
    }
    return text;
  }

 private:
  // Whether the other required operations can take effect after those in `done`, which left the
  // value `value`.
  bool From(uint64_t done, uint64_t value) {
    if ((done & required_) == required_) return true;
    if (++steps_ >= kStepsMax || !visited_.emplace(done, value).second) return false;
    // The next operation must start before any of the required operations that are left ends. It
    // must end after all operations that are done have started.
    uint64_t first_end = kNever, last_start = 0;
    for (size_t i = 0; i < operations_.size(); ++i) {
      const Operation& operation = operations_[i];
      if ((done >> i & 1) != 0) {
        last_start = std::max(last_start, operation.start);
      } else if ((required_ >> i & 1) != 0) {
        first_end = std::min(first_end, operation.end);
      }
    }
    bool deletes = false;
    for (size_t i = 0; i < operations_.size(); ++i) {
      const Operation& operation = operations_[i];
      if ((done >> i & 1) != 0 || operation.start > first_end || operation.end < last_start) {
        continue;
      }
      // If several deletions have no answer, it is enough to try the one that started first.
      if (!operation.read && operation.value == 0 && operation.end == kNever) {
        if (std::exchange(deletes, true)) continue;
      }
      if (operation.read && operation.value != value &&
          !(value == kAnyValue && MayBeFirst(operation.value))) {
        continue;
      }
      if (From(done | uint64_t{1} << i, operation.value)) return true;
    }
    return false;
  }

  // Whether the key may have the value when the window starts.
  bool MayBeFirst(uint64_t value) const {
    return value == 0 ||
           std::none_of(operations_.begin(), operations_.end(), [&](const Operation& operation) {
             return !operation.read && operation.value == value && operation.start >= from_;
           });
  }

  const uint64_t from_;
  std::vector<Operation> operations_;
  uint64_t required_ = 0;
  std::set<std::pair<uint64_t, uint64_t>> visited_;
  int steps_ = 0;
};

void RegisterSearch::Start(uint64_t operation, bool read, uint64_t value) {
  places_[operation] = operations_.size();
  operations_.push_back({.number = operation, .read = read, .value = value, .start = ++time_});
}

void RegisterSearch::EndRead(uint64_t operation, uint64_t value) {
  operations_[places_.at(operation)].value = value;
  End(operation);
}

void RegisterSearch::Drop(uint64_t operation) { operations_[places_.at(operation)].dropped = true; }

void RegisterSearch::Check() {
  for (size_t first = 0; first < operations_.size(); first += kWindow / 2) {
    CheckWindow(first, std::min(kWindow, operations_.size() - first));
  }
}

void RegisterSearch::CheckWindow(size_t first, size_t size) {
  const uint64_t from = operations_[first].start;
  const uint64_t to = first + size < operations_.size() ? operations_[first + size].start : kNever;
  std::set<uint64_t> seen = {0};  // by the reads of the window
  for (size_t i = first; i < first + size; ++i) {
    const Operation& operation = operations_[i];
    if (operation.read && operation.end < to) seen.insert(operation.value);
  }
  Window window(from);
  for (size_t i = 0; i < first + size; ++i) {
    const Operation& operation = operations_[i];
    const bool required = operation.start >= from && operation.end < to;
    if (operation.dropped || operation.end < from) continue;
    // Leave out an operation that is not required if it can make no difference: a read, because it
    // may take effect outside the window; and a write whose value no read of the window returned.
    if (!required && (operation.read || seen.count(operation.value) == 0)) continue;
    if (window.size() == 64) return;  // too many of unknown fate
    window.Add(operation, required);
  }
  const bool found = window.Search();
  if (window.gave_up()) return;  // not decided
  if (!found) {
    verdict_->Fail("search", absl::StrCat("no order explains the answers to", window.Text()));
  } else if (window.concurrent()) {
    marks_->Hit(Mark::kRegisterSearched);
  }
}

}  // namespace raftkv::sim
