#include "tests/sim/ledger.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "glog/logging.h"

namespace raftkv::sim {

uint64_t HashBytes(std::string_view bytes) {
  uint64_t hash = bytes.size();
  while (!bytes.empty()) {
    uint64_t word = 0;
    const size_t size = std::min(bytes.size(), sizeof(word));
    std::memcpy(&word, bytes.data(), size);
    hash = Mix(hash, word);
    bytes.remove_prefix(size);
  }
  return hash;
}

uint64_t EntryHash(const raft::Entry& entry) {
  return Mix(Mix(Mix(entry.id.index, entry.id.term), static_cast<uint64_t>(entry.type)),
             HashBytes(entry.payload.view()));
}

// --- marks on commands
// ------------------------------------------------------------------------------

std::string MarkedValue(uint64_t operation, size_t padding) {
  return absl::StrCat(operation, ".", std::string(padding, 'x'));
}

// Nothing lies between a key and this end: no key holds a zero byte.
std::string MarkedEnd(std::string_view last_key, uint64_t operation) {
  std::string end(last_key);
  end.push_back('\0');
  absl::StrAppend(&end, operation);
  return end;
}

uint64_t OperationOf(const proto::Command& command) {
  std::string_view text;
  if (command.has_put()) {
    text = command.put().value();
  } else if (command.has_delete_range()) {
    text = command.delete_range().range_end();
    text.remove_prefix(std::min(text.find('\0') + 1, text.size()));
  }
  uint64_t operation = 0;
  std::from_chars(text.data(), text.data() + text.size(), operation);
  return operation;
}

// --- the sequence
// -----------------------------------------------------------------------------------

Ledger::Ledger(int members, Verdict* verdict) : verdict_(verdict), handed_over_(members) {}

void Ledger::Commit(raft::Index index, raft::Term term, uint64_t chain, raft::Term committed_in) {
  CHECK_EQ(index, entries_.size() + 1);
  // Seen first at a member that is behind, it was committed no later than what came before it.
  if (!entries_.empty()) committed_in = std::max(committed_in, entries_.back().committed_in);
  entries_.push_back({.term = term, .chain = chain, .committed_in = committed_in, .expected = {}});
}

raft::Index Ledger::CommittedBefore(raft::Term term) const {
  const auto it = std::lower_bound(entries_.begin(), entries_.end(), term,
                                   [](const Item& e, raft::Term t) { return e.committed_in < t; });
  return it - entries_.begin();
}

void Ledger::Learn(const raft::Entry& entry) {
  Item& item = entries_[entry.id.index - 1];
  item.hash = EntryHash(entry);
  const uint64_t before = entry.id.index > 1 ? chain(entry.id.index - 1) : 0;
  if (item.term != entry.id.term || item.chain != Mix(before, item.hash)) {
    verdict_->Fail("I5", absl::StrFormat("entry %d is handed over with another content than was "
                                         "committed",
                                         entry.id.index));
  }
  known_ = entry.id.index;
  if (entry.type != raft::EntryType::kCommand) {
    item.expected.revision = model_.revision();
    return;
  }
  proto::Command command;
  CHECK(
      command.ParseFromArray(entry.payload.view().data(), static_cast<int>(entry.payload.size())));
  item.expected = model_.Apply(command);
  const uint64_t operation = OperationOf(command);
  if (operation == 0) return;
  if (applied_at_.size() <= operation) applied_at_.resize(operation + 1);
  if (applied_at_[operation] != 0) {
    verdict_->Fail("I16", absl::StrFormat("operation %d is committed twice: entries %d and %d",
                                          operation, applied_at_[operation], entry.id.index));
  }
  applied_at_[operation] = entry.id.index;
}

// --- members against it
// -----------------------------------------------------------------------------

void Ledger::OnStart(int member, const StateMachine& state_machine) {
  const raft::Index applied = state_machine.applied().index;
  handed_over_[member] = applied;
  if (applied > known_) {
    verdict_->Fail("I5", absl::StrFormat("n%d starts with %d entries applied, %d are committed",
                                         member + 1, applied, known_));
    return;
  }
  CheckState(member, state_machine);
}

void Ledger::OnHandOver(int member, const std::vector<raft::Entry>& entries) {
  for (const raft::Entry& entry : entries) {
    raft::Index& last = handed_over_[member];
    if (entry.id.index != last + 1 || entry.id.index > entries_.size()) {
      verdict_->Fail("I5", absl::StrFormat("n%d hands over entry %d after %d; %d are committed",
                                           member + 1, entry.id.index, last, entries_.size()));
      return;
    }
    last = entry.id.index;
    if (last > known_) {
      Learn(entry);
    } else if (entry.id.term != entries_[last - 1].term ||
               EntryHash(entry) != entries_[last - 1].hash) {
      verdict_->Fail("I5",
                     absl::StrFormat("n%d hands over an entry %d which is not the committed one",
                                     member + 1, last));
      return;
    }
  }
}

void Ledger::AfterApply(int member, const StateMachine& state_machine) {
  const raft::Index applied = state_machine.applied().index;
  if (applied > handed_over_[member]) {
    verdict_->Fail("I5", absl::StrFormat("n%d has applied %d entries, but was handed %d",
                                         member + 1, applied, handed_over_[member]));
    return;
  }
  CheckState(member, state_machine);
}

void Ledger::CheckState(int member, const StateMachine& state_machine) {
  const raft::EntryId applied = state_machine.applied();
  if (state_machine.revision() != RevisionAt(applied.index)) {
    verdict_->Fail(
        "I13", absl::StrFormat("n%d is at revision %d after entry %d, the model at %d", member + 1,
                               state_machine.revision(), applied.index, RevisionAt(applied.index)));
    return;
  }
  if (applied.index == 0) return;
  Item& item = entries_[applied.index - 1];
  if (applied.term != item.term) {
    verdict_->Fail("I5", absl::StrFormat("n%d has applied an entry %d of term %d instead of %d",
                                         member + 1, applied.index, applied.term, item.term));
  }
  if (!item.digest_known) {
    item.digest_known = true;
    item.digest = state_machine.digest();
  } else if (item.digest != state_machine.digest()) {
    verdict_->Fail("I13", absl::StrFormat("n%d has another digest after entry %d than others",
                                          member + 1, applied.index));
  }
}

void Ledger::CheckWhole(int member, const StateMachine& state_machine) {
  CheckState(member, state_machine);
  const std::string difference =
      CompareRange(*state_machine.Snapshot(), std::string(1, '\0'), std::string(1, '\0'));
  if (!difference.empty()) {
    verdict_->Fail("I13",
                   absl::StrFormat("n%d differs from the model: %s", member + 1, difference));
  }
}

std::string Ledger::Compare(raft::Index index, const ApplyResult& result) const {
  const Model::Answer& expected = entries_[index - 1].expected;
  if (result.revision != expected.revision) {
    return absl::StrFormat("answered revision %d instead of %d", result.revision,
                           expected.revision);
  }
  if (result.status != expected.status) {
    return absl::StrCat("answered ", result.status.ToString());
  }
  if (result.response.SerializeAsString() != expected.response.SerializeAsString()) {
    return absl::StrCat("answered ", result.response.ShortDebugString(), " instead of ",
                        expected.response.ShortDebugString());
  }
  return "";
}

std::string Ledger::CompareRange(const StateSnapshot& snapshot, const std::string& key,
                                 const std::string& end) const {
  etcdserverpb::RangeRequest request;
  request.set_key(key);
  request.set_range_end(end);
  etcdserverpb::RangeResponse found, expected;
  if (absl::Status status = snapshot.Range(request, ReadBudget(), &found); !status.ok()) {
    return status.ToString();
  }
  request.set_revision(snapshot.revision());
  CHECK(model_.Range(request, &expected).ok());
  if (found.kvs_size() != expected.kvs_size()) {
    return absl::StrFormat("%d keys instead of %d", found.kvs_size(), expected.kvs_size());
  }
  for (int i = 0; i < found.kvs_size(); ++i) {
    if (found.kvs(i).SerializeAsString() != expected.kvs(i).SerializeAsString()) {
      return absl::StrCat(found.kvs(i).ShortDebugString(), " instead of ",
                          expected.kvs(i).ShortDebugString());
    }
  }
  return "";
}

}  // namespace raftkv::sim
