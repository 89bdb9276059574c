#ifndef RAFTKV_TESTS_SIM_REQUESTS_H_
#define RAFTKV_TESTS_SIM_REQUESTS_H_

// What the clients of a run ask for: puts, deletes, transactions, compactions and reads over a few
// keys, drawn from the run's generator and from what clients have been told so far (history.h), so
// that revisions in requests are mostly near the newest, now and then compacted or in the future.

#include <string>

#include "proto/command.pb.h"
#include "tests/sim/history.h"
#include "tests/sim/rng.h"

namespace raftkv::sim {

class Requests {
 public:
  Requests(Rng* rng, const History* history, int keys)
      : rng_(*rng), history_(*history), keys_(keys) {}

  proto::Command Put();
  proto::Command Delete();
  proto::Command Swap();  // puts a key if it still has the mod_revision that clients know of
  proto::Command Txn();
  proto::Command Compaction();
  ReadQuery Read();

 private:
  using Ops = google::protobuf::RepeatedPtrField<etcdserverpb::RequestOp>;

  std::string Key();
  std::string End(const std::string& key);  // of a range from `key` on, mostly of one key
  std::string Value();                      // carries the operation's number
  Revision PastRevision();
  void FillCompares(etcdserverpb::TxnRequest* txn);
  void FillRange(etcdserverpb::RangeRequest* range);
  void FillOps(int depth, Ops* ops);
  void FillPutAndDelete(Ops* ops);

  Rng& rng_;
  const History& history_;
  const int keys_;
};

}  // namespace raftkv::sim

#endif  // RAFTKV_TESTS_SIM_REQUESTS_H_
