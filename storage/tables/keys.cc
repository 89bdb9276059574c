#include "storage/tables/keys.h"

#include <algorithm>

#include "glog/logging.h"
#include "storage/base/checksum.h"
#include "storage/base/mutant.h"
#include "storage/mvcc/check.h"
#include "storage/mvcc/history.h"

namespace raftkv {

using proto::Command;

namespace {

void AddKeys(const etcdserverpb::TxnRequest& txn, std::vector<std::string_view>* keys);

// Adds the key of a request for one key.
template <typename Request>
void AddSingle(const Request& request, std::vector<std::string_view>* keys) {
  if (request.range_end().empty()) keys->push_back(request.key());
}

void AddKeys(const google::protobuf::RepeatedPtrField<etcdserverpb::RequestOp>& ops,
             std::vector<std::string_view>* keys) {
  for (const etcdserverpb::RequestOp& op : ops) {
    if (op.has_request_put()) keys->push_back(op.request_put().key());
    if (op.has_request_delete_range()) AddSingle(op.request_delete_range(), keys);
    if (op.has_request_range() && op.request_range().revision() <= 0) {
      AddSingle(op.request_range(), keys);
    }
    if (op.has_request_txn()) AddKeys(op.request_txn(), keys);
  }
}

void AddKeys(const etcdserverpb::TxnRequest& txn, std::vector<std::string_view>* keys) {
  for (const etcdserverpb::Compare& compare : txn.compare()) {
    AddSingle(compare, keys);
  }
  AddKeys(txn.success(), keys);
  AddKeys(txn.failure(), keys);
}

}  // namespace

Keys::Keys(Shared* shared)
    : shared_(*shared),
      writer_(*shared->engine, &shared->batch, &shared->state.digest, &shared->leases,
              shared->block_keys, &shared->state.cluster_version) {
  shared->keys = this;
}

mvcc::ReadState Keys::Before() const {
  const State& state = shared_.state;
  const bool planted = RAFTKV_MUTANT("txn-asks-the-physical-compaction");
  return {writer_.view(), state.revision, planted ? state.compaction_done : state.compacted,
          /*settled=*/false, shared_.block_keys};
}

absl::Status Keys::Check(const Command& command, Meter* meter) {
  if (command.has_compaction()) return CheckCompaction(command.compaction());
  if (command.has_bump_revision()) return CheckBump(command.bump_revision());
  writer_.BeginEntry(shared_.state.revision + 1);
  transaction_.emplace(Before(), &writer_, meter);
  // Check the form again, because the form of an entry is not trusted. The limit of operations in a
  // transaction is a setting of each member, so only the member that proposes it checks that limit.
  absl::Status status;
  switch (command.op_case()) {
    case Command::kPut:
      status = mvcc::Check(command.put());
      return status.ok() ? transaction_->Check(command.put()) : status;
    case Command::kDeleteRange:
      status = mvcc::Check(command.delete_range());
      return status.ok() ? transaction_->Check(command.delete_range()) : status;
    case Command::kTxn:
      status = mvcc::Check(command.txn(), INT64_MAX, shared_.rules().txn_depth_max);
      return status.ok() ? transaction_->Check(command.txn()) : status;
    default:
      break;
  }
  LOG(FATAL) << "not a command of the table of keys: " << command.op_case();
}

void Keys::AddKeys(const Command& command, std::vector<std::string_view>* keys) {
  if (command.has_put()) keys->push_back(command.put().key());
  if (command.has_delete_range()) AddSingle(command.delete_range(), keys);
  if (command.has_txn()) raftkv::AddKeys(command.txn(), keys);
}

void Keys::Apply(const Command& command, proto::CommandResponse* response) {
  State& state = shared_.state;
  if (command.has_compaction()) {
    ApplyCompaction(command.compaction());
    response->mutable_compaction()->mutable_header()->set_revision(state.revision);
    return;
  }
  if (command.has_bump_revision()) {
    state.revision += command.bump_revision().by();
    state.digest = HashMix(state.digest, static_cast<uint64_t>(state.revision));
    return;
  }
  const size_t bytes_before = shared_.batch.bytes();
  absl::Status status;
  etcdserverpb::ResponseHeader* header = nullptr;
  switch (command.op_case()) {
    case Command::kPut:
      status = transaction_->Execute(command.put(), response->mutable_put());
      header = response->mutable_put()->mutable_header();
      break;
    case Command::kDeleteRange:
      status = transaction_->Execute(command.delete_range(), response->mutable_delete_range());
      header = response->mutable_delete_range()->mutable_header();
      break;
    default:
      status = transaction_->Execute(command.txn(), response->mutable_txn());
      header = response->mutable_txn()->mutable_header();
  }
  CHECK(status.ok()) << "an entry that was checked fails: " << status;
  EndEntry(bytes_before);
  header->set_revision(state.revision);
}

void Keys::EndEntry(size_t batch_bytes) {
  if (writer_.changed()) ++shared_.state.revision;
  steps_owed_ += writer_.changes() + Costs().OfValue(shared_.batch.bytes() - batch_bytes);
}

void Keys::DeleteAttached(absl::Span<const mvcc::Attached> keys) {
  writer_.BeginEntry(shared_.state.revision + 1);
  const size_t bytes_before = shared_.batch.bytes();
  writer_.DeleteAttached(keys);
  EndEntry(bytes_before);
}

absl::Status Keys::Hash(const View& view, const State& state, Meter* meter, std::string* out) {
  PutFixed32(out, mvcc::HashHistory(view, state.compacted, state.revision, meter));
  if (meter->over()) return meter->status();
  PutFixed64(out, static_cast<uint64_t>(state.revision));
  PutFixed64(out, static_cast<uint64_t>(state.compacted));
  return absl::OkStatus();
}

absl::Status Keys::CheckCompaction(const etcdserverpb::CompactionRequest& request) const {
  const State& state = shared_.state;
  if (request.revision() <= (RAFTKV_MUTANT("compact-asks-the-physical-compaction")
                                 ? state.compaction_done
                                 : state.compacted)) {
    return mvcc::Compacted();
  }
  return request.revision() > state.revision ? mvcc::FutureRevision() : absl::OkStatus();
}

absl::Status Keys::CheckBump(const proto::BumpRevision& request) const {
  if (request.by() > 0 && request.by() <= kRevisionMax - shared_.state.revision) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError("the revision cannot be raised by this number");
}

// Takes effect at once: older revisions can no longer be read. The versions that only they needed
// are removed later (CompactSome).
void Keys::ApplyCompaction(const etcdserverpb::CompactionRequest& request) {
  State& state = shared_.state;
  if (state.compaction_done == state.compacted) steps_owed_ = 0;  // there was nothing to do
  // The previous compaction kept the events of its own revision. Now they may be removed, so start
  // at the first one of that revision.
  if (state.compaction_next.revision == state.compacted) state.compaction_next.sub = 0;
  state.compacted = request.revision();
  state.digest = HashMix(state.digest, static_cast<uint64_t>(state.compacted));
}

void Keys::CompactSome(Meter* meter) {
  State& state = shared_.state;
  CHECK(shared_.batch.empty());
  const bool done = mvcc::CompactSome(*shared_.engine, state.compacted, meter,
                                      &state.compaction_next, &shared_.batch, &writer_);
  // Everything before the revision of the next event is compacted already.
  state.compaction_done =
      done ? state.compacted : std::max(state.compaction_done, state.compaction_next.revision - 1);
}

}  // namespace raftkv
