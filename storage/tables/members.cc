#include "storage/tables/members.h"

#include <memory>
#include <string_view>
#include <utility>

#include "storage/base/checksum.h"

namespace raftkv {
namespace {

std::string RecordOf(raft::MemberId id, const Members& members) {
  proto::MemberRecord record;
  if (const Members::Member* member = members.Find(id)) {
    *record.mutable_member() = member->info;
    record.set_votes(member->votes);
    record.set_started(member->started);
  } else {
    record.set_removed(true);
  }
  return record.SerializeAsString();
}

// False: the record is damaged.
bool ParseRecord(raft::MemberId id, std::string_view record, Members* members) {
  proto::MemberRecord parsed;
  if (!parsed.ParseFromArray(record.data(), static_cast<int>(record.size()))) return false;
  if (parsed.removed()) {
    members->RestoreRemoved(id);
  } else {
    members->Restore(id, {std::move(*parsed.mutable_member()), parsed.votes(), parsed.started()});
  }
  return true;
}

}  // namespace

std::string MemberTable::EngineKey(raft::MemberId id) {
  std::string key(1, kLetter);
  PutBigEndian64(&key, id);
  return key;
}

absl::Status MemberTable::ReadRow(std::string_view key, std::string_view record, Members* members) {
  if (key.size() == 1 + sizeof(raft::MemberId) &&
      ParseRecord(BigEndian64(key.data() + 1), record, members)) {
    return absl::OkStatus();
  }
  return absl::DataLossError("state machine: the record of a member is damaged");
}

absl::StatusOr<Members> MemberTable::Read(const View& view) {
  Members members;
  const std::unique_ptr<Iterator> it = view.NewIterator(mvcc::TableEnd(kLetter));
  for (it->Seek(std::string(1, kLetter)); it->valid(); it->Next()) {
    if (absl::Status s = ReadRow(it->key(), it->value(), &members); !s.ok()) return s;
  }
  return members;
}

absl::Status MemberTable::Load() {
  absl::StatusOr<Members> members = Read(*shared_.engine->NewView());
  if (!members.ok()) return members.status();
  members_ = *std::move(members);
  return absl::OkStatus();
}

absl::Status MemberTable::Check(const proto::Command& command, Meter*) {
  if (!command.change_members().voters().empty()) return absl::OkStatus();
  return absl::InvalidArgumentError("a change of the members without a configuration");
}

void MemberTable::Apply(const proto::Command& command, proto::CommandResponse* response) {
  uint64_t& digest = shared_.state.digest;
  for (const raft::MemberId id : members_.Apply(command.change_members())) {
    const std::string record = RecordOf(id, members_);
    shared_.batch.Put(EngineKey(id), record);
    digest = Hash64(record, HashMix(digest, id));
  }
  for (const auto& [id, member] : members_.all()) {
    *response->mutable_change_members()->add_members() = member.info;
  }
}

absl::Status MemberTable::Hash(const View& view, const State&, Meter* meter, std::string* out) {
  return HashRecords(view, kLetter, meter, out);
}

}  // namespace raftkv
