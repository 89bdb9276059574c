#ifndef RAFTKV_STORAGE_MVCC_LEASES_H_
#define RAFTKV_STORAGE_MVCC_LEASES_H_

// The leases that exist, and how many keys are attached to each. A key is attached to the lease
// that its latest put named (KeyValue.lease); when the lease ends, the key is deleted. The table of
// leases (tables/leases.h) grants and removes leases. The Writer attaches and detaches keys as it
// changes them. The list of the attached keys is stored in the engine, sorted by lease and key
// (layout.h).
//
// Leases are completely in memory; Rules::leases limits their number. Most leases have one key, and
// that key is in memory too, because to find its row in the engine takes longer than to write that
// the key is deleted.

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "storage/base/seeded_hash.h"
#include "storage/engine/engine.h"
#include "storage/log/entry.h"
#include "storage/rules/version.h"

namespace raftkv::mvcc {

// etcd's error.
inline absl::Status LeaseNotFound() { return absl::NotFoundError("requested lease not found"); }

// A key is kept in memory with its lease only if it is not longer.
inline constexpr size_t kOnlyKeyBytes = 64;

struct Lease {
  int64_t ttl = 0;          // granted, in seconds
  raft::Index renewed = 0;  // the entry that granted it or renewed it last
  int64_t keys = 0;         // the number of attached keys
  int64_t key_bytes = 0;
  // The attached key, if it is the only one and has at most kOnlyKeyBytes. Empty: look in the
  // engine, because there are more, or none, or others were detached.
  std::string only_key;

  void Attach(std::string_view key);
  void Detach(std::string_view key);
};

// A key that is attached to a lease.
struct Attached {
  int64_t lease = 0;
  std::string key;
};

class Leases {
 public:
  // Reads leases and attached keys from the engine. DataLoss: damaged.
  absl::Status Load(const Engine& engine);

  // Null: there is no such lease. Valid until the next Set or Erase.
  const Lease* Find(int64_t id) const;
  size_t size() const { return leases_.size(); }

  // Grants or renews the lease. Its keys stay attached.
  void Set(int64_t id, int64_t ttl, raft::Index renewed);
  // Removes the lease. No key may be attached to it any more.
  void Erase(int64_t id);

  // The key is attached to lease `to` now, and was attached to `from`. 0 stands for no lease.
  void Move(int64_t from, int64_t to, std::string_view key);

  // Whether `keys` more keys with `key_bytes` bytes may be attached to a lease: OK or
  // ResourceExhausted.
  static absl::Status CheckRoom(const Lease& lease, int64_t keys, int64_t key_bytes,
                                const Rules& rules);

 private:
  absl::flat_hash_map<int64_t, Lease, SeededIdHash> leases_;  // never iterated
};

// --- the layout in the engine

// A lease: its id, and its record.
std::string LeaseKey(int64_t id);
int64_t LeaseId(std::string_view engine_key);
std::string EncodeLease(const Lease& lease);
// Returns false if the record is malformed. Does not change `keys` and `key_bytes`.
bool DecodeLease(std::string_view record, Lease* lease);

// An attached key: the id of the lease, then the unchanged key. The engine keys of all keys of a
// lease begin with AttachedPrefix.
std::string AttachedPrefix(int64_t lease);
std::string AttachedEnd(int64_t lease);  // just after the last engine key with this prefix
std::string_view AttachedKey(std::string_view engine_key);

}  // namespace raftkv::mvcc

#endif  // RAFTKV_STORAGE_MVCC_LEASES_H_
