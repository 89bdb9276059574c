#include "storage/tables/store_ids.h"

#include <memory>

#include "storage/base/checksum.h"

namespace raftkv {
namespace {

constexpr size_t kStoreIdBytes = 16;
constexpr size_t kEngineKeyBytes = 1 + 8;
constexpr char kBegin[] = {StoreIdTable::kLetter, 0};
constexpr char kEnd[] = {StoreIdTable::kLetter + 1, 0};

std::string EngineKey(raft::MemberId member) {
  std::string key(1, StoreIdTable::kLetter);
  PutBigEndian64(&key, member);
  return key;
}

}  // namespace

absl::Status StoreIdTable::Load() {
  return shared_.engine->Scan(kBegin, kEnd, [this](std::string_view key, std::string_view value) {
    if (key.size() != kEngineKeyBytes || value.size() != kStoreIdBytes) {
      return absl::DataLossError("state machine: a store id is damaged");
    }
    ids_[BigEndian64(&key[1])] = std::string(value);
    return absl::OkStatus();
  });
}

absl::Status StoreIdTable::Check(const proto::Command& command, Meter*) {
  const proto::RecordStoreId& request = command.record_store_id();
  if (request.store_id().size() != kStoreIdBytes) {
    return absl::InvalidArgumentError("a store id has 16 bytes");
  }
  const auto known = ids_.find(request.member_id());
  if (known == ids_.end() || known->second == request.store_id()) return absl::OkStatus();
  return absl::FailedPreconditionError("the member is known with another store id");
}

// If there are several records for a member, the first one is used.
void StoreIdTable::Apply(const proto::Command& command, proto::CommandResponse*) {
  const proto::RecordStoreId& request = command.record_store_id();
  if (!ids_.emplace(request.member_id(), request.store_id()).second) return;
  shared_.batch.Put(EngineKey(request.member_id()), request.store_id());
  uint64_t& digest = shared_.state.digest;
  digest = Hash64(request.store_id(), HashMix(digest, request.member_id()));
}

absl::Status StoreIdTable::Hash(const View& view, const State&, Meter*, std::string* out) {
  const std::unique_ptr<Iterator> it = view.NewIterator(kEnd);
  for (it->Seek(kBegin); it->valid(); it->Next()) out->append(it->key()).append(it->value());
  return absl::OkStatus();
}

}  // namespace raftkv
