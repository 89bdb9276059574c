#include "storage/tables/leases.h"

#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "storage/base/checksum.h"
#include "storage/base/mutant.h"
#include "storage/tables/keys.h"
#include "storage/tables/sessions.h"

namespace raftkv {

using proto::Command;

absl::Status LeaseTable::Load() {
  absl::Status status = shared_.leases.Load(*shared_.engine);
  if (!status.ok()) return status;
  shared_.lease_changes = {.all = true, .changes = {}};
  return shared_.engine->Scan(std::string(1, mvcc::kLeaseTable), mvcc::TableEnd(mvcc::kLeaseTable),
                              [this](std::string_view key, std::string_view) {
                                const int64_t id = mvcc::LeaseId(key);
                                const mvcc::Lease& lease = *shared_.leases.Find(id);
                                shared_.lease_changes.changes.push_back(
                                    {.id = id, .ttl = lease.ttl, .renewed = lease.renewed});
                                return absl::OkStatus();
                              });
}

absl::StatusOr<LeaseTable::Removal> LeaseTable::Check(const Command& command, Meter* meter) {
  switch (command.op_case()) {
    case Command::kLeaseGrant:
      if (absl::Status status = CheckGrant(command.lease_grant()); !status.ok()) return status;
      return Removal();
    case Command::kLeaseRevoke: {
      const int64_t id = command.lease_revoke().id();
      if (shared_.leases.Find(id) == nullptr) return mvcc::LeaseNotFound();
      return CheckRemove({id}, meter);
    }
    case Command::kRenewLeases:
      for (int left = command.renew_leases().ids_size(); left > 0; --left) {
        if (!meter->Step()) return meter->status();
      }
      return Removal();
    case Command::kExpireLeases:
      for (int left = command.expire_leases().leases_size(); left > 0; --left) {
        if (!meter->Step()) return meter->status();
      }
      return CheckRemove(Expired(command.expire_leases()), meter);
    default:
      break;
  }
  LOG(FATAL) << "not a command of the table of leases: " << command.op_case();
}

absl::Status LeaseTable::CheckGrant(const etcdserverpb::LeaseGrantRequest& request) const {
  if (request.id() == 0) return mvcc::LeaseNotFound();
  if (request.ttl() > shared_.rules().lease_ttl)
    return absl::OutOfRangeError("too large lease TTL");
  if (request.ttl() <= 0) {
    return absl::InvalidArgumentError("the TTL of a lease must be at least 1 second");
  }
  if (shared_.leases.Find(request.id()) != nullptr) {
    return absl::FailedPreconditionError("lease already exists");
  }
  const int64_t leases_max = shared_.rules().leases;
  if (static_cast<int64_t>(shared_.leases.size()) < leases_max) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat(
      "there are ", leases_max, " leases, and no more are possible; share leases, or revoke some"));
}

void LeaseTable::Apply(const Command& command, Removal removal, proto::CommandResponse* response) {
  const Revision& revision = shared_.state.revision;
  switch (command.op_case()) {
    case Command::kLeaseGrant: {
      const etcdserverpb::LeaseGrantRequest& request = command.lease_grant();
      Set(request.id(), request.ttl());
      response->mutable_lease_grant()->set_id(request.id());
      response->mutable_lease_grant()->set_ttl(request.ttl());
      response->mutable_lease_grant()->mutable_header()->set_revision(revision);
      return;
    }
    case Command::kLeaseRevoke:
      Remove(removal);
      response->mutable_lease_revoke()->mutable_header()->set_revision(revision);
      return;
    case Command::kRenewLeases:
      for (const int64_t id : command.renew_leases().ids()) {
        const mvcc::Lease* lease = shared_.leases.Find(id);
        response->mutable_renew_leases()->add_ttls(lease == nullptr ? 0 : lease->ttl);
        if (lease != nullptr) Set(id, lease->ttl);
      }
      return;
    default:
      Remove(removal);
  }
}

// The leases that the command ends now.
std::vector<int64_t> LeaseTable::Expired(const proto::ExpireLeases& command) const {
  std::vector<int64_t> expired;
  std::set<int64_t> seen;
  int64_t keys = 0;
  for (const proto::ExpireLeases::Lease& asked : command.leases()) {
    const mvcc::Lease* lease = shared_.leases.Find(asked.id());
    if (lease == nullptr || seen.contains(asked.id())) continue;
    if (lease->renewed != asked.renewed() && !RAFTKV_MUTANT("renewal-does-not-save-a-lease")) {
      continue;
    }
    keys += lease->keys + static_cast<int64_t>(shared_.sessions->answers(asked.id()));
    if (keys > shared_.rules().expired_keys && !expired.empty()) break;
    expired.push_back(asked.id());
    seen.insert(asked.id());
  }
  return expired;
}

void LeaseTable::Set(int64_t id, int64_t ttl) {
  shared_.leases.Set(id, ttl, shared_.entry.index);
  shared_.batch.Put(mvcc::LeaseKey(id), mvcc::EncodeLease(*shared_.leases.Find(id)));
  uint64_t& digest = shared_.state.digest;
  if (!RAFTKV_MUTANT("digest-skips-leases")) {
    digest = HashMix(HashMix(digest, static_cast<uint64_t>(id)), static_cast<uint64_t>(ttl));
  }
  shared_.lease_changes.changes.push_back({.id = id, .ttl = ttl, .renewed = shared_.entry.index});
}

absl::StatusOr<LeaseTable::Removal> LeaseTable::CheckRemove(std::vector<int64_t> ids,
                                                            Meter* meter) const {
  for (const int64_t id : ids) {
    for (size_t left = shared_.sessions->answers(id); left > 0; --left) {
      if (!meter->Step()) return meter->status();
    }
  }
  Removal removal{.leases = std::move(ids), .keys = {}};
  removal.keys = shared_.keys->FindAttached(removal.leases, meter);
  if (meter->over()) return meter->status();
  return removal;
}

void LeaseTable::Remove(const Removal& removal) {
  shared_.keys->DeleteAttached(removal.keys);
  for (const int64_t id : removal.leases) {
    shared_.sessions->End(id);
    shared_.leases.Erase(id);
    shared_.batch.Delete(mvcc::LeaseKey(id));
    shared_.state.digest = HashMix(shared_.state.digest, static_cast<uint64_t>(id));
    shared_.lease_changes.changes.push_back({.id = id});
  }
}

// The list of attached keys is not hashed here, because each key's own record names its lease and
// is hashed.
absl::Status LeaseTable::Hash(const View& view, const State&, Meter* meter, std::string* out) {
  return HashRecords(view, mvcc::kLeaseTable, meter, out);
}

}  // namespace raftkv
