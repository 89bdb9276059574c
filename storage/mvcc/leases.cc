#include "storage/mvcc/leases.h"

#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "storage/base/checksum.h"
#include "storage/mvcc/layout.h"

namespace raftkv::mvcc {
namespace {

constexpr size_t kPrefixBytes = 1 + 8;

std::string Prefix(char table, int64_t id) {
  std::string key(1, table);
  PutBigEndian64(&key, static_cast<uint64_t>(id));
  return key;
}

}  // namespace

void Lease::Attach(std::string_view key) {
  ++keys;
  key_bytes += static_cast<int64_t>(key.size());
  only_key = keys == 1 && key.size() <= kOnlyKeyBytes ? std::string(key) : std::string();
}

void Lease::Detach(std::string_view key) {
  --keys;
  key_bytes -= static_cast<int64_t>(key.size());
  only_key = std::string();
}

absl::Status Leases::Load(const Engine& engine) {
  leases_.clear();
  const auto damaged = [] { return absl::DataLossError("state machine: a lease is damaged"); };
  absl::Status status =
      engine.Scan(std::string(1, kLeaseTable), TableEnd(kLeaseTable),
                  [&](std::string_view key, std::string_view record) {
                    Lease lease;
                    if (key.size() != kPrefixBytes || !DecodeLease(record, &lease)) {
                      return damaged();
                    }
                    leases_[LeaseId(key)] = lease;
                    return absl::OkStatus();
                  });
  if (!status.ok()) return status;
  return engine.Scan(std::string(1, kAttachedTable), TableEnd(kAttachedTable),
                     [&](std::string_view key, std::string_view) {
                       if (key.size() <= kPrefixBytes) return damaged();
                       const auto lease = leases_.find(LeaseId(key));
                       if (lease == leases_.end()) return damaged();
                       lease->second.Attach(AttachedKey(key));
                       return absl::OkStatus();
                     });
}

const Lease* Leases::Find(int64_t id) const {
  const auto lease = leases_.find(id);
  return lease == leases_.end() ? nullptr : &lease->second;
}

void Leases::Set(int64_t id, int64_t ttl, raft::Index renewed) {
  Lease& lease = leases_[id];
  lease.ttl = ttl;
  lease.renewed = renewed;
}

void Leases::Erase(int64_t id) {
  const auto lease = leases_.find(id);
  CHECK(lease != leases_.end() && lease->second.keys == 0) << "lease " << id << " has keys";
  leases_.erase(lease);
}

void Leases::Move(int64_t from, int64_t to, std::string_view key) {
  if (from != 0) leases_.at(from).Detach(key);
  if (to != 0) leases_.at(to).Attach(key);
}

absl::Status Leases::CheckRoom(const Lease& lease, int64_t keys, int64_t key_bytes,
                               const Rules& rules) {
  if (lease.keys + keys <= rules.lease_keys &&
      lease.key_bytes + key_bytes <= rules.lease_key_bytes) {
    return absl::OkStatus();
  }
  return absl::ResourceExhaustedError(absl::StrCat("a lease may hold at most ", rules.lease_keys,
                                                   " keys, of ", rules.lease_key_bytes,
                                                   " bytes; attach further keys to another lease"));
}

std::string LeaseKey(int64_t id) { return Prefix(kLeaseTable, id); }

int64_t LeaseId(std::string_view engine_key) {
  return static_cast<int64_t>(BigEndian64(engine_key.data() + 1));
}

std::string EncodeLease(const Lease& lease) {
  std::string record;
  PutFixed64(&record, static_cast<uint64_t>(lease.ttl));
  PutFixed64(&record, lease.renewed);
  return record;
}

bool DecodeLease(std::string_view record, Lease* lease) {
  if (record.size() != 16) return false;
  lease->ttl = static_cast<int64_t>(Fixed64(record.data()));
  lease->renewed = Fixed64(record.data() + 8);
  return true;
}

std::string AttachedPrefix(int64_t lease) { return Prefix(kAttachedTable, lease); }

std::string AttachedEnd(int64_t lease) {
  // The ids are sorted as unsigned numbers, of which -1 is the last one.
  if (lease == -1) return TableEnd(kAttachedTable);
  return AttachedPrefix(static_cast<int64_t>(static_cast<uint64_t>(lease) + 1));
}

std::string_view AttachedKey(std::string_view engine_key) {
  return engine_key.substr(kPrefixBytes);
}

}  // namespace raftkv::mvcc
