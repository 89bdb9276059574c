#include "storage/mvcc/range.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "storage/mvcc/check.h"
#include "storage/mvcc/limits.h"

namespace raftkv::mvcc {
namespace {

using etcdserverpb::RangeRequest;
using etcdserverpb::RangeResponse;
using mvccpb::KeyValue;

// A step to the next version costs a tenth of a seek; most keys have few versions.
constexpr int kStepsBeforeSeek = 8;

bool HasFilter(const RangeRequest& r) {
  return r.min_mod_revision() != 0 || r.max_mod_revision() != 0 || r.min_create_revision() != 0 ||
         r.max_create_revision() != 0;
}

bool Passes(const RangeRequest& r, const Head& head) {
  const auto within = [](int64_t v, int64_t min, int64_t max) {
    return (min == 0 || v >= min) && (max == 0 || v <= max);
  };
  return within(head.mod_revision, r.min_mod_revision(), r.max_mod_revision()) &&
         within(head.create_revision, r.min_create_revision(), r.max_create_revision());
}

// Less than zero: `a` sorts before `b` in ascending order.
int Compare(RangeRequest::SortTarget target, const KeyValue& a, const KeyValue& b) {
  const auto three_way = [](int64_t x, int64_t y) { return x < y ? -1 : x > y; };
  switch (target) {
    case RangeRequest::VERSION:
      return three_way(a.version(), b.version());
    case RangeRequest::CREATE:
      return three_way(a.create_revision(), b.create_revision());
    case RangeRequest::MOD:
      return three_way(a.mod_revision(), b.mod_revision());
    case RangeRequest::VALUE:
      return a.value().compare(b.value());
    default:
      return a.key().compare(b.key());
  }
}

// As etcd: another target than the key sorts even when no order is asked for. Ties stay in key
// order.
void Sort(const RangeRequest& request, std::vector<KeyValue>* kvs) {
  const RangeRequest::SortTarget target = request.sort_target();
  const bool descend = request.sort_order() == RangeRequest::DESCEND;
  if (target == RangeRequest::KEY && !descend) return;  // they come in key order
  std::stable_sort(kvs->begin(), kvs->end(), [&](const KeyValue& a, const KeyValue& b) {
    const int order = Compare(target, a, b);
    return descend ? order > 0 : order < 0;
  });
}

}  // namespace

KeyValue ToKeyValue(std::string key, const Head& head, std::string_view value) {
  KeyValue kv;
  kv.set_key(std::move(key));
  kv.set_create_revision(head.create_revision);
  kv.set_mod_revision(head.mod_revision);
  kv.set_version(head.version);
  kv.set_lease(head.lease);
  kv.set_value(value.data(), value.size());
  return kv;
}

absl::Status Compacted() {
  return absl::OutOfRangeError("mvcc: required revision has been compacted");
}

absl::Status FutureRevision() {
  return absl::OutOfRangeError("mvcc: required revision is a future revision");
}

absl::Status ReadBudgetExhausted() { return absl::ResourceExhaustedError("read budget"); }

absl::Status AnswerTooLarge() {
  return absl::ResourceExhaustedError(
      absl::StrCat("one transaction or deletion may answer at most ", EntryBudget().answer_bytes,
                   " bytes of keys and values; ask for less of them"));
}

absl::Status CheckRevision(const ReadState& state, Revision revision) {
  if (revision > state.revision) return FutureRevision();
  if (revision > 0 && revision < state.compacted) return Compacted();
  return absl::OkStatus();
}

VersionCursor::VersionCursor(const View& view, KeyRange range, Revision revision,
                             int64_t visited_max)
    : range_(std::move(range)),
      revision_(revision),
      it_(view.NewIterator(range_.end)),
      visits_left_(visited_max) {}

bool VersionCursor::Next() {
  if (range_.begin >= range_.end) return false;
  if (!started_) {
    it_->Seek(range_.begin);
    started_ = true;
  } else {
    PassKey();
  }
  for (; it_->valid(); PassKey()) {
    prefix_.assign(VersionPrefix(it_->key()));
    if (visits_left_-- == 0) {
      exhausted_ = true;
      return false;
    }
    if (VersionRevision(it_->key()) > revision_) {
      seek_ = prefix_;
      AppendRevisionDescending(revision_, &seek_);
      it_->Seek(seek_);
      if (!it_->valid()) return false;
      if (!it_->key().starts_with(prefix_)) {  // born later: look at the next key afresh
        prefix_.clear();
        continue;
      }
    }
    DecodeVersion(it_->key(), it_->value(), &head_, &value_);
    if (head_.exists()) return true;
  }
  return false;
}

// To the first version of the next key. With an empty prefix we are there already.
void VersionCursor::PassKey() {
  if (prefix_.empty()) return;
  for (int step = 0; step < kStepsBeforeSeek; ++step) {
    it_->Next();
    if (!it_->valid() || !it_->key().starts_with(prefix_)) return;
  }
  it_->Seek(AfterVersions(prefix_));
}

absl::Status Range(const ReadState& state, const RangeRequest& request, ReadBudget* left,
                   RangeResponse* response) {
  if (absl::Status status = Check(request); !status.ok()) return status;
  if (absl::Status s = CheckRevision(state, request.revision()); !s.ok()) return s;
  const Revision revision = request.revision() > 0 ? request.revision() : state.revision;
  const int64_t limit = request.limit() > 0 ? request.limit() : INT64_MAX;
  // Only without a filter and without an order may the walk stop collecting early, one key late so
  // that `more` is known. Counting goes on to the end either way.
  const bool collect_all = request.sort_order() != RangeRequest::NONE || HasFilter(request);
  const int64_t collect_max = collect_all || limit == INT64_MAX ? INT64_MAX : limit + 1;

  std::vector<KeyValue> kvs;
  int64_t count = 0;
  VersionCursor cursor(state.view, VersionRange(request.key(), request.range_end()), revision,
                       left->visited_keys_max);
  while (cursor.Next()) {
    ++count;
    if (request.count_only() || static_cast<int64_t>(kvs.size()) >= collect_max ||
        !Passes(request, cursor.head())) {
      continue;
    }
    // A sort by value needs it even if only keys are asked for.
    const bool with_value = !request.keys_only() || request.sort_target() == RangeRequest::VALUE;
    const KeyValue& kv = kvs.emplace_back(
        ToKeyValue(cursor.key(), cursor.head(), with_value ? cursor.value() : std::string_view()));
    left->bytes_max -= static_cast<int64_t>(kv.key().size() + kv.value().size());
    if (left->bytes_max < 0) return ReadBudgetExhausted();
  }
  if (cursor.exhausted()) return ReadBudgetExhausted();
  left->visited_keys_max = cursor.visits_left();

  Sort(request, &kvs);
  if (static_cast<int64_t>(kvs.size()) > limit) {
    kvs.resize(static_cast<size_t>(limit));
    response->set_more(true);
  }
  response->mutable_header()->set_revision(state.revision);
  response->set_count(count);
  response->mutable_kvs()->Reserve(static_cast<int>(kvs.size()));
  for (KeyValue& kv : kvs) {
    if (request.keys_only()) kv.clear_value();
    *response->add_kvs() = std::move(kv);
  }
  return absl::OkStatus();
}

void AnswerPoint(Revision revision, const RangeRequest& request, const KeyValue* kv,
                 RangeResponse* response) {
  response->mutable_header()->set_revision(revision);
  if (kv == nullptr) return;
  response->set_count(1);
  const Head head{.create_revision = kv->create_revision(), .mod_revision = kv->mod_revision()};
  if (request.count_only() || !Passes(request, head)) return;
  *response->add_kvs() = *kv;
  if (request.keys_only()) response->mutable_kvs(0)->clear_value();
}

}  // namespace raftkv::mvcc
