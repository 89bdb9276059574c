#include "tests/e2e/linearizability.h"

#include <algorithm>
#include <limits>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace raftkv::e2e {
namespace {

using Kind = Operation::Kind;
using Outcome = Operation::Outcome;

constexpr int64_t kNever = std::numeric_limits<int64_t>::max();

std::string Describe(const Operation& op) {
  static constexpr const char* kKinds[] = {"put", "delete", "get", "cas", "transaction", "compact"};
  std::string text =
      absl::StrFormat("client %d's %s", op.client, kKinds[static_cast<int>(op.kind)]);
  if (!op.key.empty()) absl::StrAppendFormat(&text, " of \"%s\"", op.key);
  for (const Operation& part : op.parts) absl::StrAppendFormat(&text, " \"%s\"", part.key);
  if (!op.value.empty()) absl::StrAppendFormat(&text, " (value \"%s\")", op.value);
  if (op.kind == Kind::kCas) absl::StrAppendFormat(&text, " (modified %d)", op.expected);
  if (op.at_revision != 0) absl::StrAppendFormat(&text, " (revision %d)", op.at_revision);
  if (op.revision != 0) absl::StrAppendFormat(&text, " at revision %d", op.revision);
  return text;
}

// Changes of one revision, by key.
using Changes = std::map<std::string, Change>;

std::string Describe(const Changes& changes) {
  std::string text;
  for (const auto& [key, change] : changes) {
    absl::StrAppend(&text, text.empty() ? "" : ", ", "\"", key, "\" ",
                    change.is_delete ? "deleted" : absl::StrCat("= \"", change.value, "\""));
  }
  return text;
}

bool Puts(const Operation& op) {
  return op.kind == Kind::kPut || (op.kind == Kind::kCas && !op.removes);
}

class Checker {
 public:
  explicit Checker(const History& history) : operations_(history.operations) {
    start_ = history.start_revision;
    AddAcknowledged();
    AddEvidence(history.evidence);
    ExplainUnacknowledged();
    CheckNoGaps();
    CheckRealTime();
    CheckStates();
    CheckCompactions();
  }

  std::vector<std::string> violations() && { return std::move(violations_); }

 private:
  struct KeyState {
    std::string value;
    int64_t create_revision = 0;
    int64_t mod_revision = 0;
    int64_t version = 0;
  };

  template <typename... Args>
  void Report(const Args&... args) {
    violations_.push_back(absl::StrCat(args...));
  }

  // The changes of `op` at `revision`. `holds(removal)` says whether the key of a delete exists.
  template <typename Holds>
  static Changes Effect(const Operation& op, int64_t revision, const Holds& holds) {
    Changes changes;
    if (op.kind == Kind::kTxn) {
      for (const Operation& part : op.parts) {
        if (part.kind != Kind::kGet) changes.merge(Effect(part, revision, holds));
      }
    } else if (Puts(op)) {
      changes[op.key] = {revision, /*is_delete=*/false, op.key, op.value};
    } else if (holds(op)) {
      changes[op.key] = {revision, /*is_delete=*/true, op.key, ""};
    }
    return changes;
  }

  void AddAcknowledged() {
    for (const Operation& op : operations_) {
      if (op.outcome != Outcome::kOk) continue;
      if (op.revision > 0) {
        const auto [earliest, fresh] = earliest_return_.emplace(op.revision, op.returned);
        if (!fresh) earliest->second = std::min(earliest->second, op.returned);
      }
      if (!op.Changes()) continue;
      if (op.revision <= start_) {
        Report(Describe(op), " is not after the start, ", start_);
      }
      const auto found = [](const Operation& removal) { return removal.found; };
      const auto [other, fresh] = changes_.emplace(op.revision, Effect(op, op.revision, found));
      if (!fresh)
        Report(Describe(op), ": another write, of ", Describe(other->second),
               ", has the same revision");
    }
    int64_t earliest = kNever;
    for (auto it = earliest_return_.rbegin(); it != earliest_return_.rend(); ++it) {
      earliest = it->second = std::min(earliest, it->second);
    }
  }

