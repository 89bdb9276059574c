#ifndef RAFTKV_TESTS_SIM_REQUESTS_H_
#define RAFTKV_TESTS_SIM_REQUESTS_H_

// The requests of a run's clients: puts, deletes, transactions, compactions and reads over a few
// keys. The run's generator chooses them, from what the clients know (history.h). So most
// revisions in requests are near the newest one; some are compacted or in the future.

#include <string>
#include <string_view>

#include "proto/command.pb.h"
#include "tests/sim/history.h"
#include "tests/sim/rng.h"

namespace raftkv::sim {

class Requests {
 public:
  // `leases`: the rate of puts that name a lease. `search`: of puts, deletions and reads of the
  // key that is searched.
  Requests(Rng* rng, const History* history, int keys, uint32_t leases, uint32_t search)
      : rng_(*rng), history_(*history), keys_(keys), leases_(leases), search_(search) {}

  // This key is put, deleted and read by itself, and in no other way.
  static constexpr std::string_view kSearched = "searched";
  static bool IsSearched(const proto::Command& command);
  static bool IsSearched(const ReadQuery& query);
  // The number of the operation that has put it; 0: it does not exist.
  static uint64_t SearchedValue(const StateMachine& state_machine);

  proto::Command Put();
  proto::Command Delete();
  proto::Command Swap();  // puts a key if it still has the mod_revision that the clients know
  proto::Command Txn();
  proto::Command Compaction();
  proto::Command LeaseGrant();
  proto::Command LeaseRevoke();
  proto::Command AlarmRaised();  // by a client, mostly NOSPACE
  int64_t Lease();               // the id of one, which may not exist
  ReadQuery Read();

 private:
  using Ops = google::protobuf::RepeatedPtrField<etcdserverpb::RequestOp>;

  std::string Key();
  std::string End(const std::string& key);  // the end of a range from `key`, mostly of one key
  std::string Value();                      // begins with the operation's number
  etcdserverpb::DeleteRangeRequest DeleteRange();
  Revision PastRevision();
  void FillCompares(etcdserverpb::TxnRequest* txn);
  void FillRange(etcdserverpb::RangeRequest* range);
  void FillOps(int depth, Ops* ops);
  void FillPutAndDelete(Ops* ops);

  Rng& rng_;
  const History& history_;
  const int keys_;
  const uint32_t leases_;
  const uint32_t search_;
};

}  // namespace raftkv::sim

#endif  // RAFTKV_TESTS_SIM_REQUESTS_H_
