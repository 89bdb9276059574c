#ifndef RAFTKV_STORAGE_DATA_DIR_IDENTITY_H_
#define RAFTKV_STORAGE_DATA_DIR_IDENTITY_H_

// The file IDENTITY of a data directory: which member of which cluster it belongs to. It is written
// once, when the directory is created. Only data_dir.cc reads and writes it.

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "storage/log/entry.h"

namespace raftkv {

// The origin of a cluster that was restored from a backup (restore.h).
struct RestoredFrom {
  std::string token;  // its ids are derived with it (config/config.h)
  // The log of its members begins after this entry. A log that ends there has never had an entry.
  raft::EntryId base;
};

struct Identity {
  uint64_t cluster_id = 0;
  std::string cluster_name;
  raft::MemberId member_id = raft::kNobody;
  std::string member_name;
  std::string store_id;  // 16 bytes
  bool joined = false;   // the cluster existed before this member
  std::optional<RestoredFrom> restored;
};

std::string IdentityPath(const std::string& dir);

// None: the file is missing or empty. DataLoss: it is damaged. FailedPrecondition: a newer program
// wrote it. The directory need not exist.
absl::StatusOr<std::optional<Identity>> ReadIdentityFile(const std::string& dir);

// Sets `identity->store_id` to random bytes, and writes and syncs the file.
absl::Status CreateIdentityFile(const std::string& dir, Identity* identity);

}  // namespace raftkv

#endif  // RAFTKV_STORAGE_DATA_DIR_IDENTITY_H_
