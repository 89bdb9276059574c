#ifndef RAFTKV_STORAGE_TABLES_LEASES_H_
#define RAFTKV_STORAGE_TABLES_LEASES_H_

// The table of leases (etcd's Lease service): grants, renewals, and their end. A lease ends when a
// client revokes it or when its time to live is over; then its keys are deleted in one revision.
//
// The table does not measure time. Members do (server/member/lessor.h): a member learns the changes
// of leases from Shared::lease_changes, and a leader proposes to expire leases whose time is over.
// A renewal is an entry of the log, like a grant (docs/decisions/0011). tables.h explains the
// functions of a table.

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "proto/command.pb.h"
#include "storage/mvcc/leases.h"
#include "storage/rules/meter.h"
#include "storage/tables/state.h"

namespace raftkv {

class LeaseTable {
 public:
  // What a command removes.
  struct Removal {
    std::vector<int64_t> leases;
    std::vector<mvcc::Attached> keys;
  };

  explicit LeaseTable(Shared* shared) : shared_(*shared) {}

  absl::Status Load();
  // NotFound, FailedPrecondition and OutOfRange as in etcd. ResourceExhausted: the number of leases
  // has reached the limit of the rules.
  absl::StatusOr<Removal> Check(const proto::Command& command, Meter* meter);
  void Apply(const proto::Command& command, Removal removal, proto::CommandResponse* response);
  static absl::Status Hash(const View& view, const State& state, Meter* meter, std::string* out);

 private:
  absl::Status CheckGrant(const etcdserverpb::LeaseGrantRequest& request) const;
  std::vector<int64_t> Expired(const proto::ExpireLeases& command) const;
  void Set(int64_t id, int64_t ttl);
  absl::StatusOr<Removal> CheckRemove(std::vector<int64_t> ids, Meter* meter) const;
  void Remove(const Removal& removal);

  Shared& shared_;
};

}  // namespace raftkv

#endif  // RAFTKV_STORAGE_TABLES_LEASES_H_
