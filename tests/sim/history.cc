#include "tests/sim/history.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_format.h"

namespace raftkv::sim {

std::string_view FateName(Fate fate) {
  switch (fate) {
    case Fate::kApplied:
      return "applied";
    case Fate::kTimedOut:
      return "timed out";
    case Fate::kUnknownLeaderLost:
      return "unknown: leader lost";
    case Fate::kUnknownConnection:
      return "unknown: connection lost";
    case Fate::kUnknownTimedOut:
      return "unknown: timed out";
    case Fate::kTooManyRequests:
      return "too many requests";
    case Fate::kStopped:
      return "stopped";
  }
  return "?";
}

namespace {

bool CertainlyNotApplied(Fate fate) {
  return fate == Fate::kTimedOut || fate == Fate::kTooManyRequests;
}

bool Unknown(Fate fate) {
  return fate == Fate::kUnknownLeaderLost || fate == Fate::kUnknownConnection ||
         fate == Fate::kUnknownTimedOut;
}

Mark MarkOf(Fate fate) {
  switch (fate) {
    case Fate::kTimedOut:
      return Mark::kTimedOut;
    case Fate::kUnknownLeaderLost:
      return Mark::kUnknownLeaderLost;
    case Fate::kUnknownConnection:
      return Mark::kUnknownConnection;
    case Fate::kUnknownTimedOut:
      return Mark::kUnknownTimedOut;
    case Fate::kTooManyRequests:
      return Mark::kTooMany;
    default:
      return Mark::kStopped;
  }
}

}  // namespace

History::History(const Ledger* ledger, Marks* marks, Verdict* verdict)
    : ledger_(ledger), marks_(marks), verdict_(verdict) {}

uint64_t History::Invoke(Kind kind, int member, std::string key, std::string end) {
  operations_.push_back({.kind = kind,
                         .member = member,
                         .key = std::move(key),
                         .end = std::move(end),
                         .floor = told_});
  ++pending_;
  return operations_.size();
}

bool History::Answer(uint64_t number, Fate fate) {
  Operation& operation = operations_[number - 1];
  if (operation.answered || operation.lost) {
    verdict_->Fail("I16", absl::StrFormat("operation %d is answered twice: %s, then %s", number,
                                          FateName(operation.fate), FateName(fate)));
    return false;
  }
  operation.answered = true;
  operation.fate = fate;
  --pending_;
  return true;
}

void History::OnProposed(uint64_t number, Fate fate, const ApplyResult& result) {
  if (!Answer(number, fate)) return;
  const Operation& operation = operations_[number - 1];
  if (fate == Fate::kApplied) {
    CheckAcknowledged(number, operation, result);
    return;
  }
  marks_->Hit(MarkOf(fate));
  if (CertainlyNotApplied(fate) && ledger_->AppliedAt(number) != 0) {
    verdict_->Fail("I16", absl::StrFormat("operation %d is called %s, but is entry %d", number,
                                          FateName(fate), ledger_->AppliedAt(number)));
  }
}

void History::CheckAcknowledged(uint64_t number, const Operation& operation,
                                const ApplyResult& result) {
  ++acknowledged_;
  const raft::Index index = ledger_->AppliedAt(number);
  if (index == 0) {
    verdict_->Fail("I16",
                   absl::StrFormat("operation %d was acknowledged but is not committed", number));
    return;
  }
  if (std::string difference = ledger_->Compare(index, result); !difference.empty()) {
    verdict_->Fail("I16",
                   absl::StrFormat("operation %d (entry %d): %s", number, index, difference));
    return;
  }
  const bool changed = result.revision != ledger_->RevisionAt(index - 1);
  if (!changed) marks_->Hit(Mark::kDeletedNothing);
  if (changed ? result.revision <= operation.floor : result.revision < operation.floor) {
    verdict_->Fail("I16",
                   absl::StrFormat("operation %d got revision %d, but %d was known before it "
                                   "was asked",
                                   number, result.revision, operation.floor));
  }
  told_ = std::max(told_, result.revision);
}

void History::OnRead(uint64_t number, Fate fate, const StateMachine& state_machine) {
  if (!Answer(number, fate)) return;
  const Operation& operation = operations_[number - 1];
  if (fate != Fate::kApplied) {
    if (fate == Fate::kTimedOut) marks_->Hit(Mark::kReadTimedOut);
    if (Unknown(fate))
      verdict_->Fail("I16", absl::StrFormat("read %d has an unknown fate", number));
    return;
  }
  ++reads_;
  const auto snapshot = state_machine.Snapshot();
  const Revision revision = snapshot->revision();
  if (revision < operation.floor) {
    verdict_->Fail("I10",
                   absl::StrFormat("read %d shows revision %d, but %d was known before it was "
                                   "asked",
                                   number, revision, operation.floor));
    return;
  }
  const raft::Index applied = snapshot->applied().index;
  if (applied > ledger_->known() || revision != ledger_->RevisionAt(applied)) {
    verdict_->Fail(
        "I10", absl::StrFormat("read %d shows revision %d at entry %d", number, revision, applied));
    return;
  }
  if (std::string difference = ledger_->CompareRange(*snapshot, operation.key, operation.end);
      !difference.empty()) {
    verdict_->Fail("I10", absl::StrFormat("read %d of %s at revision %d: %s", number, operation.key,
                                          revision, difference));
  }
  told_ = std::max(told_, revision);
}

void History::OnDown(int member) {
  for (Operation& operation : operations_) {
    if (operation.member != member || operation.answered || operation.lost) continue;
    operation.lost = true;
    --pending_;
  }
}

uint64_t History::Unanswered(int member) const {
  return std::count_if(operations_.begin(), operations_.end(), [&](const Operation& o) {
    return o.member == member && !o.answered && !o.lost;
  });
}

void History::Finish() {
  for (size_t i = 0; i < operations_.size(); ++i) {
    const Operation& operation = operations_[i];
    if (operation.kind == Kind::kRead || !operation.answered) continue;
    const bool applied = ledger_->AppliedAt(i + 1) != 0;
    if (CertainlyNotApplied(operation.fate) && applied) {
      verdict_->Fail("I16", absl::StrFormat("operation %d was called %s, but is entry %d", i + 1,
                                            FateName(operation.fate), ledger_->AppliedAt(i + 1)));
    }
    if (Unknown(operation.fate)) marks_->Hit(applied ? Mark::kUnknownApplied : Mark::kUnknownNever);
  }
}

}  // namespace raftkv::sim
