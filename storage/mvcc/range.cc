#include "storage/mvcc/range.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "storage/base/mutant.h"
#include "storage/mvcc/check.h"
#include "storage/mvcc/counts.h"

namespace raftkv::mvcc {
namespace {

using etcdserverpb::RangeRequest;
using etcdserverpb::RangeResponse;
using mvccpb::KeyValue;

// To pass a key, try some steps to the next version before a seek: a step costs a tenth of a seek,
// and most keys have few versions. After a large version seek at once, because a step reads all of
// the next one.
constexpr int kStepsBeforeSeek = 8;
constexpr size_t kBytesBeforeSeek = 4096;
// Looking for blocks without live keys costs as much as a few steps. So the cursor does it after
// this part of a block: 64 keys.
constexpr int64_t kPartBeforeSkip = 4;

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

// Collects the elements of a range's answer, in the requested order, and not more than its limit.
class Answer {
 public:
  Answer(const RangeRequest& request, Meter* meter)
      : request_(request),
        limit_(request.limit() > 0 ? request.limit() : INT64_MAX),
        meter_(meter) {
    const bool in_key_order =
        request.sort_target() == RangeRequest::KEY && request.sort_order() != RangeRequest::DESCEND;
    // As etcd: without an order and a filter, the first limit + 1 keys are taken and then sorted by
    // the target. Otherwise all keys are sorted before the limit applies.
    first_keys_ =
        in_key_order || (request.sort_order() == RangeRequest::NONE && !HasFilter(request));
  }

  // Whether nothing that comes later in key order can change the answer.
  bool complete() const { return request_.count_only() || (first_keys_ && passed_ > limit_); }
  // False when the meter is over.
  bool Add(const VersionCursor& cursor) {
    if (!Passes(request_, cursor.head())) return true;
    ++passed_;
    // A sort by value needs the value, even if only keys are requested.
    const bool with_value = !request_.keys_only() || request_.sort_target() == RangeRequest::VALUE;
    const std::string_view value = with_value ? cursor.value() : std::string_view();
    std::string key = cursor.key();
    const bool keeps = first_keys_ || static_cast<int64_t>(kvs_.size()) < limit_;
    // Charged before it is copied: a large one may be more than the reader may take.
    if (keeps && !meter_->Answer(AnswerBytes(key.size() + value.size()))) return false;
    KeyValue kv = ToKeyValue(std::move(key), cursor.head(), value);
    const auto before = [this](const KeyValue& a, const KeyValue& b) { return Before(a, b); };
    if (keeps) {
      kvs_.push_back(std::move(kv));
      if (!first_keys_ && limit_ != INT64_MAX) std::push_heap(kvs_.begin(), kvs_.end(), before);
    } else if (before(kv, kvs_.front())) {  // front: the last one in the requested order
      std::pop_heap(kvs_.begin(), kvs_.end(), before);
      if (!meter_->Answer(Bytes(kv) - Bytes(kvs_.back()))) return false;
      kvs_.back() = std::move(kv);
      std::push_heap(kvs_.begin(), kvs_.end(), before);
    }
    return true;
  }

  void MoveTo(RangeResponse* response) {
    std::sort(kvs_.begin(), kvs_.end(),
              [this](const KeyValue& a, const KeyValue& b) { return Before(a, b); });
    if (passed_ > limit_) {
      kvs_.resize(static_cast<size_t>(limit_));
      response->set_more(true);
    }
    response->mutable_kvs()->Reserve(static_cast<int>(kvs_.size()));
    for (KeyValue& kv : kvs_) {
      if (request_.keys_only()) kv.clear_value();
      *response->add_kvs() = std::move(kv);
    }
  }

 private:
  static int64_t Bytes(const KeyValue& kv) {
    return AnswerBytes(kv.key().size() + kv.value().size());
  }
  // Elements that compare equal are in ascending order of their keys, also in a descending sort.
  bool Before(const KeyValue& a, const KeyValue& b) const {
    const int order = Compare(request_.sort_target(), a, b);
    if (order == 0) return a.key() < b.key();
    return request_.sort_order() == RangeRequest::DESCEND ? order > 0 : order < 0;
  }

