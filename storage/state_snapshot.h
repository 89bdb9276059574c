#ifndef RAFTKV_STORAGE_STATE_SNAPSHOT_H_
#define RAFTKV_STORAGE_STATE_SNAPSHOT_H_

// A pinned state of the state machine, for readers on any thread. It does not change when the state
// machine applies more. Made by StateMachine::Snapshot.

#include <cstdint>
#include <functional>
#include <memory>

#include "absl/status/statusor.h"
#include "proto/etcd/rpc.pb.h"
#include "storage/engine/engine.h"
#include "storage/log/entry.h"
#include "storage/mvcc/events.h"
#include "storage/mvcc/range.h"
#include "storage/mvcc/range_parts.h"
#include "storage/rules/alarms.h"
#include "storage/rules/members.h"
#include "storage/rules/meter.h"  // Limits
#include "storage/rules/version.h"
#include "storage/tables/state.h"

namespace raftkv {

class StateSnapshot {
 public:
  // `block_keys`: see StateMachineOptions.
  StateSnapshot(std::shared_ptr<const View> view, const State& state, int64_t block_keys);

  Revision revision() const { return state_.revision; }
  Revision compacted_revision() const { return state_.compacted; }  // oldest readable; -1: all are
  raft::EntryId applied() const { return state_.applied; }
  ClusterVersion cluster_version() const { return state_.cluster_version; }

  // KV.Range by etcd's rules. Errors: InvalidArgument and OutOfRange as etcd. ResourceExhausted
  // with the text "read budget" if a limit was exceeded: discard `response`; the read may run again
  // on another thread, without limits. Cancelled if give_up returned true.
  absl::Status Range(const etcdserverpb::RangeRequest& request, const Limits& limits,
                     etcdserverpb::RangeResponse* response) const;

  // The next part of a range's answer, for KV.RangeStream (RangeParts::Next).
  absl::Status NextPart(mvcc::RangeParts* parts, int64_t bytes_max, const Limits& limits,
                        etcdserverpb::RangeResponse* part) const;

  // A transaction that only reads (mvcc::IsReadOnly), without the log. Errors as Range; the limits
  // are for all of it together.
  absl::Status Txn(const etcdserverpb::TxnRequest& request, const Limits& limits,
                   etcdserverpb::TxnResponse* response) const;

  // Lease.LeaseTimeToLive and Lease.LeaseLeases, except that the time that is left (TTL) is not
  // known here: TTL is -1 if there is no such lease, else 0. Keys are sorted, leases by id as
  // unsigned numbers. Errors as Range.
  absl::Status LeaseTimeToLive(const etcdserverpb::LeaseTimeToLiveRequest& request,
                               const Limits& limits,
                               etcdserverpb::LeaseTimeToLiveResponse* response) const;
  absl::Status LeaseLeases(const etcdserverpb::LeaseLeasesRequest& request, const Limits& limits,
                           etcdserverpb::LeaseLeasesResponse* response) const;

  // The members of the cluster.
  absl::StatusOr<Members> ReadMembers() const;

  // The alarms of the cluster. Those in force deny some commands, and reads (rules/alarms.h).
  absl::StatusOr<Alarms> ReadAlarms() const;
  const AlarmsInForce& alarms_in_force() const { return state_.alarms; }

  // The events from `from` to the end of revision `last`. They are complete if from.revision is at
  // least first_event(). The snapshot must outlive the cursor.
  mvcc::EventCursor Events(mvcc::EventId from, Revision last) const {
    return mvcc::EventCursor(*view_, from, last);
  }
  // The oldest revision whose events are all stored. It is below compacted_revision() while the
  // physical compaction has not removed them yet.
  Revision first_event() const {
    const mvcc::EventId next = state_.compaction_next;
    // A compaction keeps the events of its own revision.
    const bool whole = next.sub == 0 || next.revision == state_.compacted;
    return whole ? next.revision : next.revision + 1;
  }

  // A checksum of the keys that exist at hash_revision. No compaction changes it. Before cluster
  // version 3 (kHashKvVersion in rules/version.h): of the history since compact_revision.
  // `revision` 0 is the newest. Errors: OutOfRange as Range; Cancelled if `give_up` (see Limits)
  // returned true. Reads everything, so run it on a worker.
  struct KvHash {
    uint32_t hash = 0;
    Revision compact_revision = 0;
    Revision hash_revision = 0;
  };
  absl::StatusOr<KvHash> HashKv(Revision revision, const std::function<bool()>& give_up = {}) const;
  // A checksum of all tables and their history, without the applied index. Cancelled as HashKv.
  absl::StatusOr<uint32_t> Hash(const std::function<bool()>& give_up = {}) const;

 private:
  mvcc::ReadState read_state() const {
    return {*view_, state_.revision, state_.compacted, /*settled=*/true, block_keys_};
  }

  const std::shared_ptr<const View> view_;
  const State state_;
  const int64_t block_keys_;
};

}  // namespace raftkv

#endif  // RAFTKV_STORAGE_STATE_SNAPSHOT_H_
