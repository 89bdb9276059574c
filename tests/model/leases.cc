// The model's leases.

#include <set>
#include <string>
#include <vector>

#include "tests/model/model.h"

namespace raftkv {

std::vector<std::string> Model::Attached(int64_t lease) const {
  std::vector<std::string> keys;
  for (const auto& [key, versions] : keys_) {
    const mvccpb::KeyValue* kv = At(versions, Newest());
    if (kv != nullptr && kv->lease() == lease) keys.push_back(key);
  }
  return keys;
}

// `puts` are those of one request so far; the last one is checked. Each put that names the lease
// adds a key to it, unless the key is attached to it already.
absl::Status Model::CheckLease(const std::vector<const etcdserverpb::PutRequest*>& puts) const {
  const int64_t lease = puts.back()->lease();
  if (lease == 0) return absl::OkStatus();
  if (!leases_.contains(lease)) return absl::NotFoundError("requested lease not found");
  int64_t keys = 0, bytes = 0;
  for (const std::string& key : Attached(lease)) {
    ++keys;
    bytes += static_cast<int64_t>(key.size());
  }
  bool attaches = false;
  for (const etcdserverpb::PutRequest* put : puts) {
    if (put->lease() != lease) continue;
    const mvccpb::KeyValue* kv = Find(put->key(), revision_);
    attaches = kv == nullptr || kv->lease() != lease;
    if (!attaches) continue;
    ++keys;
    bytes += static_cast<int64_t>(put->key().size());
  }
  if (!attaches || (keys <= rules().lease_keys && bytes <= rules().lease_key_bytes)) {
    return absl::OkStatus();
  }
  return absl::ResourceExhaustedError(
      "a lease may hold at most " + std::to_string(rules().lease_keys) + " keys, of " +
      std::to_string(rules().lease_key_bytes) + " bytes; attach further keys to another lease");
}

absl::Status Model::ApplyToLeases(const proto::Command& command, uint64_t index,
                                  proto::CommandResponse* response) {
  if (command.has_lease_grant()) {
    const etcdserverpb::LeaseGrantRequest& request = command.lease_grant();
    response->mutable_lease_grant()->set_id(request.id());
    response->mutable_lease_grant()->set_ttl(request.ttl());
    return Grant(request, index);
  }
  if (command.has_lease_revoke()) {
    const int64_t id = command.lease_revoke().id();
    if (!leases_.contains(id)) return absl::NotFoundError("requested lease not found");
    EndLease(id);
  } else if (command.has_renew_leases()) {
    for (const int64_t id : command.renew_leases().ids()) {
      const auto lease = leases_.find(id);
      response->mutable_renew_leases()->add_ttls(lease == leases_.end() ? 0 : lease->second.ttl);
      if (lease != leases_.end()) lease->second.renewed = index;
    }
  } else {
    Expire(command.expire_leases());
  }
  return absl::OkStatus();
}

absl::Status Model::Grant(const etcdserverpb::LeaseGrantRequest& request, uint64_t index) {
  if (request.id() == 0) return absl::NotFoundError("requested lease not found");
  if (request.ttl() > 9'000'000'000) return absl::OutOfRangeError("too large lease TTL");
  if (request.ttl() < 1) {
    return absl::InvalidArgumentError("the TTL of a lease must be at least 1 second");
  }
  if (leases_.contains(request.id())) {
    return absl::FailedPreconditionError("lease already exists");
  }
  if (static_cast<int64_t>(leases_.size()) >= rules().leases) {
    return absl::ResourceExhaustedError("there are " + std::to_string(rules().leases) +
                                        " leases, and no more are possible; share leases, or "
                                        "revoke some");
  }
  leases_[request.id()] = {.ttl = request.ttl(), .renewed = index};
  return absl::OkStatus();
}

void Model::Expire(const proto::ExpireLeases& request) {
  int64_t keys = 0;
  bool any = false;
  for (const proto::ExpireLeases::Lease& asked : request.leases()) {
    const auto lease = leases_.find(asked.id());
    if (lease == leases_.end() || lease->second.renewed != asked.renewed()) continue;
    keys += static_cast<int64_t>(Attached(asked.id()).size() + Numbers(asked.id()).size());
    if (any && keys > rules().expired_keys) return;
    EndLease(asked.id());
    any = true;
  }
}

void Model::EndLease(int64_t id) {
  for (const std::string& key : Attached(id)) {
    etcdserverpb::DeleteRangeRequest request;
    etcdserverpb::DeleteRangeResponse dropped;
    request.set_key(key);
    Delete(request, &dropped);
  }
  leases_.erase(id);
  std::erase_if(kept_, [id](const auto& kept) { return kept.first.first == id; });
}

}  // namespace raftkv
