#include "storage/mvcc/check.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <set>
#include <string>
#include <string_view>

namespace raftkv::mvcc {
namespace {

using etcdserverpb::RequestOp;
using etcdserverpb::TxnRequest;
using Ops = google::protobuf::RepeatedPtrField<RequestOp>;

absl::Status Invalid(const char* text) { return absl::InvalidArgumentError(text); }

// --- the form of every operation

absl::Status CheckShape(const TxnRequest& txn, int64_t ops_max, int64_t* total_left,
                        int depth_left);

absl::Status CheckShape(const Ops& ops, int64_t ops_left, int64_t* total_left, int depth_left) {
  for (const RequestOp& op : ops) {
    absl::Status status;
    switch (op.request_case()) {
      case RequestOp::kRequestRange:
        status = Check(op.request_range());
        break;
      case RequestOp::kRequestPut:
        status = Check(op.request_put());
        break;
      case RequestOp::kRequestDeleteRange:
        status = Check(op.request_delete_range());
        break;
      case RequestOp::kRequestTxn:
        status = CheckShape(op.request_txn(), ops_left, total_left, depth_left - 1);
        break;
      case RequestOp::REQUEST_NOT_SET:
        status = Invalid("key not found");  // etcd's text for this
        break;
    }
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status CheckShape(const TxnRequest& txn, int64_t ops_max, int64_t* total_left,
                        int depth_left) {
  const int64_t ops = std::max({txn.compare_size(), txn.success_size(), txn.failure_size()});
  *total_left -= ops;
  if (ops > ops_max || *total_left < 0 || depth_left < 1)
    return Invalid("too many operations in txn request");
  for (const etcdserverpb::Compare& compare : txn.compare()) {
    if (compare.key().empty()) return Invalid("key is not provided");
  }
  absl::Status status = CheckShape(txn.success(), ops_max - ops, total_left, depth_left);
  if (status.ok()) status = CheckShape(txn.failure(), ops_max - ops, total_left, depth_left);
  return status;
}

// --- keys changed twice

// The keys that deletions cover, as disjoint intervals [begin, end). An empty end means no bound.
class Deleted {
 public:
  void Add(std::string begin, std::string end) {
    if (!end.empty() && begin >= end) return;
    auto it = intervals_.upper_bound(begin);
    if (it != intervals_.begin() && Reaches(std::prev(it)->second, begin)) --it;
    while (it != intervals_.end() && (end.empty() || it->first <= end)) {
      begin = std::min(begin, it->first);
      if (!end.empty()) end = it->second.empty() ? "" : std::max(end, it->second);
      it = intervals_.erase(it);
    }
    intervals_.emplace(std::move(begin), std::move(end));
  }
  void Add(const etcdserverpb::DeleteRangeRequest& request) {
    const std::string& end = request.range_end();
    const bool open = end == std::string_view("\0", 1);
    Add(request.key(), end.empty() ? request.key() + '\0' : open ? "" : end);
  }
  void Add(const Deleted& other) {
    for (const auto& [begin, end] : other.intervals_) Add(begin, end);
  }
  bool Holds(const std::string& key) const {
    const auto next = intervals_.upper_bound(key);
    return next != intervals_.begin() &&
           (std::prev(next)->second.empty() || key < std::prev(next)->second);
  }

 private:
  static bool Reaches(const std::string& end, const std::string& key) {
    return end.empty() || end >= key;
  }
  std::map<std::string, std::string> intervals_;
};

// What the operations of one branch may put and delete.
struct Changes {
  std::set<std::string> puts;
  Deleted deleted;
};

// Returns false if a key is put twice, or put and deleted. Adds the puts and deletions of `ops` to
// `changes`.
bool ChangesEachKeyOnce(const Ops& ops, Changes* changes) {
  for (const RequestOp& op : ops) {
    if (op.has_request_delete_range()) changes->deleted.Add(op.request_delete_range());
  }
  for (const RequestOp& op : ops) {
    if (!op.has_request_txn()) continue;
    Changes success, failure;
    if (!ChangesEachKeyOnce(op.request_txn().success(), &success)) return false;
    if (!ChangesEachKeyOnce(op.request_txn().failure(), &failure)) return false;
    const auto collides = [changes](const std::string& key) {
      return changes->puts.contains(key) || changes->deleted.Holds(key);
    };
    // Only one of the two branches will run. So each is compared with the operations of the
    // surrounding branch, and not with the other one.
    if (std::any_of(success.puts.begin(), success.puts.end(), collides)) return false;
    if (std::any_of(failure.puts.begin(), failure.puts.end(), collides)) return false;
    changes->puts.merge(success.puts);
    changes->puts.merge(failure.puts);
    changes->deleted.Add(success.deleted);
    changes->deleted.Add(failure.deleted);
  }
  for (const RequestOp& op : ops) {
    if (!op.has_request_put()) continue;
    const std::string& key = op.request_put().key();
    if (changes->deleted.Holds(key) || !changes->puts.insert(key).second) return false;
  }
  return true;
}

}  // namespace

absl::Status Check(const etcdserverpb::RangeRequest& request) {
  if (request.key().empty()) return Invalid("key is not provided");
  if (!etcdserverpb::RangeRequest::SortOrder_IsValid(request.sort_order()) ||
      !etcdserverpb::RangeRequest::SortTarget_IsValid(request.sort_target())) {
    return Invalid("invalid sort option");
  }
  return absl::OkStatus();
}

absl::Status Check(const etcdserverpb::PutRequest& request) {
  if (request.key().empty()) return Invalid("key is not provided");
  if (request.ignore_value() && !request.value().empty()) return Invalid("value is provided");
  if (request.ignore_lease() && request.lease() != 0) return Invalid("lease is provided");
  return absl::OkStatus();
}

absl::Status Check(const etcdserverpb::DeleteRangeRequest& request) {
  if (request.key().empty()) return Invalid("key is not provided");
  return absl::OkStatus();
}

absl::Status Check(const etcdserverpb::TxnRequest& request, int64_t ops_max, int depth_max) {
  int64_t total = ops_max < INT64_MAX / kTxnLevelsFull ? kTxnLevelsFull * ops_max : INT64_MAX;
  if (absl::Status s = CheckShape(request, ops_max, &total, depth_max); !s.ok()) return s;
  for (const Ops* branch : {&request.success(), &request.failure()}) {
    Changes changes;
    if (!ChangesEachKeyOnce(*branch, &changes)) {
      return Invalid("duplicate key given in txn request");
    }
  }
  return absl::OkStatus();
}

bool IsReadOnly(const etcdserverpb::TxnRequest& request) {
  const auto reads = [](const RequestOp& op) {
    return op.has_request_range() || (op.has_request_txn() && IsReadOnly(op.request_txn()));
  };
  return std::all_of(request.success().begin(), request.success().end(), reads) &&
         std::all_of(request.failure().begin(), request.failure().end(), reads);
}

}  // namespace raftkv::mvcc
