#include "tests/sim/ledger.h"

#include <algorithm>
#include <cstring>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "glog/logging.h"
#include "storage/mvcc/history.h"
#include "storage/mvcc/layout.h"

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

// --- operation numbers in commands ---------------------------------------------------------------

constexpr int kOperationField = 1000;

void MarkOperation(uint64_t operation, proto::Command* command) {
  command->GetReflection()->MutableUnknownFields(command)->AddVarint(kOperationField, operation);
}

uint64_t OperationOf(const proto::Command& command) {
  const auto& fields = command.GetReflection()->GetUnknownFields(command);
  for (int i = 0; i < fields.field_count(); ++i) {
    if (fields.field(i).number() == kOperationField) return fields.field(i).varint();
  }
  return 0;
}

// --- the ledger ----------------------------------------------------------------------------------

Ledger::Ledger(int members, OnCommand on_command, Verdict* verdict)
    : on_command_(std::move(on_command)), verdict_(verdict), handed_over_(members) {}

void Ledger::Commit(raft::Index index, raft::Term term, uint64_t chain, raft::Term committed_in) {
  CHECK_EQ(index, entries_.size() + 1);
  // The first member to report the commit may be behind, with an older term than the previous
  // entry's. No entry is committed in an earlier term than the entry before it.
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
    verdict_->Fail("I5", absl::StrFormat("the content of entry %d differs from the committed one",
                                         entry.id.index));
  }
  known_ = entry.id.index;
  if (on_command_ == nullptr) return;
  if (entry.type == raft::EntryType::kNoOp) {
    item.expected.revision = model_.revision();
    item.after = model_.now();
    return;
  }
  proto::Command command;
  CHECK(
      command.ParseFromArray(entry.payload.view().data(), static_cast<int>(entry.payload.size())));
  const std::map<int64_t, Model::Lease> leases = model_.leases();
  const Revision revision = model_.revision();
  item.expected = model_.Apply(command, entry.id.index);
  if (command.has_session()) LearnSession(entry.id.index, command.session(), revision);
  on_command_(entry.id, command, leases, model_);
  item.after = model_.now();
  const uint64_t operation = OperationOf(command);
  if (operation == 0) return;
  if (applied_at_.size() <= operation) applied_at_.resize(operation + 1);
  if (applied_at_[operation] != 0) {
    verdict_->Fail("I16", absl::StrFormat("operation %d is committed twice: entries %d and %d",
                                          operation, applied_at_[operation], entry.id.index));
  }
  applied_at_[operation] = entry.id.index;
}

void Ledger::LearnSession(raft::Index index, const proto::Session& session, Revision before) {
  const Model::Answer& answer = entries_[index - 1].expected;
  const auto known = executed_at_.find({session.lease_id(), session.seq()});
  if (known == executed_at_.end() && answer.response.decided()) {
    executed_at_[{session.lease_id(), session.seq()}] = index;
    return;
  }
  if (model_.revision() != before) {
    verdict_->Fail("I16", absl::StrFormat("entry %d changes keys, though its session %s", index,
                                          answer.response.decided() ? "had executed its command"
                                                                    : "has rejected it"));
  }
  if (known == executed_at_.end() || !answer.response.decided()) return;
  const Model::Answer& first = entries_[known->second - 1].expected;
  if (answer.revision != first.revision || answer.status != first.status) {
    verdict_->Fail("I16", absl::StrFormat("entry %d has another answer than entry %d, which has "
                                          "the same command",
                                          index, known->second));
  }
}

// --- checks of members ---------------------------------------------------------------------------

void Ledger::OnStart(int member, const StateMachine& state_machine) {
  OnStart(member, state_machine.applied().index);
  if (!verdict_->failed()) CheckState(member, state_machine);
}

void Ledger::OnStart(int member, raft::Index applied) {
  handed_over_[member] = applied;
  if (applied > known_) {
    verdict_->Fail("I5", absl::StrFormat("n%d starts with %d entries applied, but %d are committed",
                                         member + 1, applied, known_));
  }
}

void Ledger::OnInstalled(int member, raft::Index index) {
  if (index <= handed_over_[member] || index > known_) {
    verdict_->Fail("I5",
                   absl::StrFormat("n%d installs a snapshot up to %d after it was handed %d; %d "
                                   "are known",
                                   member + 1, index, handed_over_[member], known_));
  }
  handed_over_[member] = index;
}

