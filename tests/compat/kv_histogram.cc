#include "tests/compat/kv_histogram.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"

namespace raftkv::e2e {
namespace {

using etcdserverpb::CompactionRequest;
using etcdserverpb::Compare;
using etcdserverpb::DeleteRangeRequest;
using etcdserverpb::DeleteRangeResponse;
using etcdserverpb::PutRequest;
using etcdserverpb::PutResponse;
using etcdserverpb::RangeRequest;
using etcdserverpb::RangeResponse;
using etcdserverpb::RequestOp;
using etcdserverpb::TxnRequest;
using etcdserverpb::TxnResponse;
using google::protobuf::RepeatedPtrField;

constexpr int kEtcdOpsMax = 128;
constexpr int kRaftkvDepthMax = 32;

bool IsFromKeyOn(const std::string& range_end) { return range_end == std::string(1, '\0'); }

bool IsEmptyInterval(const std::string& key, const std::string& range_end) {
  return !range_end.empty() && !IsFromKeyOn(range_end) && range_end <= key;
}

std::string SortRow(const RangeRequest& request) {
  return absl::StrCat("range: ", RangeRequest::SortOrder_Name(request.sort_order()), " by ",
                      RangeRequest::SortTarget_Name(request.sort_target()));
}

std::string CompareRow(Compare::CompareTarget target, Compare::CompareResult result,
                       const char* key) {
  return absl::StrCat("compare: ", Compare::CompareTarget_Name(target), " ",
                      Compare::CompareResult_Name(result), ", key ", key);
}

int Depth(const TxnRequest& request) {
  int within = 0;
  for (const auto* ops : {&request.success(), &request.failure()}) {
    for (const RequestOp& op : *ops) {
      if (op.has_request_txn()) within = std::max(within, Depth(op.request_txn()));
    }
  }
  return 1 + within;
}

bool OnlyReads(const TxnRequest& request) {
  const auto reads = [](const RequestOp& op) { return op.has_request_range(); };
  return std::all_of(request.success().begin(), request.success().end(), reads) &&
         std::all_of(request.failure().begin(), request.failure().end(), reads);
}

constexpr const char* kFilters[] = {"min_mod_revision", "max_mod_revision", "min_create_revision",
                                    "max_create_revision"};

int64_t Filter(const RangeRequest& request, int which) {
  const int64_t filters[] = {request.min_mod_revision(), request.max_mod_revision(),
                             request.min_create_revision(), request.max_create_revision()};
  return filters[which];
}

// What one branch of a transaction puts and deletes; with `deep`, nested transactions included.
struct Changed {
  std::vector<std::string> puts;
  std::vector<DeleteRangeRequest> deletes;

