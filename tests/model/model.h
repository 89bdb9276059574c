#ifndef RAFTKV_TESTS_MODEL_MODEL_H_
#define RAFTKV_TESTS_MODEL_MODEL_H_

// The model: computes what a correct store answers, in the simplest way. It holds every key's whole
// history in std::maps and walks over all keys for every request, without batching, index or
// persistence. It shares with storage/ only the messages and the numbers of the rules
// (storage/rules/version.h) of the cluster version in force. Codes and texts of errors are those of
// storage/state_machine.h. Its behaviour was compared with etcd 3.4.23.
//
// It never removes anything; a compaction only changes the compacted revision. So it can compute
// the correct answer for any earlier *moment* (the newest and the compacted revision at that time).

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "proto/command.pb.h"
#include "proto/etcd/rpc.pb.h"
#include "storage/rules/version.h"

namespace raftkv {

class Model {
 public:
  struct Moment {
    int64_t revision = 1;
    int64_t compacted = -1;  // -1: never compacted
  };
  struct Answer {
    absl::Status status;
    int64_t revision = 0;  // the store's, after the command
    proto::CommandResponse response;
  };

  // `rules_of`: as in StateMachineOptions.
  explicit Model(const Rules& (*rules_of)(ClusterVersion) = RulesOf) : rules_of_(rules_of) {}

  // `index` is the entry's in the log.
  Answer Apply(const proto::Command& command, uint64_t index);

  Moment now() const { return {revision_, compacted_}; }
  int64_t revision() const { return revision_; }
  ClusterVersion cluster_version() const { return cluster_version_; }

  struct Lease {
    int64_t ttl = 0;
    uint64_t renewed = 0;  // the entry that granted it or renewed it last
    friend bool operator==(const Lease&, const Lease&) = default;
  };
  const std::map<int64_t, Lease>& leases() const { return leases_; }
  // The members of the cluster, and the ids of removed ones.
  struct Member {
    etcdserverpb::Member info;
    bool votes = false;
    bool started = false;
  };
  const std::map<uint64_t, Member>& members() const { return members_; }
  const std::set<uint64_t>& removed_members() const { return removed_members_; }
  // The alarms: their type and member, and whether the member raised it itself.
  using Alarms = std::map<std::pair<int, uint64_t>, bool>;
  const Alarms& alarms() const { return alarms_; }
  // The answers that sessions store, by lease and number.
  struct Kept {
    uint64_t acked = 0;
    int op = 0;
    Answer answer;
  };
  const std::map<std::pair<int64_t, uint64_t>, Kept>& kept() const { return kept_; }
  // The keys that are attached to the lease.
  std::vector<std::string> Attached(int64_t lease) const;

  // Whether a revision can be read. 0 or less means the newest one.
  static absl::Status CheckRevision(const Moment& at, int64_t revision);
  absl::Status Range(const etcdserverpb::RangeRequest& request, const Moment& at,
                     etcdserverpb::RangeResponse* response) const;
  // Runs a transaction that only reads.
  absl::Status Txn(const etcdserverpb::TxnRequest& request, const Moment& at,
                   etcdserverpb::TxnResponse* response) const;

  // What HashKv hashes at `revision` (0: the newest), key by key: the newest version there unless
  // it is a deletion. Before kHashKvVersion: the newest one at or below the compacted
  // revision, and every later version. A deletion has version 0. Errors as Range.
  absl::Status History(const Moment& at, int64_t revision,
                       std::vector<mvccpb::KeyValue>* versions) const;
  // The versions (key, revision) that a store holds after its physical compaction: the newest one
  // of each key at the compacted revision, every later one, and deletions at the compacted revision
  // itself, which a watch from that revision must see.
  std::set<std::pair<std::string, int64_t>> Stored(const Moment& at) const;
  // The events of one revision that a watch of all keys gets, with prev_kv.
  std::vector<mvccpb::Event> EventsOf(int64_t revision) const;
  // A 64-bit hash of History, for comparisons.
  absl::Status HashOfHistory(const Moment& at, int64_t revision, uint64_t* hash) const;

 private:
  using Versions = std::map<int64_t, mvccpb::KeyValue>;  // by revision; version 0: deleted then

  // The key as it was at `revision`, or null.
  static const mvccpb::KeyValue* At(const Versions& versions, int64_t revision);
  const mvccpb::KeyValue* Find(const std::string& key, int64_t revision) const;

  // The newest revision for the command that is being applied.
  int64_t Newest() const { return revision_ + (changed_ ? 1 : 0); }

