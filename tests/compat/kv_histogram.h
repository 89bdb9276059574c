#ifndef RAFTKV_TESTS_COMPAT_KV_HISTOGRAM_H_
#define RAFTKV_TESTS_COMPAT_KV_HISTOGRAM_H_

// Counts how often each kind of request and each kind of answer occurred in a run, because a
// comparison only proves something about the cases that occurred. One exchange may be in several
// rows. A row is named after what happened ("range: ASCEND by VALUE", "error of put: key not
// found"), which follows from the request, the answer, and the store's content before the request.

#include <cstdint>
#include <map>
#include <ostream>
#include <set>
#include <string>
#include <vector>

#include "tests/compat/kv_exchange.h"

namespace raftkv::e2e {

class Histogram {
 public:
  Histogram();

  // `before`: the store's content when the request was sent.
  void Count(const Request& request, const Answer& answer, const Knowledge& before);

  int64_t requests() const { return requests_; }
  int64_t changes() const { return changes_; }  // requests that created a revision
  // The expected rows that occurred fewer than `count` times. Other rows are only printed.
  std::vector<std::string> RowsBelow(int64_t count) const;
  void Print(std::ostream& out) const;

 private:
  using Ops = google::protobuf::RepeatedPtrField<etcdserverpb::RequestOp>;

  void Hit(const std::string& row) { ++rows_[row]; }
  void HitIf(bool met, const std::string& row) {
    if (met) Hit(row);
  }
  // Adds a row that must occur. It exists from the start, so that RowsBelow() finds it even if it
  // is 0.
  void Expect(const std::string& row) {
    rows_.emplace(row, 0);
    expected_.insert(row);
  }
  void ExpectErrors();
  void ExpectRanges();
  void ExpectTxns();

  void CountError(const Request& request, const std::string& message, const Knowledge& before);
  void CountMalformed(const etcdserverpb::TxnRequest& request);
  void CountTwice(const Ops& branch);
  void CountRange(const etcdserverpb::RangeRequest& request,
                  const etcdserverpb::RangeResponse& response, const Knowledge& before);
  void CountPut(const etcdserverpb::PutRequest& request, const etcdserverpb::PutResponse& response,
                const Knowledge& before);
  void CountDelete(const etcdserverpb::DeleteRangeRequest& request,
                   const etcdserverpb::DeleteRangeResponse& response);
  void CountTxn(const etcdserverpb::TxnRequest& request, const etcdserverpb::TxnResponse& response,
                const Knowledge& before, int depth);
  void CountCompare(const etcdserverpb::Compare& compare, const Knowledge& before);
  void CountInTxn(const etcdserverpb::RequestOp& op, const etcdserverpb::ResponseOp& response,
                  const Knowledge& before);

  std::map<std::string, int64_t> rows_;
  std::set<std::string> expected_;
  int64_t requests_ = 0;
  int64_t changes_ = 0;
};

}  // namespace raftkv::e2e

#endif  // RAFTKV_TESTS_COMPAT_KV_HISTOGRAM_H_
