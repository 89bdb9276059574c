#ifndef RAFTKV_TESTS_COMPAT_KV_GENERATOR_H_
#define RAFTKV_TESTS_COMPAT_KV_GENERATOR_H_

// Random requests of etcdserverpb.KV over twelve overlapping keys: every option, and every way to
// be wrong, often enough for a histogram of some hundred rows to have no empty one
// (kv_histogram.h). The same seed and the same knowledge give the same request. Half the keys are
// of one byte or two, the others have more in common than any filter of an engine looks at; some
// are prefixes of others, some end in the least byte or in the greatest.
//
// Twelve keys, because etcd 3.4 sorts in a way that is stable up to twelve: beyond, equal elements
// have no right order. A request that the two products may judge differently (differences.toml)
// never changes anything, or they would be two different stores from there on.

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
  std::string PresentKey();  // any, if there is none
  std::string MissingKey();  // any, if all are there
  std::string Value();
  std::string RangeEnd(std::string key);
  int64_t Revision();      // to read at, of every kind
  int64_t PastRevision();  // readable
  int64_t Bound();         // of a filter

  etcdserverpb::RangeRequest Range();
  etcdserverpb::RangeRequest RangeInTxn();
  etcdserverpb::PutRequest Put();
  etcdserverpb::DeleteRangeRequest Delete();
  etcdserverpb::CompactionRequest Compaction();

  // Transactions: trees that are well formed, and single forms that have something special.
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
  etcdserverpb::TxnRequest RefusedByTheStore(int form);
  etcdserverpb::TxnRequest Odd(int form);
  etcdserverpb::TxnRequest PutAndDeleteToTheEnd();

  std::mt19937_64 random_;
  const Knowledge& store_;
  // While a tree is built: keys that its puts may still take, and those that it may delete.
  std::vector<std::string> to_put_, to_delete_;
};

}  // namespace raftkv::e2e

#endif  // RAFTKV_TESTS_COMPAT_KV_GENERATOR_H_
