#include "storage/state_machine.h"

#include <deque>
#include <utility>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "server/raft/mutant.h"
#include "storage/checksum.h"
#include "storage/mvcc/check.h"
#include "storage/mvcc/layout.h"
#include "storage/mvcc/writer.h"

namespace raftkv {
namespace {

using mvcc::kStateKey;

constexpr uint64_t kFlushBytes = 16 << 20;
constexpr uint64_t kFlushEntries = 10'000;
constexpr uint64_t kFormat = 1;
constexpr size_t kStateNumbers = 6;
constexpr size_t kStoreIdBytes = 16;

// What the store holds besides its tables; saved with every batch.
struct State {
  raft::EntryId applied;
  Revision revision = 1;  // of an empty store, as in etcd
  Revision compacted = 0;
  uint64_t digest = 0;
};

std::string EncodeState(const State& state) {
  std::string out;
  for (uint64_t v :
       {kFormat, state.applied.term, state.applied.index, static_cast<uint64_t>(state.revision),
        static_cast<uint64_t>(state.compacted), state.digest}) {
    PutFixed64(&out, v);
  }
  PutFixed32(&out, Crc32c(out));
  return out;
}

absl::Status DecodeState(std::string_view record, State* state) {
  const size_t size = kStateNumbers * 8;
  if (record.size() != size + 4 || Crc32c(record.substr(0, size)) != Fixed32(&record[size])) {
    return absl::DataLossError("state machine: the state record is damaged");
  }
  if (Fixed64(&record[0]) != kFormat) {
    return absl::FailedPreconditionError(
        absl::StrCat("state machine: format ", Fixed64(&record[0]),
                     " is newer than this program reads; run a newer raftkv-server"));
  }
  state->applied = {.term = Fixed64(&record[8]), .index = Fixed64(&record[16])};
  state->revision = static_cast<Revision>(Fixed64(&record[24]));
  state->compacted = static_cast<Revision>(Fixed64(&record[32]));
  state->digest = Fixed64(&record[40]);
  return absl::OkStatus();
}

std::string StoreIdKey(raft::MemberId member) {
  std::string key(1, mvcc::kStoreIdTable);
  PutBigEndian64(&key, member);
  return key;
}

class PinnedState final : public StateSnapshot {
 public:
  PinnedState(std::shared_ptr<const View> view, const State& state)
      : view_(std::move(view)), state_(state) {}

  Revision revision() const override { return state_.revision; }
  Revision compacted_revision() const override { return state_.compacted; }
  raft::EntryId applied() const override { return state_.applied; }
  absl::Status Range(const etcdserverpb::RangeRequest& request, const ReadBudget& budget,
                     etcdserverpb::RangeResponse* response) const override {
    return mvcc::Range({*view_, state_.revision, state_.compacted}, request, budget, response);
  }
  absl::Status Txn(const etcdserverpb::TxnRequest&, const ReadBudget&,
                   etcdserverpb::TxnResponse*) const override {
    return absl::UnimplementedError("txn");
  }
  absl::StatusOr<KvHash> HashKv(Revision) const override {
    return absl::UnimplementedError("hash");
  }
  uint32_t Hash() const override { return 0; }

 private:
  const std::shared_ptr<const View> view_;
  const State state_;
};

}  // namespace

struct StateMachine::Rep {
  explicit Rep(std::unique_ptr<Engine> e)
      : engine(std::move(e)), writer(*engine, &batch, &state.digest) {}

  absl::Status Load();
  void ApplyCommand(const raft::Entry& entry, ApplyResult* result);
  absl::Status Put(const etcdserverpb::PutRequest& request, etcdserverpb::PutResponse* response);
  absl::Status DeleteRange(const etcdserverpb::DeleteRangeRequest& request,
                           etcdserverpb::DeleteRangeResponse* response);
  absl::Status RecordStoreId(const proto::RecordStoreId& request);
  void WriteBatchOut();

  const std::unique_ptr<Engine> engine;
  State state;
  WriteBatch batch;
  mvcc::Writer writer;
  std::map<raft::MemberId, std::string> store_ids;
  std::shared_ptr<const StateSnapshot> pinned;  // until something is applied