  // The earliest time at which an answer had this revision or a later one.
  int64_t EarliestReturnFrom(int64_t revision) const {
    const auto it = earliest_return_.lower_bound(revision);
    return it == earliest_return_.end() ? kNever : it->second;
  }

  void AddEvidence(const std::vector<Change>& evidence) {
    std::map<int64_t, Changes> held;
    for (const Change& change : evidence) held[change.revision][change.key] = change;
    for (auto& [revision, changes] : held) {
      const auto [acknowledged, fresh] = changes_.emplace(revision, changes);
      if (fresh) {
        unacknowledged_.push_back(revision);
      } else if (acknowledged->second != changes) {
        Report("revision ", revision, " was acknowledged for ", Describe(acknowledged->second),
               ", but the store holds ", Describe(changes));
      }
    }
  }

  // Finds for each unacknowledged revision a call of unknown outcome. No call may explain two
  // revisions. Puts are identified by their values.
  void ExplainUnacknowledged() {
    std::map<std::pair<std::string, std::string>, Operation*> puts;
    for (Operation& op : operations_) {
      if (Puts(op)) puts[{op.key, op.value}] = &op;
      if (op.kind == Kind::kDelete || (op.kind == Kind::kCas && op.removes)) {
        if (op.outcome == Outcome::kUnknown) removals_.emplace(op.key, &op);
      }
      for (const Operation& part : op.parts) {
        if (part.kind == Kind::kPut) puts[{part.key, part.value}] = &op;
      }
    }
    std::map<std::string, int64_t> modified;  // mod_revision of each key before this revision
    auto next = unacknowledged_.begin();
    for (const auto& [revision, changes] : changes_) {
      if (next != unacknowledged_.end() && *next == revision) {
        ++next;
        Operation* op = nullptr;
        for (const auto& [key, change] : changes) {
          if (!change.is_delete && op == nullptr) op = puts[{key, change.value}];
        }
        const auto& [key, first] = *changes.begin();
        if (op == nullptr && first.is_delete) op = TakeRemoval(first, modified[key]);
        Attribute(revision, changes, op, modified);
      }
      for (const auto& [key, change] : changes) modified[key] = change.is_delete ? 0 : revision;
    }
  }

  // The call of unknown outcome that may have deleted the key. A matching compare-and-swap matches
  // no other revision, so it is used first. Of plain deletes the earliest is used, because real
  // time restricts it least.
  Operation* TakeRemoval(const Change& change, int64_t modified) {
    const auto [begin, end] = removals_.equal_range(change.key);
    auto best = end;
    for (auto it = begin; it != end; ++it) {
      const Operation& op = *it->second;
      const bool cas = op.kind == Kind::kCas;
      if (cas && op.expected != modified) continue;
      if (cas && op.invoked > EarliestReturnFrom(change.revision)) continue;
      if (best == end || std::pair(!cas, op.invoked) <
                             std::pair(best->second->kind != Kind::kCas, best->second->invoked)) {
        best = it;
      }
    }
    if (best == end) return nullptr;
    Operation* const op = best->second;
    removals_.erase(best);
    return op;
  }

  void Attribute(int64_t revision, const Changes& changes, Operation* op,
                 const std::map<std::string, int64_t>& modified) {
    if (op == nullptr) {
      return Report("revision ", revision, " changed ", Describe(changes),
                    ", which no client requested");
    }
    if (op->outcome == Outcome::kNotApplied) {
      return Report(Describe(*op), " failed for certain, but was applied at revision ", revision);
    }
    if (op->revision != 0) {
      return Report(Describe(*op), " was applied again at revision ", revision);
    }
    op->revision = revision;
    op->succeeded = true;
    const auto there = [&modified](const Operation& removal) {
      const auto it = modified.find(removal.key);
      return it != modified.end() && it->second != 0;
    };
    const Changes whole = Effect(*op, revision, there);
    if (whole != changes) {
      Report(Describe(*op), " should have left ", Describe(whole), ", but the store holds ",
             Describe(changes));
    }
  }

