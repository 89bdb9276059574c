#include "tests/sim/history.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace raftkv::sim {

namespace {

// A switch, because the compiler then reports a kind without a name.
const char* KindName(Fate::Kind kind) {
  switch (kind) {
    case Fate::Kind::kApplied:
      return "applied";
    case Fate::Kind::kTimedOut:
      return "timed out";
    case Fate::Kind::kLeaderLost:
      return "leader lost";
    case Fate::Kind::kConnectionLost:
      return "connection lost";
    case Fate::Kind::kTooManyRequests:
      return "too many requests";
    case Fate::Kind::kNotSupported:
      return "not supported";
    case Fate::Kind::kStopped:
      return "stopped";
    case Fate::Kind::kNotLeader:
      return "not the leader";
    case Fate::Kind::kBadTransferee:
      return "bad transferee";
    case Fate::Kind::kRejected:
      return "rejected";
  }
  return "?";
}

}  // namespace

std::string FateName(Fate fate) {
  return absl::StrCat(KindName(fate.kind),
                      fate != Fate::kApplied && fate.proposed ? ", unknown" : "");
}

namespace {

bool CertainlyNotApplied(Fate fate) { return !fate.proposed; }

bool Unknown(Fate fate) {
  return fate.proposed &&
         (fate.kind == Fate::Kind::kLeaderLost || fate.kind == Fate::Kind::kConnectionLost ||
          fate.kind == Fate::Kind::kTimedOut);
}

Mark MarkOf(Fate fate) {
  switch (fate.kind) {
    case Fate::Kind::kTimedOut:
      return fate.proposed ? Mark::kUnknownTimedOut : Mark::kTimedOut;
    case Fate::Kind::kLeaderLost:
      return Mark::kUnknownLeaderLost;
    case Fate::Kind::kConnectionLost:
      return Mark::kUnknownConnection;
    case Fate::Kind::kTooManyRequests:
      return Mark::kTooMany;
    case Fate::Kind::kNotSupported:
      return Mark::kNotSupported;
    default:
      return Mark::kStopDrained;
  }
}

}  // namespace

History::History(const Ledger* ledger, Marks* marks, Verdict* verdict)
    : ledger_(ledger), marks_(marks), verdict_(verdict) {}

uint64_t History::Invoke(int member, proto::Command* command, uint64_t first) {
  MarkOperation(next(), command);
  return Invoke(Operation{.member = member, .command = *command, .first = first});
}

uint64_t History::Invoke(int member, ReadQuery query) {
  return Invoke(Operation{.member = member, .read = true, .query = std::move(query)});
}

uint64_t History::Invoke(Operation operation) {
  operation.floor = known_revision_;
  operation.compacted = known_compacted_;
  operation.after = acknowledged_index_;
  if (operation.first == 0) operation.first = next();
  operations_.push_back(std::move(operation));
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
    verdict_->Fail("I16", absl::StrFormat("operation %d was answered \"%s\", but is entry %d",
                                          number, FateName(fate), ledger_->AppliedAt(number)));
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
    verdict_->Fail("I16", absl::StrFormat("operation %d (entry %d): %s; request %s", number, index,
                                          difference, operation.command.ShortDebugString()));
    return;
  }
  if (index <= operation.after) {
    verdict_->Fail("I16", absl::StrFormat("operation %d is entry %d, but %d was acknowledged "
                                          "before it was invoked",
                                          number, index, operation.after));
  }
  // The entry that was executed: an earlier one, if an earlier attempt was.
  const raft::Index executed =
      result.response.decided() ? ledger_->ExecutedAt(operation.command.session()) : index;
  if (executed != index) {
    marks_->Hit(!result.status.ok()         ? Mark::kSessionError
                : result.response.reduced() ? Mark::kSessionReduced
                                            : Mark::kSessionRepeated);
  }
  const Revision floor = operations_[operation.first - 1].floor;
  const bool changed = result.revision != ledger_->MomentAt(executed - 1).revision;
  if (changed ? result.revision <= floor : result.revision < floor) {
    verdict_->Fail("I16",
                   absl::StrFormat("operation %d got revision %d, but %d was known before it "
                                   "was invoked",
                                   number, result.revision, floor));
  }
  known_revision_ = std::max(known_revision_, result.revision);
  acknowledged_index_ = std::max(acknowledged_index_, index);
  if (!RejectedBySession(operation.command, result)) {
    Learn(operation.first, operation.command, result);
  }
}

bool History::RejectedBySession(const proto::Command& command, const ApplyResult& result) {
  if (!command.has_session() || result.response.decided()) return false;
  if (absl::IsFailedPrecondition(result.status)) marks_->Hit(Mark::kSessionExpired);
  if (absl::IsOutOfRange(result.status)) marks_->Hit(Mark::kSessionAcknowledged);
  if (absl::IsResourceExhausted(result.status)) marks_->Hit(Mark::kSessionFull);
  return true;
}

void History::Learn(uint64_t number, const proto::Command& command, const ApplyResult& result) {
  if (absl::StrContains(result.status.message(), "database space exceeded")) {
    marks_->Hit(Mark::kNoSpace);
  } else if (absl::IsDataLoss(result.status)) {
    marks_->Hit(Mark::kCorrupt);
  } else if (command.has_change_alarm()) {
    marks_->Hit(Mark::kAlarmChanged);
  } else if (absl::IsResourceExhausted(result.status)) {
    const bool full = absl::StrContains(result.status.message(), "a lease may hold");
    marks_->Hit(full ? Mark::kLeaseFull : Mark::kWalkRejected);
  } else if (command.has_lease_revoke()) {
    const Revision before = ledger_->MomentAt(ledger_->AppliedAt(number) - 1).revision;
    if (result.status.ok() && result.revision > before) marks_->Hit(Mark::kLeaseRevoked);
  } else if (command.has_put() && result.status.ok()) {
    known_mods_[command.put().key()] = result.revision;
  } else if (command.has_delete_range() && result.response.delete_range().deleted() == 0) {
    marks_->Hit(Mark::kDeletedNothing);
  } else if (command.has_compaction()) {
    marks_->Hit(result.status.ok() ? Mark::kCompacted : Mark::kCompactRejected);
    if (result.status.ok()) {
      known_compacted_ = std::max(known_compacted_, command.compaction().revision());
    }
  } else if (command.has_txn()) {
    LearnTxn(number, command.txn(), result);
  }
}