  // Flushes on their way: survived once the engine's survived() reaches `position`.
  struct PendingFlush {
    uint64_t position;
    raft::EntryId applied;
  };
  std::deque<PendingFlush> flushes;
  raft::EntryId persisted;
  uint64_t bytes_since_flush = 0;
  uint64_t entries_since_flush = 0;
};

StateMachine::StateMachine(std::unique_ptr<Rep> rep) : rep_(std::move(rep)) {}
StateMachine::~StateMachine() = default;

absl::StatusOr<std::unique_ptr<StateMachine>> StateMachine::Open(std::unique_ptr<Engine> engine) {
  auto rep = std::make_unique<Rep>(std::move(engine));
  if (absl::Status status = rep->Load(); !status.ok()) return status;
  return std::unique_ptr<StateMachine>(new StateMachine(std::move(rep)));
}

absl::Status StateMachine::Rep::Load() {
  const std::string state_key = kStateKey;
  bool found = false;
  absl::Status status =
      engine->Scan(state_key, state_key + '\0', [&](std::string_view, std::string_view value) {
        found = true;
        return DecodeState(value, &state);
      });
  if (!status.ok()) return status;
  bool empty = true;
  status = engine->Scan({}, {}, [&](std::string_view, std::string_view) {
    empty = false;
    return absl::CancelledError();  // one is enough
  });
  if (!absl::IsCancelled(status) && !status.ok()) return status;
  if (!found && !empty) return absl::DataLossError("state machine: data but no state record");
  const std::string begin(1, mvcc::kStoreIdTable);
  const std::string end(1, mvcc::kStoreIdTable + 1);
  status = engine->Scan(begin, end, [&](std::string_view key, std::string_view value) {
    if (key.size() != 9 || value.size() != kStoreIdBytes) {
      return absl::DataLossError("state machine: a store id is damaged");
    }
    store_ids[BigEndian64(&key[1])] = std::string(value);
    return absl::OkStatus();
  });
  if (!status.ok()) return status;
  persisted = state.applied;
  if (RAFTKV_MUTANT("apply-twice-after-restart") && state.applied.index > 0) --state.applied.index;
  return absl::OkStatus();
}

std::vector<ApplyResult> StateMachine::Apply(absl::Span<const raft::Entry> entries,
                                             int64_t /*visited_keys_max*/) {
  Rep& rep = *rep_;
  std::vector<ApplyResult> results(entries.size());
  rep.pinned.reset();
  for (size_t i = 0; i < entries.size(); ++i) {
    const raft::Entry& entry = entries[i];
    ApplyResult& result = results[i];
    if (entry.id.index > rep.state.applied.index) {
      CHECK_EQ(entry.id.index, rep.state.applied.index + 1) << "entries are applied in order";
      if (entry.type == raft::EntryType::kCommand) rep.ApplyCommand(entry, &result);
      rep.state.applied = entry.id;
      rep.state.digest = HashMix(HashMix(rep.state.digest, entry.id.index),
                                 static_cast<uint64_t>(rep.state.revision));
      ++rep.entries_since_flush;
    }
    result.revision = rep.state.revision;
  }
  rep.WriteBatchOut();
  return results;
}

void StateMachine::Rep::ApplyCommand(const raft::Entry& entry, ApplyResult* result) {
  proto::Command command;
  const std::string_view bytes = entry.payload.view();
  CHECK(command.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())))
      << "entry " << entry.id.index << " is not a command";
  result->origin = std::move(*command.mutable_origin());
  writer.BeginEntry(state.revision + 1);
  etcdserverpb::ResponseHeader* header = nullptr;
  switch (command.op_case()) {
    case proto::Command::kPut: {
      etcdserverpb::PutResponse* response = result->response.mutable_put();
      result->status = Put(command.put(), response);
      header = response->mutable_header();
      break;
    }
    case proto::Command::kDeleteRange: {
      etcdserverpb::DeleteRangeResponse* response = result->response.mutable_delete_range();
      result->status = DeleteRange(command.delete_range(), response);
      header = response->mutable_header();
      break;
    }
    case proto::Command::kRecordStoreId:
      result->status = RecordStoreId(command.record_store_id());
      break;
    default:
      // Only known commands are proposed; a newer leader's would fork this member's state.
      LOG(FATAL) << "entry " << entry.id.index << ": unknown command " << command.op_case();
  }
  if (writer.changed()) ++state.revision;
  if (!result->status.ok()) {
    result->response.Clear();
  } else if (header != nullptr) {
    header->set_revision(state.revision);
  }
}

absl::Status StateMachine::Rep::Put(const etcdserverpb::PutRequest& request,
                                    etcdserverpb::PutResponse* response) {
  if (absl::Status status = mvcc::Check(request); !status.ok()) return status;
  // There are no leases yet, so none can be found.
  if (request.lease() != 0) return absl::NotFoundError("requested lease not found");

  if (!request.ignore_value() && !request.ignore_lease() && !request.prev_kv()) {
    writer.Put(request.key(), request.value(), 0);
    return absl::OkStatus();
  }
  const mvcc::Head head = writer.HeadOf(request.key());
  if (!head.exists()) {
    if (request.ignore_value() || request.ignore_lease()) {
      return absl::InvalidArgumentError("key not found");
    }
    writer.Put(request.key(), request.value(), 0);
    return absl::OkStatus();
  }
  mvccpb::KeyValue previous = writer.Load(request.key(), head);
  writer.Put(request.key(), request.ignore_value() ? previous.value() : request.value(),
             request.ignore_lease() ? previous.lease() : 0);
  if (request.prev_kv()) *response->mutable_prev_kv() = std::move(previous);
  return absl::OkStatus();
}

