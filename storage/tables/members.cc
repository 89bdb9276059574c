#include "storage/tables/members.h"

#include "storage/base/checksum.h"

namespace raftkv {

absl::Status MemberTable::Load() { return members_.LoadAll(*shared_.engine->NewView()); }

absl::Status MemberTable::Check(const proto::Command& command, Meter*) {
  if (!command.change_members().voters().empty()) return absl::OkStatus();
  return absl::InvalidArgumentError("a change of the members without a configuration");
}

void MemberTable::Apply(const proto::Command& command, proto::CommandResponse* response) {
  uint64_t& digest = shared_.state.digest;
  for (const raft::MemberId id : members_.Apply(command.change_members())) {
    const std::string record = members_.Record(id);
    shared_.batch.Put(Members::EngineKey(id), record);
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