  void CheckNoGaps() {
    int64_t last = start_;
    for (const Operation& op : operations_) last = std::max(last, op.revision);
    for (int64_t revision = start_ + 1; revision <= last; ++revision) {
      if (changes_.count(revision) == 0)
        Report("no call and no evidence explain revision ", revision);
    }
  }

  void CheckRealTime() {
    std::vector<const Operation*> by_invocation, by_return;
    for (const Operation& op : operations_) {
      if (op.revision == 0) continue;  // it had no visible effect
      by_invocation.push_back(&op);
      if (op.outcome == Outcome::kOk) by_return.push_back(&op);
    }
    std::sort(by_invocation.begin(), by_invocation.end(),
              [](auto* a, auto* b) { return a->invoked < b->invoked; });
    std::sort(by_return.begin(), by_return.end(),
              [](auto* a, auto* b) { return a->returned < b->returned; });
    size_t returned = 0;
    const Operation* newest = nullptr;  // the one with the highest revision that returned before
    for (const Operation* op : by_invocation) {
      for (; returned < by_return.size() && by_return[returned]->returned < op->invoked;
           ++returned) {
        if (newest == nullptr || by_return[returned]->revision > newest->revision) {
          newest = by_return[returned];
        }
      }
      if (newest == nullptr) continue;
      if (op->revision < newest->revision || (op->Changes() && op->revision == newest->revision)) {
        Report(Describe(*op), " began after ", Describe(*newest), " had returned");
      }
    }
  }

  // The revision of the state that an answer shows.
  static int64_t Shown(const Operation& op) {
    return op.at_revision != 0 && op.kind == Kind::kGet ? op.at_revision : op.revision;
  }

  void CheckStates() {
    std::vector<const Operation*> placed;
    for (const Operation& op : operations_) {
      if (op.revision != 0 && op.kind != Kind::kCompact) placed.push_back(&op);
    }
    // An operation that changes keys is checked against the state before its revision, so it comes
    // first.
    std::sort(placed.begin(), placed.end(), [](auto* a, auto* b) {
      return std::pair(Shown(*a), !a->Changes()) < std::pair(Shown(*b), !b->Changes());
    });
    auto change = changes_.begin();
    for (const Operation* op : placed) {
      const int64_t until = op->Changes() ? Shown(*op) - 1 : Shown(*op);
      for (; change != changes_.end() && change->first <= until; ++change) Apply(change->second);
      op->Changes() ? CheckChange(*op) : CheckNoChange(*op);
    }
    for (; change != changes_.end(); ++change) Apply(change->second);
  }

  // Checks `op` against the state before its revision.
  void CheckChange(const Operation& op) {
    if (op.kind == Kind::kCas && Modified(op.key) != op.expected) {
      Report(Describe(op), " succeeded, but the key was modified at ", Modified(op.key));
    }
    if (op.outcome != Outcome::kOk) return;
    if (op.kind == Kind::kDelete || (op.kind == Kind::kCas && op.removes)) CheckRemoval(op, op);
    for (const Operation& part : op.parts) {
      if (part.kind == Kind::kGet) CheckRead(op, part, part.value);
      if (part.kind == Kind::kDelete) CheckRemoval(op, part);
    }
  }

  // `removal` is `op`, or a part of it.
  void CheckRemoval(const Operation& op, const Operation& removal) {
    if (removal.found != (state_.count(removal.key) > 0)) {
      Report(Describe(op),
             removal.found ? " found a key that did not exist" : " did not find an existing key");
    }
  }

  // Checks `op` against the state at its revision.
  void CheckNoChange(const Operation& op) {
    if (op.kind == Kind::kCas && Modified(op.key) == op.expected) {
      Report(Describe(op), " failed, but the key was modified at ", op.expected);
    }
    if (op.kind == Kind::kGet && op.at_revision > op.revision) {
      Report(Describe(op), " was answered before that revision existed");
    }
    if (op.kind == Kind::kCas) return CheckRead(op, op, op.found_value);
    if (op.kind != Kind::kTxn) return CheckRead(op, op, op.value);
    for (const Operation& part : op.parts) CheckRead(op, part, part.value);
  }