absl::Status StateMachine::Rep::DeleteRange(const etcdserverpb::DeleteRangeRequest& request,
                                            etcdserverpb::DeleteRangeResponse* response) {
  if (absl::Status status = mvcc::Check(request); !status.ok()) return status;
  std::vector<mvccpb::KeyValue> previous;
  response->set_deleted(writer.DeleteRange(request.key(), request.range_end(),
                                           request.prev_kv() ? &previous : nullptr));
  for (mvccpb::KeyValue& kv : previous) *response->add_prev_kvs() = std::move(kv);
  return absl::OkStatus();
}

// The first directory that a member was seen with is the member's; another one is another member.
absl::Status StateMachine::Rep::RecordStoreId(const proto::RecordStoreId& request) {
  if (request.store_id().size() != kStoreIdBytes) {
    return absl::InvalidArgumentError("a store id has 16 bytes");
  }
  const auto [known, added] = store_ids.emplace(request.member_id(), request.store_id());
  if (!added) {
    if (known->second == request.store_id()) return absl::OkStatus();
    return absl::FailedPreconditionError("the member is known with another store id");
  }
  batch.Put(StoreIdKey(request.member_id()), request.store_id());
  state.digest = Hash64(request.store_id(), HashMix(state.digest, request.member_id()));
  return absl::OkStatus();
}

void StateMachine::Rep::WriteBatchOut() {
  if (RAFTKV_MUTANT("applied-index-outside-the-batch")) {
    WriteBatch ahead;
    ahead.Put(kStateKey, EncodeState(state));
    engine->Write(ahead, /*sync=*/false);
    engine->Flush();
  } else {
    batch.Put(kStateKey, EncodeState(state));
  }
  bytes_since_flush += batch.bytes();
  engine->Write(batch, /*sync=*/false);
  batch.Clear();
  writer.EndBatch();
}

raft::EntryId StateMachine::applied() const { return rep_->state.applied; }
Revision StateMachine::revision() const { return rep_->state.revision; }
uint64_t StateMachine::digest() const { return rep_->state.digest; }

raft::EntryId StateMachine::persisted_applied() const {
  Rep& rep = *rep_;
  const uint64_t survived = rep.flushes.empty() ? 0 : rep.engine->survived();
  while (!rep.flushes.empty() && rep.flushes.front().position <= survived) {
    rep.persisted = rep.flushes.front().applied;
    rep.flushes.pop_front();
  }
  return rep.persisted;
}

std::shared_ptr<const StateSnapshot> StateMachine::Snapshot() const {
  Rep& rep = *rep_;
  if (rep.pinned == nullptr) {
    rep.pinned = std::make_shared<PinnedState>(rep.engine->NewView(), rep.state);
  }
  return rep.pinned;
}

std::map<raft::MemberId, std::string> StateMachine::store_ids() const { return rep_->store_ids; }

void StateMachine::MaybeFlush() {
  Rep& rep = *rep_;
  if (rep.bytes_since_flush < kFlushBytes && rep.entries_since_flush < kFlushEntries) return;
  persisted_applied();
  if (!rep.flushes.empty()) return;  // one at a time: a slow disk must not pile them up
  StartFlush();
}

void StateMachine::StartFlush() {
  Rep& rep = *rep_;
  rep.bytes_since_flush = 0;
  rep.entries_since_flush = 0;
  rep.flushes.push_back({rep.engine->written(), rep.state.applied});
  rep.engine->StartFlush();
}

void StateMachine::Flush() {
  Rep& rep = *rep_;
  rep.bytes_since_flush = 0;
  rep.entries_since_flush = 0;
  rep.engine->Flush();
  rep.flushes.clear();
  rep.persisted = rep.state.applied;
}

Revision StateMachine::compacted_revision() const { return rep_->state.compacted; }
Revision StateMachine::compaction_done() const { return rep_->state.compacted; }
void StateMachine::CompactStep() {}
void StateMachine::StartDefragment() {}

uint64_t StateMachine::DiskBytes() const { return rep_->engine->DiskBytes(); }
bool StateMachine::WouldStall() const { return rep_->engine->WouldStall(); }

}  // namespace raftkv
