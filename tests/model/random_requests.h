#ifndef RAFTKV_TESTS_MODEL_RANDOM_REQUESTS_H_
#define RAFTKV_TESTS_MODEL_RANDOM_REQUESTS_H_

// Generates random commands and reads, for tests that compare a store with the model. The keys are
// few and unusual: short ones, and ones with a long common prefix. The requests use every option,
// and some of them must be rejected. They depend only on the seed and on the given moments.

#include <cstdint>
#include <random>
#include <string>

#include "proto/command.pb.h"
#include "tests/model/model.h"

namespace raftkv {

class RandomRequests {
 public:
  // With `many_keys`: this many plain keys, which are mostly counted or read in part. Otherwise few
  // unusual ones.
  explicit RandomRequests(uint64_t seed, int64_t many_keys = 0)
      : many_keys_(many_keys), engine_(seed) {}

  int64_t Below(int64_t n) { return static_cast<int64_t>(engine_() % static_cast<uint64_t>(n)); }
  bool OneIn(int n) { return Below(n) == 0; }

  proto::Command Command(const Model::Moment& now);
  proto::Command ChangeMembers(const Model& model);
  // A command about leases.
  proto::Command LeaseCommand(const Model& model);
  proto::Command AlarmCommand(const Model& model);
  // Binds the command to a session, mostly with a number that is new.
  void Bind(const Model& model, proto::Command* command);
  int64_t LeaseId() { return Below(8) - 1; }
  etcdserverpb::RangeRequest Range(const Model::Moment& now);
  etcdserverpb::TxnRequest ReadOnlyTxn(const Model::Moment& now);
  // Returns a random revision, mostly one that can be read.
  int64_t Revision(const Model::Moment& now);

 private:
  using Ops = google::protobuf::RepeatedPtrField<etcdserverpb::RequestOp>;

  std::string Key();
  std::string RangeEnd(std::string key);
  std::string Value();
  void FillPut(etcdserverpb::PutRequest* put);
  void FillDelete(etcdserverpb::DeleteRangeRequest* request);
  void FillCompare(const Model::Moment& now, etcdserverpb::Compare* compare);
  void FillTxn(const Model::Moment& now, int depth, etcdserverpb::TxnRequest* txn);
  void FillOps(const Model::Moment& now, int depth, Ops* ops);
  void FillReads(const Model::Moment& now, int depth, etcdserverpb::TxnRequest* txn);
  void FillPutAndDelete(Ops* ops);
  void FillManyPuts(Ops* ops);
  etcdserverpb::TxnRequest DeepTxn();

  const int64_t many_keys_;
  std::mt19937_64 engine_;
};

}  // namespace raftkv

#endif  // RAFTKV_TESTS_MODEL_RANDOM_REQUESTS_H_