void Ledger::CheckSnapshot(int member, const raft::EntryId& last,
                           const StateMachine& state_machine) {
  const auto fail = [&](const std::string& what) {
    verdict_->Fail("I14", absl::StrFormat("the snapshot of n%d that ends with entry %d %s",
                                          member + 1, last.index, what));
  };
  if (state_machine.applied() != last || last.index > known_) {
    return fail(absl::StrFormat("contains the state after entry %d; %d are known",
                                state_machine.applied().index, known_));
  }
  CheckState(member, state_machine);
  const raft::Index interval = SmallOptions().digest_interval;
  const auto& kept = state_machine.digests();
  raft::Index expected = last.index / interval * interval - (kept.size() - 1) * interval;
  for (const StateDigest& digest : kept) {
    if (digest.index != expected) {
      return fail(
          absl::StrFormat("keeps a digest of entry %d instead of %d", digest.index, expected));
    }
    expected += interval;
    const Item& item = entries_[digest.index - 1];
    if (item.digest_known && item.digest != digest.digest) {
      return fail(
          absl::StrFormat("keeps a digest of entry %d that no member had there", digest.index));
    }
  }
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
      verdict_->Fail(
          "I5", absl::StrFormat("n%d hands over entry %d, which differs from the committed one",
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
  const Model::Moment expected = MomentAt(applied.index);
  if (state_machine.revision() != expected.revision ||
      state_machine.compacted_revision() != expected.compacted) {
    verdict_->Fail(
        "I13",
        absl::StrFormat("n%d is at revision %d, compacted %d, after entry %d, the model at "
                        "%d and %d",
                        member + 1, state_machine.revision(), state_machine.compacted_revision(),
                        applied.index, expected.revision, expected.compacted));
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
    verdict_->Fail("I13", absl::StrFormat("the digest of n%d after entry %d differs from that of "
                                          "another member",
                                          member + 1, applied.index));
  }
}

void Ledger::CheckHashes(int member, const StateMachine& state_machine, Revision revision) {
  const auto snapshot = state_machine.Snapshot();
  const Model::Moment at = MomentAt(snapshot->applied().index);
  const absl::Status expected = Model::CheckRevision(at, revision);
  const absl::StatusOr<StateSnapshot::KvHash> found = snapshot->HashKv(revision);
  if (found.status() != expected) {
    verdict_->Fail("I13", absl::StrFormat("n%d hashes revision %d: %s", member + 1, revision,
                                          found.status().ToString()));
    return;
  }
  if (!found.ok()) return;
  const Revision hashed = revision > 0 ? revision : at.revision;
  // From this version on, the history hash does not depend on the compacted revision.
  const bool fixed = snapshot->cluster_version() >= kHashKvVersion;
  const auto [history, first] = history_hashes_.emplace(
      std::pair(fixed ? std::nullopt : std::optional(at.compacted), hashed), found->hash);
  if (found->hash != history->second || found->compact_revision != at.compacted ||
      found->hash_revision != hashed) {
    verdict_->Fail("I13",
                   absl::StrFormat("the history hash of n%d for (%d, %d] differs from that of "
                                   "another member",
                                   member + 1, at.compacted, hashed));
  }
  if (revision > 0) return;
  const uint32_t hash = *snapshot->Hash();
  if (hashes_.emplace(snapshot->applied().index, hash).first->second != hash) {
    verdict_->Fail("I13", absl::StrFormat("the hash of n%d after entry %d differs from that of "
                                          "another member",
                                          member + 1, snapshot->applied().index));
  }
}

void Ledger::CheckWhole(int member, const StateMachine& state_machine, Rng* rng) {
  CheckState(member, state_machine);
  CheckHashes(member, state_machine, 0);
  const auto snapshot = state_machine.Snapshot();
  etcdserverpb::RangeRequest all;
  all.set_key(std::string(1, '\0'));
  all.set_range_end(std::string(1, '\0'));
  for (int i = 0; i < 20; ++i) {
    absl::Status status;
    const std::string difference = CompareRead(*snapshot, all, &status);
    if (!difference.empty()) {
      verdict_->Fail("I13", absl::StrFormat("n%d differs from the model at revision %d: %s",
                                            member + 1, all.revision(), difference));
      return;
    }
    // One revision below the compacted one is included: it must fail.
    const Revision first = std::max<Revision>(snapshot->compacted_revision(), 2) - 1;
    all.set_revision(rng->Between(first, snapshot->revision()));
  }
}

void Ledger::CheckStored(int member, raft::Index applied, const Engine& engine) {
  std::set<std::pair<std::string, Revision>> found;
  const std::string begin(1, mvcc::kVersionTable), end(1, mvcc::kVersionTable + 1);
  CHECK(engine
            .Scan(begin, end,
                  [&](std::string_view key, std::string_view) {
                    found.emplace(mvcc::UserKey(mvcc::VersionPrefix(key)),
                                  mvcc::VersionRevision(key));
                    return absl::OkStatus();
                  })
            .ok());
  const auto expected = model_.Stored(MomentAt(applied));
  if (found != expected) {
    verdict_->Fail("I13", absl::StrFormat("the stored versions of n%d after its compaction differ "
                                          "from the model's (%d and %d of them)",
                                          member + 1, found.size(), expected.size()));
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

namespace {

template <typename Request, typename Response>
std::string Compare(absl::Status (StateSnapshot::*ask)(const Request&, const Limits&, Response*)
                        const,
                    absl::Status (Model::*ask_model)(const Request&, const Model::Moment&,
                                                     Response*) const,
                    const StateSnapshot& snapshot, const Model& model, const Model::Moment& at,
                    const Request& request, absl::Status* status) {
  Response found, expected;
  *status = (snapshot.*ask)(request, Limits(), &found);
  const absl::Status expected_status = (model.*ask_model)(request, at, &expected);
  if (*status != expected_status) {
    return absl::StrCat(status->ToString(), " instead of ", expected_status.ToString());
  }
  if (status->ok() && found.SerializeAsString() != expected.SerializeAsString()) {
    return absl::StrCat(found.ShortDebugString(), " instead of ", expected.ShortDebugString());
  }
  return "";
}

}  // namespace

std::string Ledger::CompareRead(const StateSnapshot& snapshot, const ReadQuery& query,
                                absl::Status* status) const {
  const Model::Moment at = MomentAt(snapshot.applied().index);
  if (const auto* range = std::get_if<etcdserverpb::RangeRequest>(&query)) {
    return sim::Compare(&StateSnapshot::Range, &Model::Range, snapshot, model_, at, *range, status);
  }
  return sim::Compare(&StateSnapshot::Txn, &Model::Txn, snapshot, model_, at,
                      std::get<etcdserverpb::TxnRequest>(query), status);
}

}  // namespace raftkv::sim