  void Collect(const RepeatedPtrField<RequestOp>& ops, bool deep) {
    for (const RequestOp& op : ops) {
      if (op.has_request_put()) puts.push_back(op.request_put().key());
      if (op.has_request_delete_range()) deletes.push_back(op.request_delete_range());
      if (deep && op.has_request_txn()) {
        Collect(op.request_txn().success(), deep);
        Collect(op.request_txn().failure(), deep);
      }
    }
  }
  bool Puts(const std::string& key) const {
    return std::find(puts.begin(), puts.end(), key) != puts.end();
  }
  bool Deletes(const std::string& key, bool ranged) const {
    return std::any_of(deletes.begin(), deletes.end(), [&](const DeleteRangeRequest& removal) {
      return removal.range_end().empty() != ranged &&
             Covers(removal.key(), removal.range_end(), key);
    });
  }
  bool Deletes(const std::string& key) const { return Deletes(key, true) || Deletes(key, false); }
};

}  // namespace

Histogram::Histogram() {
  ExpectErrors();
  ExpectRanges();
  for (const char* row :
       {"creates a key", "overwrites a key", "prev_kv, there was one", "prev_kv, there was none",
        "an empty value", "ignore_value", "ignore_lease"}) {
    Expect(absl::StrCat("put: ", row));
  }
  for (const char* row :
       {"one key, found", "one key, not found", "several keys", "from the key on",
        "nothing in the range", "an empty interval", "prev_kv, there were some"}) {
    Expect(absl::StrCat("delete: ", row));
  }
  for (const char* row :
       {"logical", "physical", "up to the current revision", "error: repeated",
        "error: before the last one", "error: in the future", "error: zero", "error: negative"}) {
    Expect(absl::StrCat("compaction: ", row));
  }
  ExpectTxns();
}

void Histogram::ExpectErrors() {
  for (const char* row : {"range: key is not provided",
                          "range: mvcc: required revision has been compacted",
                          "range: mvcc: required revision is a future revision",
                          "put: key is not provided",
                          "put: key not found",
                          "put: value is provided",
                          "put: lease is provided",
                          "put: requested lease not found",
                          "put: request is too large",
                          "put: larger than gRPC's limit",
                          "delete: key is not provided",
                          "txn: key is not provided",
                          "txn: key not found",
                          "txn: value is provided",
                          "txn: lease is provided",
                          "txn: too many operations in txn request",
                          "txn: duplicate key given in txn request",
                          "txn: requested lease not found",
                          "txn: mvcc: required revision has been compacted",
                          "txn: mvcc: required revision is a future revision",
                          "compaction: mvcc: required revision has been compacted",
                          "compaction: mvcc: required revision is a future revision"}) {
    Expect(absl::StrCat("error of ", row));
  }
  for (const char* row : {"compare", "range", "put", "delete", "child"}) {
    Expect(absl::StrCat("txn: no key in a ", row));
  }
  Expect("txn: an empty operation");
  for (const char* row : {"put and put", "put and delete", "put and delete of a range",
                          "put, and put by a child", "delete, and put by a child",
                          "put, and delete by a child", "put by a child and the next"}) {
    Expect(absl::StrCat("twice: ", row));
  }
}

void Histogram::ExpectRanges() {
  RangeRequest request;
  for (int order = 0; order < 3; ++order) {
    for (int target = 0; target < 5; ++target) {
      request.set_sort_order(static_cast<RangeRequest::SortOrder>(order));
      request.set_sort_target(static_cast<RangeRequest::SortTarget>(target));
      Expect(SortRow(request));
    }
  }
  for (const char* filter : kFilters) {
    Expect(absl::StrCat("range: ", filter));
    Expect(absl::StrCat("range: ", filter, ", negative"));
  }
  for (const char* row : {"an unknown sort order",
                          "one key, found",
                          "one key, not found",
                          "keys from a key to another",
                          "from the key on",
                          "the whole store",
                          "an empty interval",
                          "a limit that cuts off keys",
                          "a limit that cuts off sorted keys",
                          "a limit that is not reached",
                          "a negative limit",
                          "keys_only",
                          "count_only",
                          "serializable",
                          "linearizable",
                          "at the current revision",
                          "at a past revision",
                          "at the compacted revision",
                          "at a negative revision",
                          "a filter drops something"}) {
    Expect(absl::StrCat("range: ", row));
  }
}

void Histogram::ExpectTxns() {
  for (int target = 0; target < 5; ++target) {
    const auto typed = static_cast<Compare::CompareTarget>(target);
    for (int result = 0; result < 4; ++result) {
      for (const char* key : {"present", "missing"}) {
        Expect(CompareRow(typed, static_cast<Compare::CompareResult>(result), key));
      }
    }
    Expect(absl::StrCat("compare: ", Compare::CompareTarget_Name(typed), " of a range"));
  }
  Expect("compare: a range without keys");
  Expect("compare: without a value to compare with");
  for (const char* row : {"succeeded",
                          "failed",
                          "entirely empty",
                          "nested, 2 levels",
                          "nested, 3 levels",
                          "nested, more levels than raftkv allows",
                          "as many operations as allowed",
                          "only reads",
                          "only reads, serializable",
                          "has writes and changes nothing",
                          "a key in both branches",
                          "deletes that overlap",
                          "put by a child, deleted by another",
                          "within: put with prev_kv",
                          "within: put with ignore_value",
                          "within: delete with prev_kv",
                          "within: several keys deleted",
                          "within: range",
                          "within: range, sorted",
                          "within: range, limited",
                          "within: range at a past revision",
                          "within: range of what the transaction put"}) {
    Expect(absl::StrCat("txn: ", row));
  }
}

void Histogram::Count(const Request& request, const Answer& answer, const Knowledge& before) {
  ++requests_;
  const auto* sorted = std::get_if<RangeRequest>(&request);
  // etcd 3.4 accepts it, and 3.7 does not.
  if (sorted != nullptr && !RangeRequest::SortOrder_IsValid(sorted->sort_order())) {
    return Hit("range: an unknown sort order");
  }
  if (!answer.ok()) return CountError(request, answer.status.error_message(), before);
  if (answer.header().revision() > before.revision()) ++changes_;
  if (const auto* range = std::get_if<RangeRequest>(&request)) {
    CountRange(*range, std::get<RangeResponse>(answer.response), before);
  } else if (const auto* put = std::get_if<PutRequest>(&request)) {
    CountPut(*put, std::get<PutResponse>(answer.response), before);
  } else if (const auto* removal = std::get_if<DeleteRangeRequest>(&request)) {
    CountDelete(*removal, std::get<DeleteRangeResponse>(answer.response));
  } else if (const auto* txn = std::get_if<TxnRequest>(&request)) {
    const auto& response = std::get<TxnResponse>(answer.response);
    const int depth = Depth(*txn);
    HitIf(depth == 2 || depth == 3, absl::StrCat("txn: nested, ", depth, " levels"));
    HitIf(depth > kRaftkvDepthMax, "txn: nested, more levels than raftkv allows");
    HitIf(txn->ByteSizeLong() == 0, "txn: entirely empty");
    HitIf(OnlyReads(*txn) && txn->success_size() > 0, "txn: only reads");
    HitIf(IsSerializable(request) && txn->success_size() > 0, "txn: only reads, serializable");
    HitIf(!OnlyReads(*txn) && answer.header().revision() == before.revision(),
          "txn: has writes and changes nothing");
    CountTxn(*txn, response, before, 1);
  } else {
    const auto& compaction = std::get<CompactionRequest>(request);
    Hit(compaction.physical() ? "compaction: physical" : "compaction: logical");
    HitIf(compaction.revision() == before.revision(), "compaction: up to the current revision");
  }
}

// --- errors

void Histogram::CountError(const Request& request, const std::string& message,
                           const Knowledge& before) {
  static constexpr const char* kMethods[] = {"range", "put", "delete", "txn", "compaction"};
  absl::string_view text = message;
  absl::ConsumePrefix(&text, "etcdserver: ");
  if (absl::StrContains(message, "received message larger than max")) {
    text = "larger than gRPC's limit";
  }
  Hit(absl::StrCat("error of ", kMethods[request.index()], ": ", text));
  if (const auto* txn = std::get_if<TxnRequest>(&request)) {
    if (text == "key is not provided" || text == "key not found") CountMalformed(*txn);
    if (absl::StartsWith(text, "duplicate key")) {
      CountTwice(txn->success());
      CountTwice(txn->failure());
    }
  }
  if (const auto* compaction = std::get_if<CompactionRequest>(&request)) {
    const int64_t revision = compaction->revision();
    HitIf(revision == 0, "compaction: error: zero");
    HitIf(revision < 0, "compaction: error: negative");
    HitIf(revision > before.revision(), "compaction: error: in the future");
    HitIf(revision > 0 && revision == before.compacted(), "compaction: error: repeated");
    HitIf(revision > 0 && revision < before.compacted(), "compaction: error: before the last one");
  }
}

void Histogram::CountMalformed(const TxnRequest& request) {
  for (const Compare& compare : request.compare()) {
    HitIf(compare.key().empty(), "txn: no key in a compare");
  }
  for (const RequestOp& op : request.success()) {
    HitIf(op.has_request_range() && op.request_range().key().empty(), "txn: no key in a range");
    HitIf(op.has_request_put() && op.request_put().key().empty(), "txn: no key in a put");
    HitIf(op.has_request_delete_range() && op.request_delete_range().key().empty(),
          "txn: no key in a delete");
    HitIf(op.request_case() == RequestOp::REQUEST_NOT_SET, "txn: an empty operation");
    if (!op.has_request_txn()) continue;
    const auto& within = op.request_txn().success();
    if (within.size() != 1) continue;
    HitIf(within[0].has_request_put() && within[0].request_put().key().empty(),
          "txn: no key in a child");
    HitIf(within[0].request_case() == RequestOp::REQUEST_NOT_SET, "txn: an empty operation");
  }
}

void Histogram::CountTwice(const Ops& branch) {
  Changed here;
  here.Collect(branch, /*deep=*/false);
  std::set<std::string> put;
  for (const std::string& key : here.puts) {
    HitIf(!put.insert(key).second, "twice: put and put");
    HitIf(here.Deletes(key, /*ranged=*/false), "twice: put and delete");
    HitIf(here.Deletes(key, /*ranged=*/true), "twice: put and delete of a range");
  }
  Changed before;  // by the children before the current one
  for (const RequestOp& op : branch) {
    if (!op.has_request_txn()) continue;
    Changed child;
    child.Collect(op.request_txn().success(), /*deep=*/true);
    child.Collect(op.request_txn().failure(), /*deep=*/true);
    for (const std::string& key : child.puts) {
      HitIf(here.Puts(key), "twice: put, and put by a child");
      HitIf(here.Deletes(key), "twice: delete, and put by a child");
      HitIf(before.Puts(key), "twice: put by a child and the next");
    }
    for (const std::string& key : here.puts) {
      HitIf(child.Deletes(key), "twice: put, and delete by a child");
    }
    before.puts.insert(before.puts.end(), child.puts.begin(), child.puts.end());
  }
}

// --- answers

void Histogram::CountRange(const RangeRequest& request, const RangeResponse& response,
                           const Knowledge& before) {
  Hit(SortRow(request));
  const std::string& end = request.range_end();
  HitIf(end.empty() && response.count() > 0, "range: one key, found");
  HitIf(end.empty() && response.count() == 0, "range: one key, not found");
  HitIf(IsFromKeyOn(end), "range: from the key on");
  HitIf(IsFromKeyOn(end) && IsFromKeyOn(request.key()), "range: the whole store");
  HitIf(IsEmptyInterval(request.key(), end), "range: an empty interval");
  HitIf(!IsFromKeyOn(end) && end > request.key(), "range: keys from a key to another");
  HitIf(response.more(), "range: a limit that cuts off keys");
  HitIf(response.more() && request.sort_order() != RangeRequest::NONE,
        "range: a limit that cuts off sorted keys");
  HitIf(request.limit() > 0 && !response.more(), "range: a limit that is not reached");
  HitIf(request.limit() < 0, "range: a negative limit");
  HitIf(request.keys_only() && response.kvs_size() > 0, "range: keys_only");
  HitIf(request.count_only(), "range: count_only");
  Hit(request.serializable() ? "range: serializable" : "range: linearizable");
  const int64_t revision = request.revision();
  HitIf(revision == before.revision(), "range: at the current revision");
  HitIf(revision > 0 && revision < before.revision(), "range: at a past revision");
  HitIf(revision > 0 && revision == before.compacted(), "range: at the compacted revision");
  HitIf(revision < 0, "range: at a negative revision");
  bool filtered = false;
  for (int i = 0; i < 4; ++i) {
    const int64_t bound = Filter(request, i);
    HitIf(bound > 0, absl::StrCat("range: ", kFilters[i]));
    HitIf(bound < 0, absl::StrCat("range: ", kFilters[i], ", negative"));
    filtered |= bound != 0;
  }
  HitIf(filtered && !request.count_only() && request.limit() <= 0 &&
            response.kvs_size() < response.count(),
        "range: a filter drops something");
}

void Histogram::CountPut(const PutRequest& request, const PutResponse& response,
                         const Knowledge& before) {
  Hit(before.Holds(request.key()) ? "put: overwrites a key" : "put: creates a key");
  HitIf(request.prev_kv(),
        response.has_prev_kv() ? "put: prev_kv, there was one" : "put: prev_kv, there was none");
  HitIf(request.ignore_value(), "put: ignore_value");
  HitIf(!request.ignore_value() && request.value().empty(), "put: an empty value");
  HitIf(request.ignore_lease(), "put: ignore_lease");
}

void Histogram::CountDelete(const DeleteRangeRequest& request,
                            const DeleteRangeResponse& response) {
  const bool one = request.range_end().empty();
  const int64_t deleted = response.deleted();
  HitIf(one, deleted > 0 ? "delete: one key, found" : "delete: one key, not found");
  HitIf(deleted > 1, "delete: several keys");
  HitIf(!one && deleted == 0, "delete: nothing in the range");
  HitIf(IsFromKeyOn(request.range_end()), "delete: from the key on");
  HitIf(IsEmptyInterval(request.key(), request.range_end()), "delete: an empty interval");
  HitIf(response.prev_kvs_size() > 0, "delete: prev_kv, there were some");
}

void Histogram::CountTxn(const TxnRequest& request, const TxnResponse& response,
                         const Knowledge& before, int depth) {
  Hit(response.succeeded() ? "txn: succeeded" : "txn: failed");
  HitIf(request.success_size() == kEtcdOpsMax || request.failure_size() == kEtcdOpsMax ||
            request.compare_size() == kEtcdOpsMax,
        "txn: as many operations as allowed");
  for (const Compare& compare : request.compare()) CountCompare(compare, before);
  Changed either, other;
  either.Collect(request.success(), /*deep=*/false);
  other.Collect(request.failure(), /*deep=*/false);
  HitIf(std::any_of(either.puts.begin(), either.puts.end(),
                    [&](const std::string& key) { return other.Puts(key); }),
        "txn: a key in both branches");
  Changed all;  // by the branch that ran
  const Ops& ops = response.succeeded() ? request.success() : request.failure();
  all.Collect(ops, /*deep=*/true);
  HitIf(std::any_of(all.puts.begin(), all.puts.end(),
                    [&](const std::string& key) { return all.Deletes(key); }),
        "txn: put by a child, deleted by another");
  for (size_t i = 1; i < all.deletes.size(); ++i) {
    HitIf(Covers(all.deletes[i - 1].key(), all.deletes[i - 1].range_end(), all.deletes[i].key()),
          "txn: deletes that overlap");
  }
  for (int i = 0; i < ops.size(); ++i) {
    if (ops[i].has_request_txn()) {
      CountTxn(ops[i].request_txn(), response.responses(i).response_txn(), before, depth + 1);
    } else {
      CountInTxn(ops[i], response.responses(i), before);
    }
    HitIf(ops[i].has_request_range() && std::any_of(all.puts.begin(), all.puts.end(),
                                                    [&](const std::string& key) {
                                                      return Covers(
                                                          ops[i].request_range().key(),
                                                          ops[i].request_range().range_end(), key);
                                                    }),
          "txn: within: range of what the transaction put");
  }
}

void Histogram::CountInTxn(const RequestOp& op, const etcdserverpb::ResponseOp& response,
                           const Knowledge& before) {
  if (op.has_request_put()) {
    HitIf(op.request_put().prev_kv(), "txn: within: put with prev_kv");
    HitIf(op.request_put().ignore_value(), "txn: within: put with ignore_value");
  } else if (op.has_request_delete_range()) {
    HitIf(op.request_delete_range().prev_kv(), "txn: within: delete with prev_kv");
    HitIf(response.response_delete_range().deleted() > 1, "txn: within: several keys deleted");
  } else if (op.has_request_range()) {
    const RangeRequest& range = op.request_range();
    Hit("txn: within: range");
    HitIf(range.sort_order() != RangeRequest::NONE, "txn: within: range, sorted");
    HitIf(range.limit() > 0, "txn: within: range, limited");
    HitIf(range.revision() > 0 && range.revision() < before.revision(),
          "txn: within: range at a past revision");
  }
}

void Histogram::CountCompare(const Compare& compare, const Knowledge& before) {
  HitIf(compare.target_union_case() == Compare::TARGET_UNION_NOT_SET,
        "compare: without a value to compare with");
  if (compare.range_end().empty()) {
    return Hit(CompareRow(compare.target(), compare.result(),
                          before.Holds(compare.key()) ? "present" : "missing"));
  }
  Hit(absl::StrCat("compare: ", Compare::CompareTarget_Name(compare.target()), " of a range"));
  HitIf(!before.HoldsAny(compare.key(), compare.range_end()), "compare: a range without keys");
}

// --- the table

std::vector<std::string> Histogram::RowsBelow(int64_t count) const {
  std::vector<std::string> rows;
  for (const std::string& row : expected_) {
    const int64_t met = rows_.at(row);
    if (met < count) rows.push_back(absl::StrCat(row, " (", met, ")"));
  }
  return rows;
}

void Histogram::Print(std::ostream& out) const {
  for (const auto& [row, met] : rows_) out << absl::StreamFormat("%8d  %s\n", met, row);
  out << absl::StreamFormat("%8d  requests in total, %d of them (%.1f %%) changed something\n",
                            requests_, changes_, 100.0 * changes_ / requests_);
}

}  // namespace raftkv::e2e
