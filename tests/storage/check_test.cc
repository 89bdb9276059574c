#include "storage/mvcc/check.h"

#include <gtest/gtest.h>

#include <string>

namespace raftkv::mvcc {
namespace {

using etcdserverpb::RangeRequest;
using etcdserverpb::RequestOp;
using etcdserverpb::TxnRequest;

constexpr int kOpsMax = 128;

RequestOp Put(const std::string& key) {
  RequestOp op;
  op.mutable_request_put()->set_key(key);
  return op;
}

RequestOp Delete(const std::string& key, const std::string& end = "") {
  RequestOp op;
  op.mutable_request_delete_range()->set_key(key);
  op.mutable_request_delete_range()->set_range_end(end);
  return op;
}

RequestOp Get(const std::string& key) {
  RequestOp op;
  op.mutable_request_range()->set_key(key);
  return op;
}

RequestOp Nested(const std::vector<RequestOp>& success,
                 const std::vector<RequestOp>& failure = {}) {
  RequestOp op;
  for (const RequestOp& o : success) *op.mutable_request_txn()->add_success() = o;
  for (const RequestOp& o : failure) *op.mutable_request_txn()->add_failure() = o;
  return op;
}

std::string Verdict(const std::vector<RequestOp>& success,
                    const std::vector<RequestOp>& failure = {}) {
  return std::string(Check(Nested(success, failure).request_txn(), kOpsMax).message());
}

constexpr char kTwice[] = "duplicate key given in txn request";
constexpr char kTooMany[] = "too many operations in txn request";
const std::string kNoEnd(1, '\0');

TEST(Check, ChecksWhatNeedsNoStore) {
  etcdserverpb::PutRequest put;
  EXPECT_EQ(Check(put).message(), "key is not provided");
  put.set_key("k");
  EXPECT_TRUE(Check(put).ok());
  put.set_ignore_value(true);
  EXPECT_TRUE(Check(put).ok());
  put.set_value("v");
  EXPECT_EQ(Check(put).message(), "value is provided");
  put.clear_value();
  put.set_ignore_lease(true);
  put.set_lease(5);
  EXPECT_EQ(Check(put).message(), "lease is provided");

  RangeRequest range;
  EXPECT_EQ(Check(range).message(), "key is not provided");
  range.set_key("k");
  range.set_sort_order(static_cast<RangeRequest::SortOrder>(7));
  EXPECT_EQ(Check(range).message(), "invalid sort option");
  range.set_sort_order(RangeRequest::ASCEND);
  range.set_sort_target(static_cast<RangeRequest::SortTarget>(-1));
  EXPECT_EQ(Check(range).message(), "invalid sort option");

  EXPECT_EQ(Check(etcdserverpb::DeleteRangeRequest()).message(), "key is not provided");
}

TEST(CheckTxn, EveryOperationMustBeWellFormedInBothBranches) {
  EXPECT_EQ(Verdict({}), "");
  EXPECT_EQ(Verdict({Put("")}), "key is not provided");
  EXPECT_EQ(Verdict({}, {Get("")}), "key is not provided");
  EXPECT_EQ(Verdict({Nested({}, {Delete("")})}), "key is not provided");
  EXPECT_EQ(Verdict({RequestOp()}), "key not found");
  TxnRequest txn;
  txn.add_compare();
  EXPECT_EQ(Check(txn, kOpsMax).message(), "key is not provided");
}

TEST(CheckTxn, EachLevelUsesUpTheOperationsOfThoseWithin) {
  const std::vector<RequestOp> full(kOpsMax, Get("k"));
  EXPECT_EQ(Verdict(full, full), "");
  std::vector<RequestOp> more = full;
  more.push_back(Get("k"));
  EXPECT_EQ(Verdict(more), kTooMany);
  EXPECT_EQ(Verdict({}, more), kTooMany);
  EXPECT_EQ(Verdict({Nested(full)}), kTooMany);  // the outer level uses one
  more.assign(kOpsMax - 1, Get("k"));
  EXPECT_EQ(Verdict({Nested(more)}), "");

  // All levels together: 13 + 13 * 64 is within 8 * 128, 16 + 16 * 64 is not.
  const std::vector<RequestOp> half(kOpsMax / 2, Get("k"));
  std::vector<RequestOp> wide(13, Nested(half));
  EXPECT_EQ(Verdict(wide), "");
  wide.resize(16, Nested(half));
  EXPECT_EQ(Verdict(wide), kTooMany);

  RequestOp deep = Get("k");
  for (int depth = 1; depth < kTxnDepthMax; ++depth) deep = Nested({deep});
  EXPECT_EQ(Verdict({deep}), "");
  EXPECT_EQ(Verdict({Nested({deep})}), kTooMany);
}

TEST(CheckTxn, AKeyIsPutOnceInABranch) {
  EXPECT_EQ(Verdict({Put("a"), Put("b")}, {Put("a"), Put("b")}), "");
  EXPECT_EQ(Verdict({Put("a"), Get("a"), Put("a")}), kTwice);
  EXPECT_EQ(Verdict({}, {Put("a"), Put("a")}), kTwice);
  EXPECT_EQ(Verdict({Put("a"), Nested({Put("a")})}), kTwice);
  EXPECT_EQ(Verdict({Nested({Put("a")}), Nested({Put("a")})}), kTwice);
  // Only one branch of a nested transaction runs.
  EXPECT_EQ(Verdict({Nested({Put("a")}, {Put("a")})}), "");
  EXPECT_EQ(Verdict({Nested({Put("a")}, {Put("a")}), Put("a")}), kTwice);
}

TEST(CheckTxn, AKeyIsNotPutWhereItIsDeleted) {
  EXPECT_EQ(Verdict({Put("a"), Delete("a")}), kTwice);
  EXPECT_EQ(Verdict({Delete("a"), Put("a")}), kTwice);
  EXPECT_EQ(Verdict({Delete("a", "c"), Put("b")}), kTwice);
  EXPECT_EQ(Verdict({Delete("a", "c"), Put("c")}), "");
  EXPECT_EQ(Verdict({Delete("b", kNoEnd), Put("zzz")}), kTwice);
  EXPECT_EQ(Verdict({Delete("b", kNoEnd), Put("a")}), "");
  EXPECT_EQ(Verdict({Delete("c", "a"), Put("b")}), "");  // an empty range deletes nothing
  EXPECT_EQ(Verdict({Delete("a", "z"), Delete("b", "c"), Delete("a", "z")}), "");
  EXPECT_EQ(Verdict({Delete("a", "c"), Nested({Put("b")})}), kTwice);
  EXPECT_EQ(Verdict({Nested({Delete("a", "c")}), Put("b")}), kTwice);
  EXPECT_EQ(Verdict({Nested({Delete("b")}), Nested({Put("b")})}), kTwice);
  EXPECT_EQ(Verdict({Nested({Put("b")}), Nested({Delete("b")})}), "");  // as in etcd
}

TEST(CheckTxn, DeletionsThatTouchAreOneInterval) {
  EXPECT_EQ(Verdict({Delete("a", "c"), Delete("c", "e"), Delete("g", kNoEnd), Delete("b", "d"),
                     Put("d")}),
            kTwice);
  EXPECT_EQ(Verdict({Delete("a", "c"), Delete("e", "g"), Delete("f", "h"), Put("d")}), "");
  EXPECT_EQ(Verdict({Delete("a", kNoEnd), Delete("b", "c"), Put("x")}), kTwice);
  EXPECT_EQ(Verdict({Delete("b", "c"), Delete("x"), Delete("a", kNoEnd), Put("y")}), kTwice);
}

TEST(IsReadOnly, ChecksEveryPath) {
  EXPECT_TRUE(IsReadOnly(TxnRequest()));
  EXPECT_TRUE(IsReadOnly(Nested({Get("a")}, {Nested({Get("b")})}).request_txn()));
  EXPECT_FALSE(IsReadOnly(Nested({Get("a")}, {Put("b")}).request_txn()));
  EXPECT_FALSE(IsReadOnly(Nested({Nested({}, {Delete("b")})}).request_txn()));
}

}  // namespace
}  // namespace raftkv::mvcc
