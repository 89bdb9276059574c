#include "tests/e2e/witness.h"

#include <algorithm>
#include <deque>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace raftkv::e2e {
namespace {

using Kind = Operation::Kind;
using Outcome = Operation::Outcome;

std::string Describe(const Operation& op) {
  static constexpr const char* kKinds[] = {"put", "delete", "get"};
  std::string text = absl::StrFormat("client %d's %s of \"%s\"", op.client,
                                     kKinds[static_cast<int>(op.kind)], op.key);
  if (!op.value.empty()) absl::StrAppendFormat(&text, " (value \"%s\")", op.value);
  if (op.revision != 0) absl::StrAppendFormat(&text, " at revision %d", op.revision);
  return text;
}

class Checker {
 public:
  explicit Checker(const History& history) : operations_(history.operations) {
    start_ = history.start_revision;
    PlaceAcknowledged();
    PlaceEvidence(history.evidence);
    CheckNoHoles();
    CheckRealTime();
    CheckStates();
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

  void PlaceAcknowledged() {
    for (const Operation& op : operations_) {
      if (op.outcome != Outcome::kOk || !op.Changes()) continue;
      if (op.revision <= start_) {
        Report(Describe(op), " is not after the start, ", start_);
      }
      const Change change{op.revision, op.kind == Kind::kDelete, op.key, op.value};
      const auto [other, fresh] = changes_.emplace(op.revision, change);
      if (!fresh)
        Report(Describe(op), ": another write, of \"", other->second.key, "\", has it too");
    }
  }

  // What nobody was told: each change needs one write of unknown fate, and no write serves twice.
  // Among deletes of one key the earliest is taken first: it is the least bound by real time.
  void PlaceEvidence(std::vector<Change> evidence) {
    std::map<std::pair<std::string, std::string>, Operation*> puts;
    std::map<std::string, std::deque<Operation*>> deletes;
    for (Operation& op : operations_) {
      if (op.kind == Kind::kPut) puts[{op.key, op.value}] = &op;
      if (op.kind == Kind::kDelete && op.outcome == Outcome::kUnknown) {
        deletes[op.key].push_back(&op);
      }
    }
    for (auto& [key, queue] : deletes) {
      std::stable_sort(queue.begin(), queue.end(),
                       [](auto* a, auto* b) { return a->invoked < b->invoked; });
    }
    std::sort(evidence.begin(), evidence.end(),
              [](const Change& a, const Change& b) { return a.revision < b.revision; });

    for (const Change& change : evidence) {
      const auto [known, fresh] = changes_.emplace(change.revision, change);
      if (!fresh) {
        const Change& told = known->second;
        if (told.is_delete != change.is_delete || told.key != change.key ||
            told.value != change.value) {
          Report("revision ", change.revision, " was acknowledged for \"", told.key, "\" = \"",
                 told.value, "\", but the store holds \"", change.key, "\" = \"", change.value,
                 "\"");
        }
        continue;
      }
      Operation* op = nullptr;
      if (change.is_delete) {
        std::deque<Operation*>& queue = deletes[change.key];
        if (!queue.empty()) {
          op = queue.front();
          queue.pop_front();
        }
      } else {
        op = puts[{change.key, change.value}];
      }
      Attribute(change, op);
    }
  }

  void Attribute(const Change& change, Operation* op) {
    if (op == nullptr) {
      Report("revision ", change.revision, " changed \"", change.key, "\" to \"", change.value,
             "\", which nobody asked for");
    } else if (op->outcome == Outcome::kRefused) {
      Report(Describe(*op), " was refused, yet applied at revision ", change.revision);
    } else if (op->revision != 0) {
      Report(Describe(*op), " was applied again at revision ", change.revision);
    } else {
      op->revision = change.revision;
    }
  }

  void CheckNoHoles() {
    int64_t last = start_;
    for (const Operation& op : operations_) last = std::max(last, op.revision);
    for (int64_t revision = start_ + 1; revision <= last; ++revision) {
      if (changes_.count(revision) == 0)
        Report("nobody knows what revision ", revision, " changed");
    }
  }

  void CheckRealTime() {
    std::vector<const Operation*> by_invocation, by_return;
    for (const Operation& op : operations_) {
      if (op.revision == 0) continue;  // never ran, as far as anyone can see
      by_invocation.push_back(&op);
      if (op.outcome == Outcome::kOk) by_return.push_back(&op);
    }
    std::sort(by_invocation.begin(), by_invocation.end(),
              [](auto* a, auto* b) { return a->invoked < b->invoked; });
    std::sort(by_return.begin(), by_return.end(),
              [](auto* a, auto* b) { return a->returned < b->returned; });
    size_t returned = 0;
    const Operation* newest = nullptr;  // by revision, of all that returned before
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

  void CheckStates() {
    std::vector<const Operation*> answered;
    for (const Operation& op : operations_) {
      if (op.outcome == Outcome::kOk && op.kind != Kind::kPut) answered.push_back(&op);
    }
    // A delete that found something looked at the state before its own revision, so it comes first.
    std::sort(answered.begin(), answered.end(), [](auto* a, auto* b) {
      return std::pair(a->revision, !a->Changes()) < std::pair(b->revision, !b->Changes());
    });
    auto change = changes_.begin();
    for (const Operation* op : answered) {
      for (; change != changes_.end() && change->first < op->revision; ++change) {
        Apply(change->second);
      }
      if (op->kind == Kind::kDelete && op->found) {
        if (state_.count(op->key) == 0) Report(Describe(*op), " found a key that was not there");
        continue;
      }
      if (change != changes_.end() && change->first == op->revision) Apply((change++)->second);
      CheckRead(*op);
    }
    for (; change != changes_.end(); ++change) Apply(change->second);
  }

  void CheckRead(const Operation& op) {
    const auto at = state_.find(op.key);
    const bool there = at != state_.end();
    if (!op.found) {
      if (there) Report(Describe(op), " found nothing, but \"", at->second.value, "\" was there");
      return;
    }
    if (!there) return Report(Describe(op), " found what was not there");
    const KeyState& state = at->second;
    if (op.value != state.value || op.mod_revision != state.mod_revision ||
        op.create_revision != state.create_revision || op.version != state.version) {
      Report(Describe(op),
             absl::StrFormat(" (created %d, modified %d, version %d) should have found \"%s\" "
                             "(created %d, modified %d, version %d)",
                             op.create_revision, op.mod_revision, op.version, state.value,
                             state.create_revision, state.mod_revision, state.version));
    }
  }

  void Apply(const Change& change) {
    if (change.is_delete) {
      if (state_.erase(change.key) == 0) {
        Report("revision ", change.revision, " deleted \"", change.key, "\", which was not there");
      }
      return;
    }
    KeyState& state = state_[change.key];
    if (state.version == 0) state.create_revision = change.revision;
    state.value = change.value;
    state.mod_revision = change.revision;
    ++state.version;
  }

  std::vector<Operation> operations_;  // unknown ones get their revision when evidence is found
  int64_t start_ = 0;
  std::map<int64_t, Change> changes_;
  std::map<std::string, KeyState> state_;
  std::vector<std::string> violations_;
};

}  // namespace

std::vector<std::string> FindViolations(const History& history) {
  return Checker(history).violations();
}

}  // namespace raftkv::e2e