  int64_t Modified(const std::string& key) const {
    const auto it = state_.find(key);
    return it == state_.end() ? 0 : it->second.mod_revision;
  }

  // `seen` is `op`, or a part of it.
  void CheckRead(const Operation& op, const Operation& seen, const std::string& value) {
    const auto at = state_.find(seen.key);
    const bool there = at != state_.end();
    if (!seen.found) {
      if (there)
        Report(Describe(op), " found nothing, but the value was \"", at->second.value, "\"");
      return;
    }
    if (!there) return Report(Describe(op), " found a key that did not exist");
    const KeyState& state = at->second;
    if (value != state.value || seen.mod_revision != state.mod_revision ||
        seen.create_revision != state.create_revision || seen.version != state.version) {
      Report(Describe(op),
             absl::StrFormat(" (created %d, modified %d, version %d) should have found \"%s\" "
                             "(created %d, modified %d, version %d)",
                             seen.create_revision, seen.mod_revision, seen.version, state.value,
                             state.create_revision, state.mod_revision, state.version));
    }
  }

  void Apply(const Changes& changes) {
    for (const auto& [key, change] : changes) {
      if (change.is_delete) {
        if (state_.erase(key) == 0) {
          Report("revision ", change.revision, " deleted \"", key, "\", which did not exist");
        }
        continue;
      }
      KeyState& state = state_[key];
      if (state.version == 0) state.create_revision = change.revision;
      state.value = change.value;
      state.mod_revision = change.revision;
      ++state.version;
    }
  }

  void CheckCompactions() {
    std::vector<const Operation*> compactions;
    for (const Operation& op : operations_) {
      if (op.kind == Kind::kCompact && op.outcome != Outcome::kNotApplied)
        compactions.push_back(&op);
    }
    for (const Operation& op : operations_) {
      if (op.at_revision == 0) continue;
      // A compaction removes the revisions below its own. A second compaction at the same revision
      // fails, too.
      const int64_t removed_by = op.at_revision + (op.kind == Kind::kCompact ? 0 : 1);
      bool certain = false, possible = false;
      for (const Operation* compaction : compactions) {
        if (compaction == &op || compaction->at_revision < removed_by) continue;
        certain |= compaction->outcome == Outcome::kOk && compaction->returned < op.invoked;
        possible |= compaction->outcome != Outcome::kCompacted && compaction->invoked < op.returned;
      }
      if (op.outcome == Outcome::kOk && certain) {
        Report(Describe(op), " was answered although a compaction had removed its revision");
      }
      if (op.outcome == Outcome::kCompacted && !possible) {
        Report(Describe(op), " failed as compacted, but its revision was not compacted");
      }
      if (op.outcome == Outcome::kFuture && EarliestReturnFrom(op.at_revision) < op.invoked) {
        Report(Describe(op), " failed as a future revision, but its revision existed");
      }
    }
  }

  std::vector<Operation> operations_;  // one of unknown outcome gets its revision from evidence
  int64_t start_ = 0;
  std::map<int64_t, Changes> changes_;
  std::vector<int64_t> unacknowledged_;              // revisions known only by evidence, ascending
  std::map<int64_t, int64_t> earliest_return_;       // of answers with this revision or a later one
  std::multimap<std::string, Operation*> removals_;  // deletes of unknown outcome, by key
  std::map<std::string, KeyState> state_;
  std::vector<std::string> violations_;
};

}  // namespace

bool Operation::Changes() const {
  const bool answered = outcome == Outcome::kOk;
  switch (kind) {
    case Kind::kPut:
      return true;
    case Kind::kDelete:
      return found || !answered;
    case Kind::kCas:
      return succeeded || !answered;
    case Kind::kTxn:
      return std::any_of(parts.begin(), parts.end(), [answered](const Operation& part) {
        return part.kind == Kind::kPut || (part.kind == Kind::kDelete && (part.found || !answered));
      });
    case Kind::kGet:
    case Kind::kCompact:
      return false;
  }
  return false;
}

std::vector<std::string> FindViolations(const History& history) {
  return Checker(history).violations();
}

}  // namespace raftkv::e2e