  // Everything except sessions.
  Answer Execute(const proto::Command& command, uint64_t index);
  void ApplyOperation(const proto::Command& command, uint64_t index, Answer* answer);
  absl::Status CheckPut(const etcdserverpb::PutRequest& request) const;
  absl::Status CheckDelete(const etcdserverpb::DeleteRangeRequest& request) const;
  absl::Status CheckTxn(const etcdserverpb::TxnRequest& request) const;
  absl::Status CheckLease(const std::vector<const etcdserverpb::PutRequest*>& puts) const;
  void Change(const etcdserverpb::PutRequest& request, etcdserverpb::PutResponse* response);
  void Delete(const etcdserverpb::DeleteRangeRequest& request,
              etcdserverpb::DeleteRangeResponse* response);
  absl::Status Compact(const etcdserverpb::CompactionRequest& request);
  absl::Status RecordStoreId(const proto::RecordStoreId& request);
  absl::Status SetClusterVersion(const proto::SetClusterVersion& request);
  absl::Status CheckVersion(ClusterVersion needs) const;
  absl::Status ChangeMembers(const proto::ChangeMembers& change,
                             proto::ChangeMembersResponse* response);
  // alarms.cc
  absl::Status CheckAlarms(const proto::Command& command) const;
  absl::Status ChangeAlarm(const proto::ChangeAlarm& change, etcdserverpb::AlarmResponse* response);
  // sessions.cc
  absl::Status CheckSession(const proto::Command& command) const;
  std::vector<uint64_t> Numbers(int64_t lease) const;  // of the session's stored answers
  void Keep(const proto::Command& command, Answer* answer);
  // leases.cc
  absl::Status ApplyToLeases(const proto::Command& command, uint64_t index,
                             proto::CommandResponse* response);
  absl::Status Grant(const etcdserverpb::LeaseGrantRequest& request, uint64_t index);
  void Expire(const proto::ExpireLeases& request);
  void EndLease(int64_t id);

  // How many steps a command walks, by the rules of the version in force: for one key of a range
  // (free if a store may have removed it), a range, a deletion, all compares, a whole transaction.
  // For a deletion, `deleted_steps` is what it costs to pass the deleted keys once more.
  const Rules& rules() const { return rules_of_(cluster_version_); }
  int64_t StepsOfKey(const std::string& key) const;
  int64_t Walk(const std::string& key, const Versions& versions, int64_t revision) const;
  int64_t Walk(const etcdserverpb::RangeRequest& request) const;
  int64_t Walk(const etcdserverpb::DeleteRangeRequest& request, int64_t* deleted_steps) const;
  int64_t WalkOfCompares(const etcdserverpb::TxnRequest& txn) const;
  int64_t Walk(const etcdserverpb::TxnRequest& txn) const;
  absl::Status CheckWalk(int64_t steps) const;

  // txn.cc
  using Ops = google::protobuf::RepeatedPtrField<etcdserverpb::RequestOp>;
  bool Holds(const etcdserverpb::Compare& compare, int64_t revision) const;
  bool Succeeds(const etcdserverpb::TxnRequest& txn, int64_t revision) const;
  // Every operation that will run, in order, except nested transactions themselves.
  using Taken = std::vector<const etcdserverpb::RequestOp*>;
  Taken Take(const etcdserverpb::TxnRequest& txn, int64_t revision) const;
  absl::Status CheckTaken(const Taken& taken, const Moment& before) const;
  // `store` is this model, or null when the transaction only reads.
  void Execute(const etcdserverpb::TxnRequest& txn, const Moment& before, Model* store,
               etcdserverpb::TxnResponse* response) const;
  void Execute(const etcdserverpb::RequestOp& op, const Moment& before, Model* store,
               etcdserverpb::ResponseOp* response) const;

  const Rules& (*const rules_of_)(ClusterVersion);
  std::map<std::string, Versions> keys_;
  // The changes of each revision, in order. `kv`: what was put, if the same revision deleted it.
  struct Changed {
    std::string key;
    bool deleted = false;
    mvccpb::KeyValue kv = {};
  };
  std::map<int64_t, std::vector<Changed>> changes_;
  std::map<uint64_t, std::string> store_ids_;
  std::map<uint64_t, Member> members_;
  std::set<uint64_t> removed_members_;
  std::map<int64_t, Lease> leases_;
  Alarms alarms_;
  std::map<std::pair<int64_t, uint64_t>, Kept> kept_;
  ClusterVersion cluster_version_ = kFirstVersion;
  int64_t revision_ = 1;
  int64_t compacted_ = -1;
  bool changed_ = false;  // by the command that is being applied: at revision_ + 1
};

// Checks the shape of requests, without the store. The API checks the limit of operations.
absl::Status ModelCheck(const etcdserverpb::RangeRequest& request);
absl::Status ModelCheck(const etcdserverpb::PutRequest& request);
absl::Status ModelCheck(const etcdserverpb::TxnRequest& request);

// Whether `key` lies in a range, by etcd's convention.
bool InRange(const std::string& key, const std::string& begin, const std::string& end);

}  // namespace raftkv

#endif  // RAFTKV_TESTS_MODEL_MODEL_H_
