#ifndef RAFTKV_TESTS_COMPAT_KV_GENERATOR_H_
#define RAFTKV_TESTS_COMPAT_KV_GENERATOR_H_

// Generates random requests of etcdserverpb.KV over twelve keys. Every option and every kind of
// invalid request occurs, often enough to fill all rows of the histogram (kv_histogram.h). The same
// seed and the same knowledge give the same request.
//
// Half of the keys are short. The others have a common prefix that is longer than what RocksDB's
// filters look at. Some keys are prefixes of others; some end in the byte 0x00 or 0xff. There are
// only twelve, because etcd 3.4's sort is stable only up to twelve elements: with more, the order
// of equal elements is undefined.
//
// If the two products may treat a request differently (differences.toml), the request never changes
// anything. Otherwise their stores would differ afterwards.

#include <random>
#include <string>
#include <vector>

#include "tests/compat/kv_exchange.h"

namespace raftkv::e2e {

class Generator {
 public:
  Generator(uint64_t seed, const Knowledge* knowledge) : random_(seed), store_(*knowledge) {}

  Request Next();

 private:
  int Below(int n) { return static_cast<int>(random_() % n); }
  bool Chance(int percent) { return Below(100) < percent; }

  std::string Key();
  std::string PresentKey();  // any key, if none is present
  std::string MissingKey();  // any key, if none is missing
  std::string Value();
  std::string RangeEnd(std::string key);
  int64_t Revision();      // a revision to read at: of every kind, valid or not
  int64_t PastRevision();  // a revision that is not compacted
  int64_t Bound();         // a bound for min_mod_revision and the like

  etcdserverpb::RangeRequest Range();
  etcdserverpb::RangeRequest RangeInTxn();
  etcdserverpb::PutRequest Put();
  etcdserverpb::DeleteRangeRequest Delete();
  etcdserverpb::CompactionRequest Compaction();

  // Transactions: random valid trees (AnyTree), and special forms, most of which are invalid
  // (Special).
  etcdserverpb::TxnRequest Txn();
  etcdserverpb::TxnRequest AnyTree();
  etcdserverpb::TxnRequest Tree(int depth);
  void FillBranch(google::protobuf::RepeatedPtrField<etcdserverpb::RequestOp>* ops, int depth);
  void FillCompare(etcdserverpb::Compare* compare);
  void FillTarget(const std::string& key, etcdserverpb::Compare* compare);
  etcdserverpb::TxnRequest Special();
  etcdserverpb::TxnRequest Malformed(int form);
  etcdserverpb::TxnRequest Oversized(int form);
  etcdserverpb::TxnRequest Twice(int form);
  etcdserverpb::TxnRequest RejectedByTheStore(int form);
  etcdserverpb::TxnRequest EdgeCase(int form);
  etcdserverpb::TxnRequest PutAndDeleteToTheEnd();

  std::mt19937_64 random_;
  const Knowledge& store_;
  // While a tree is built: the keys that it may still put, and the keys that it may delete.
  std::vector<std::string> to_put_, to_delete_;
};

}  // namespace raftkv::e2e

#endif  // RAFTKV_TESTS_COMPAT_KV_GENERATOR_H_