void History::LearnTxn(uint64_t number, const etcdserverpb::TxnRequest& request,
                       const ApplyResult& result) {
  if (!result.status.ok()) {
    marks_->Hit(absl::IsOutOfRange(result.status) ? Mark::kTxnCompacted : Mark::kTxnRejected);
    return;
  }
  const etcdserverpb::TxnResponse& response = result.response.txn();
  marks_->Hit(response.succeeded() ? Mark::kTxnSucceeded : Mark::kTxnFailed);
  bool changed = false;
  for (const etcdserverpb::ResponseOp& op : response.responses()) {
    changed |= op.has_response_put() || op.response_delete_range().deleted() > 0;
    const etcdserverpb::RangeResponse& range = op.response_range();
    if (changed && range.count() > range.kvs_size()) marks_->Hit(Mark::kTxnCounted);
    for (const etcdserverpb::ResponseOp& inner : op.response_txn().responses()) {
      for (const mvccpb::KeyValue& kv : inner.response_delete_range().prev_kvs()) {
        if (kv.mod_revision() == result.revision) marks_->Hit(Mark::kPutAndDeleted);
      }
    }
  }
  for (const etcdserverpb::RequestOp& op :
       response.succeeded() ? request.success() : request.failure()) {
    if (op.request_range().revision() > 0) marks_->Hit(Mark::kTxnPast);
    if (!op.has_request_put()) continue;
    const std::string& key = op.request_put().key();
    known_mods_[key] = result.revision;
    for (const etcdserverpb::Compare& compare : request.compare()) {
      if (!response.succeeded() || compare.key() != key || !compare.range_end().empty() ||
          compare.target() != etcdserverpb::Compare::MOD ||
          compare.result() != etcdserverpb::Compare::EQUAL || compare.mod_revision() <= 0) {
        continue;
      }
      marks_->Hit(Mark::kSwapped);
      const auto [other, first] = swapped_.emplace(std::pair(key, compare.mod_revision()), number);
      if (!first && other->second != number) {
        verdict_->Fail("I16", absl::StrFormat("operations %d and %d both put %s because its "
                                              "mod_revision was %d",
                                              other->second, number, key, compare.mod_revision()));
      }
    }
  }
}

void History::OnRead(uint64_t number, Fate fate, const StateMachine& state_machine) {
  if (!Answer(number, fate)) return;
  const Operation& operation = operations_[number - 1];
  if (fate != Fate::kApplied) {
    if (fate == Fate::kTimedOut) marks_->Hit(Mark::kReadTimedOut);
    if (Unknown(fate))
      verdict_->Fail("I16", absl::StrFormat("read %d was answered with an unknown fate", number));
    return;
  }
  ++reads_;
  const auto snapshot = state_machine.Snapshot();
  const Revision revision = snapshot->revision();
  if (revision < operation.floor) {
    verdict_->Fail("I10",
                   absl::StrFormat("read %d shows revision %d, but %d was known before it was "
                                   "invoked",
                                   number, revision, operation.floor));
    return;
  }
  if (snapshot->compacted_revision() < operation.compacted) {
    verdict_->Fail("I10",
                   absl::StrFormat("read %d shows compaction %d, but %d was known before "
                                   "it was invoked",
                                   number, snapshot->compacted_revision(), operation.compacted));
    return;
  }
  const raft::Index applied = snapshot->applied().index;
  if (applied > ledger_->known() || revision != ledger_->MomentAt(applied).revision) {
    verdict_->Fail(
        "I10", absl::StrFormat("read %d shows revision %d after entry %d, unlike the model", number,
                               revision, applied));
    return;
  }
  absl::Status status;
  if (std::string difference = ledger_->CompareRead(*snapshot, operation.query, &status);
      !difference.empty()) {
    verdict_->Fail("I10",
                   absl::StrFormat("read %d at revision %d: %s", number, revision, difference));
  }
  if (absl::IsOutOfRange(status)) {
    marks_->Hit(Mark::kReadCompacted);
  } else if (std::holds_alternative<etcdserverpb::TxnRequest>(operation.query)) {
    marks_->Hit(Mark::kTxnRead);
  } else if (std::get<etcdserverpb::RangeRequest>(operation.query).revision() > 0) {
    marks_->Hit(Mark::kReadPast);
  }
  known_revision_ = std::max(known_revision_, revision);
  known_compacted_ = std::max(known_compacted_, snapshot->compacted_revision());
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
    if (operation.read || !operation.answered) continue;
    const bool applied = ledger_->AppliedAt(i + 1) != 0;
    if (CertainlyNotApplied(operation.fate) && applied) {
      verdict_->Fail("I16",
                     absl::StrFormat("operation %d was answered \"%s\", but is entry %d", i + 1,
                                     FateName(operation.fate), ledger_->AppliedAt(i + 1)));
    }
    if (Unknown(operation.fate)) marks_->Hit(applied ? Mark::kUnknownApplied : Mark::kUnknownNever);
  }
}

}  // namespace raftkv::sim