  const RangeRequest& request_;
  const int64_t limit_;
  bool first_keys_ = false;
  Meter* const meter_;
  int64_t passed_ = 0;  // keys that pass the filters
  // With first_keys_: at most limit + 1 elements, in key order. Otherwise at most `limit`, as a
  // heap with the last one in front.
  std::vector<KeyValue> kvs_;
};

}  // namespace

int64_t AnswerBytes(size_t key_and_value) {
  constexpr int64_t kNumbers = 128;  // revisions, version, lease, and the message around them
  return kNumbers + static_cast<int64_t>(key_and_value);
}

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

absl::Status CheckRevision(const ReadState& state, Revision revision) {
  if (revision > state.revision) return FutureRevision();
  if (revision > 0 && revision < state.compacted) return Compacted();
  return absl::OkStatus();
}

VersionCursor::VersionCursor(const View& view, KeyRange range, Revision revision, Meter* meter,
                             Charged charged)
    : range_(std::move(range)),
      revision_(revision),
      one_key_(IsOneKey(range_)),
      meter_(meter),
      charged_(meter != nullptr && meter->in_entry() && charged == Charged::kYes && !one_key_),
      view_(view),
      it_(view.NewIterator(range_.end, meter == nullptr ? nullptr : meter->skips_left())) {}

bool VersionCursor::Next() {
  while (NextOrDead()) {
    if (!head_.exists()) {
      CountDead();
      continue;
    }
    dead_ = 0;
    if (!charged_) return true;
    if (!key_charged_ && !meter_->WalkKey(StoredKeyBytes(prefix_))) return false;
    return meter_->WalkValue(value_.size());
  }
  return false;
}

bool VersionCursor::NextOrDead() {
  if (range_.begin >= range_.end) return false;
  if (!started_) {
    it_->Seek(range_.begin);
    started_ = true;
  } else if (one_key_) {
    return false;
  } else {
    PassKey();
  }
  for (; it_->valid(); PassKey()) {
    prefix_.assign(VersionPrefix(it_->key()));
    if (meter_ != nullptr && !meter_->Step(it_->key().size() + it_->value().size())) return false;
    const Revision newest = VersionRevision(it_->key());
    oldest_ = std::min(oldest_, newest);
    key_charged_ =
        charged_ && (meter_->EveryMemberHas(newest) || RAFTKV_MUTANT("leftovers-are-charged"));
    if (key_charged_ && !meter_->WalkKey(StoredKeyBytes(prefix_))) return false;
    if (newest > revision_) {
      if (existence_only_) {
        DecodeVersion(it_->key(), it_->value(), &head_, &value_);
        if (head_.exists() && head_.create_revision <= revision_) return true;
      }
      PassVersions(revision_);
      if (!it_->valid()) return false;
      if (!it_->key().starts_with(prefix_)) {  // created after revision_: it_ is at the next key
        CountDead();
        prefix_.clear();
        continue;
      }
      if (meter_ != nullptr) meter_->Bytes(it_->key().size() + it_->value().size());
    }
    DecodeVersion(it_->key(), it_->value(), &head_, &value_);
    return true;
  }
  return false;
}

// Moves to the first version of the next key. If prefix_ is empty, the iterator is already there.
void VersionCursor::PassKey() {
  if (!prefix_.empty()) PassVersions(0);
}

// Moves to the key's newest version at or below `revision`, or to the next key if there is none.
void VersionCursor::PassVersions(Revision revision) {
  for (int step = 0; step < kStepsBeforeSeek; ++step) {
    it_->Next();
    if (!it_->valid() || !it_->key().starts_with(prefix_)) return;
    const Revision version = VersionRevision(it_->key());
    oldest_ = std::min(oldest_, version);
    if (version <= revision) return;
    const size_t bytes = it_->key().size() + it_->value().size();
    if (meter_ != nullptr) meter_->Bytes(bytes);
    if (bytes > kBytesBeforeSeek) break;
  }
  oldest_ = 0;
  seek_ = prefix_;
  AppendRevisionDescending(revision, &seek_);
  it_->Seek(seek_);
}

void VersionCursor::SkipDeadBlocks(const ReadState& state) {
  skips_blocks_at_ = revision_ == state.revision ? INT64_MAX : revision_;
  dead_before_skip_ = std::max<int64_t>(1, state.block_keys / kPartBeforeSkip);
}

// The current key did not exist at the revision.
void VersionCursor::CountDead() {
  if (skips_blocks_at_ < 0) return;
  if (dead_++ == 0) next_skip_ = dead_before_skip_;
  if (dead_ < next_skip_) return;
  const std::string next = AfterDeadBlocks(view_, prefix_, skips_blocks_at_, meter_);
  if (next <= prefix_) {
    next_skip_ *= 2;
    return;
  }
  dead_ = 0;
  oldest_ = 0;
  it_->Seek(next);
  prefix_.clear();
}

absl::Status Range(const ReadState& state, const RangeRequest& request, Meter* meter,
                   RangeResponse* response) {
  if (absl::Status status = Check(request); !status.ok()) return status;
  if (absl::Status s = CheckRevision(state, request.revision()); !s.ok()) return s;
  const Revision revision = request.revision() > 0 ? request.revision() : state.revision;
  const KeyRange range = VersionRange(request.key(), request.range_end());
  Answer answer(request, meter);
  VersionCursor cursor(state.view, range, revision, meter);
  if (state.settled) cursor.SkipDeadBlocks(state);
  int64_t count = 0;
  std::string counted = range.begin;  // `count` contains the keys before this one
  while (!answer.complete() && cursor.Next()) {
    ++count;
    if (!answer.Add(cursor)) break;
    if (answer.complete()) counted = AfterVersions(cursor.prefix());
  }
  if (meter->over()) return meter->status();
  if (answer.complete()) {
    const std::optional<int64_t> rest = CountLive(state, {counted, range.end}, revision, meter);
    if (!rest) return meter->status();
    count += *rest;
  }
  response->mutable_header()->set_revision(state.revision);
  response->set_count(count);
  answer.MoveTo(response);
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
