#include "storage/tables/members.h"

#include <memory>
#include <string_view>
#include <utility>

#include "storage/base/checksum.h"

namespace raftkv {

std::string MemberTable::EngineKey(raft::MemberId id) {
  std::string key(1, mvcc::kMemberTable);
  PutBigEndian64(&key, id);
  return key;
}

absl::Status MemberTable::ReadRow(std::string_view key, std::string_view record, Members* members) {
  if (key.size() == 1 + sizeof(raft::MemberId) &&
      members->Restore(BigEndian64(key.data() + 1), record)) {
    return absl::OkStatus();
  }
  return absl::DataLossError("state machine: the record of a member is damaged");
}

absl::StatusOr<Members> MemberTable::Read(const View& view) {
  Members members;
  const std::unique_ptr<Iterator> it = view.NewIterator(mvcc::TableEnd(mvcc::kMemberTable));
  for (it->Seek(std::string(1, mvcc::kMemberTable)); it->valid(); it->Next()) {
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
    const std::string record = members_.Record(id);
    shared_.batch.Put(EngineKey(id), record);
    digest = Hash64(record, HashMix(digest, id));
  }
  for (const auto& [id, member] : members_.all()) {
    *response->mutable_change_members()->add_members() = member.info;
  }
}

absl::Status MemberTable::Hash(const View& view, const State&, Meter* meter, std::string* out) {
  return HashRecords(view, mvcc::kMemberTable, meter, out);
}

}  // namespace raftkv
