#include "storage/mvcc/writer.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "glog/logging.h"
#include "storage/base/checksum.h"
#include "storage/base/mutant.h"
#include "storage/mvcc/range.h"

namespace raftkv::mvcc {
namespace {

using etcdserverpb::DeleteRangeRequest;
using etcdserverpb::DeleteRangeResponse;
using etcdserverpb::PutRequest;
using etcdserverpb::PutResponse;

constexpr size_t kHeadCacheBytes = 32 << 20;  // some 250,000 keys; both generations together
constexpr size_t kHeadOverheadBytes = 96;     // a slot of the hash map and the string object
// When leases end and at most this many of their keys are deleted, the heads of these keys are
// cached.
constexpr size_t kCachedDeletions = 1024;
// FetchHeads asks after so many reads whether it has reached its limits.
constexpr size_t kFetchedAtOnce = 32;
// Of one of these reads. It is large enough for any value, so it only limits the deleted rows that
// the read may pass (Meter::kSkipsMax).
constexpr int64_t kFetchStepsMax = 1 << 30;

// Reads the head of the key from an engine or an overlay. If there is a meter and it is over
// afterwards, discard the result. `value_bytes` gets the size of the value that was read, too.
template <typename Store>
Head NewestIn(const Store& store, std::string_view key, Meter* meter, std::string* buffer,
              size_t* value_bytes) {
  Head head;
  buffer->clear();
  AppendVersionPrefix(key, buffer);
  const std::unique_ptr<Iterator> it =
      store.NewIterator(AfterVersions(*buffer), meter == nullptr ? nullptr : meter->skips_left());
  it->Seek(BeforeVersions(*buffer));
  if (meter != nullptr && meter->over()) return head;
  std::string_view value;
  if (it->valid()) DecodeVersion(it->key(), it->value(), &head, &value);
  *value_bytes = value.size();
  return head;
}

}  // namespace

const Head* HeadCache::Find(std::string_view key) {
  if (const auto found = young_.find(key); found != young_.end()) return &found->second;
  const auto found = old_.find(key);
  if (found == old_.end()) return nullptr;
  Set(key, found->second);
  return &found->second;
}

void HeadCache::Set(std::string_view key, const Head& head) {
  const auto [slot, added] = young_.try_emplace(key, head);
  if (!added) {
    slot->second = head;
  } else {
    young_bytes_ += key.size() + kHeadOverheadBytes;
  }
}

bool HeadCache::SetIfKnown(std::string_view key, const Head& head) {
  if (Find(key) == nullptr) return false;
  Set(key, head);
  return true;
}

void HeadCache::MaybeForget() {
  if (young_bytes_ < bytes_max_ / 2) return;
  old_ = std::move(young_);
  young_ = Generation();
  young_bytes_ = 0;
}

Writer::Writer(const Engine& engine, WriteBatch* batch, uint64_t* digest, Leases* leases,
               int64_t block_keys, const ClusterVersion* version)
    : engine_(engine),
      batch_(batch),
      digest_(digest),
      leases_(*leases),
      overlay_(engine, *batch),
      heads_(kHeadCacheBytes),
      counts_(block_keys, version) {}

void Writer::BeginEntry(Revision revision) {
  revision_ = revision;
  sub_ = 0;
  if (batch_revision_ == 0) batch_revision_ = revision - 1;
}

void Writer::EndBatch() {
  overlay_.Reset();
  heads_.MaybeForget();
  all_heads_known_ = true;
  moved_.clear();
  batch_revision_ = 0;
  counts_.MaybeSplit(overlay_, batch_);
}

Head Writer::HeadOf(std::string_view key, Meter* meter) {
  if (meter != nullptr) meter->Bytes(key.size());  // the lookup hashes the key
  if (const Head* known = heads_.Find(key)) return *known;
  const Head head = ReadHead(key, meter);
  if (meter == nullptr || !meter->over()) heads_.Set(key, head);
  return head;
}

Head Writer::ReadHead(std::string_view key, Meter* meter) {
  if (RAFTKV_MUTANT("apply-reads-local-state")) return {};
  // If the heads of all keys that this batch changed are known, it did not change this key, so the
  // engine has the newest version.
  size_t value_bytes = 0;
  const Head head = all_heads_known_ ? NewestIn(engine_, key, meter, &key_buffer_, &value_bytes)
                                     : NewestIn(overlay_, key, meter, &key_buffer_, &value_bytes);
  if (meter != nullptr && !meter->over()) meter->Bytes(key.size() + value_bytes);
  return head;
}

void Writer::FetchHeads(std::vector<std::string_view> keys, const Limits& limits,
                        ParallelReads* reads) {
  CHECK(batch_->empty()) << "the engine does not have the newest versions";
  keys.erase(std::remove_if(keys.begin(), keys.end(),
                            [&](std::string_view key) { return heads_.Find(key) != nullptr; }),
             keys.end());
  std::sort(keys.begin(), keys.end());
  keys.erase(std::unique(keys.begin(), keys.end()), keys.end());
  struct Result {
    std::optional<Head> head;
    size_t value_bytes = 0;
  };
  std::vector<Result> results(kFetchedAtOnce);
  Meter meter({.steps_max = limits.steps_max});
  const auto exceeded = [&] {
    return (meter.limited() && meter.steps_left() == 0) || (limits.give_up && limits.give_up());
  };
  absl::Span<const std::string_view> left = keys;
  // A single head is left to HeadOf: reading it on another thread gains nothing.
  while (left.size() > 1 && !exceeded()) {
    const absl::Span<const std::string_view> part =
        left.first(std::min(left.size(), results.size()));
    left.remove_prefix(part.size());
    reads->RunAll(part.size(), [&](size_t i) {
      Meter skips({.steps_max = kFetchStepsMax});
      std::string buffer;
      Result& result = results[i] = {};
      const Head head = NewestIn(engine_, part[i], &skips, &buffer, &result.value_bytes);
      if (!skips.over()) result.head = head;
    });
    for (size_t i = 0; i < part.size(); ++i) {
      if (RAFTKV_MUTANT("unread-heads-count-as-none")) results[i].head = Head();
      if (results[i].head.has_value()) heads_.Set(part[i], *results[i].head);
      meter.Bytes(part[i].size() + results[i].value_bytes);
    }
  }
}

mvccpb::KeyValue Writer::Load(std::string_view key, const Head& head) const {
  CHECK(head.exists());
  std::string engine_key;
  AppendVersionPrefix(key, &engine_key);
  AppendRevisionDescending(head.mod_revision, &engine_key);
  const std::optional<std::string> record =
      head.mod_revision <= batch_revision_ ? engine_.Get(engine_key) : overlay_.Get(engine_key);
  CHECK(record.has_value()) << "the newest version of a key is gone";
  loaded_bytes_ += record->size();
  Head stored;
  std::string_view value;
  DecodeVersion(engine_key, *record, &stored, &value);
  return ToKeyValue(std::string(key), stored, value);
}

void Writer::Put(const PutRequest& request, PutResponse* response) {
  const Head before = HeadOf(request.key());
  const bool needs_value = request.ignore_value() || request.prev_kv();
  if (!needs_value || !before.exists()) {
    CHECK(before.exists() || !(request.ignore_value() || request.ignore_lease()));
    Put(request.key(), before, request.value(),
        request.ignore_lease() ? before.lease : request.lease());
    return;
  }
  mvccpb::KeyValue previous = Load(request.key(), before);
  Put(request.key(), before, request.ignore_value() ? previous.value() : request.value(),
      request.ignore_lease() ? before.lease : request.lease());
  if (request.prev_kv()) *response->mutable_prev_kv() = std::move(previous);
}

void Writer::Put(std::string_view key, const Head& before, std::string_view value, int64_t lease) {
  const Head after{.create_revision = before.exists() ? before.create_revision : revision_,
                   .mod_revision = revision_,
                   .version = before.version + 1,
                   .lease = lease};
  Change(key, before, after, value);
  heads_.Set(key, after);
}

absl::Status Writer::CheckDelete(const DeleteRangeRequest& request, Meter* meter) const {
  if (request.range_end().empty()) return absl::OkStatus();
  VersionCursor cursor(overlay_, VersionRange(request.key(), request.range_end()), INT64_MAX,
                       meter);
  while (cursor.Next()) {
    const size_t key_bytes = cursor.key().size();
    if (!meter->Delete(key_bytes, StoredKeyBytes(cursor.prefix()))) break;
    if (!request.prev_kv()) continue;
    if (!meter->Answer(static_cast<int64_t>(key_bytes + cursor.value().size()))) break;
  }
  return meter->over() ? meter->status() : absl::OkStatus();
}

void Writer::DeleteRange(const DeleteRangeRequest& request, DeleteRangeResponse* response) {
  const Head tombstone{.mod_revision = revision_};
  if (request.range_end().empty()) {
    const Head head = HeadOf(request.key());
    if (!head.exists()) return;
    mvccpb::KeyValue before;
    if (request.prev_kv() || head.mod_revision == revision_) before = Load(request.key(), head);
    Change(request.key(), head, tombstone, {}, before.value());
    heads_.Set(request.key(), tombstone);
    response->set_deleted(1);
    if (request.prev_kv()) *response->add_prev_kvs() = std::move(before);
    return;
  }
  // The walk does not see the tombstones that it adds: each sorts before the version that it hides,
  // and the walk has passed that position. The heads are not added to the cache, because there may
  // be very many.
  VersionCursor cursor(overlay_, VersionRange(request.key(), request.range_end()), INT64_MAX);
  int64_t deleted = 0;
  for (; cursor.Next(); ++deleted) {
    const std::string key = cursor.key();
    if (request.prev_kv()) {
      *response->add_prev_kvs() = ToKeyValue(key, cursor.head(), cursor.value());
    }
    Change(key, cursor.head(), tombstone, {}, cursor.value());
    if (!heads_.SetIfKnown(key, tombstone)) all_heads_known_ = false;
  }
  response->set_deleted(deleted);
}

// All leases share an iterator, because making one costs more than moving it. The number of a
// lease's keys says how many rows to read. So the iterator never moves past a lease's last row:
// very many deleted rows may follow it. Rows are read through the overlay only if this batch
// changed them, because the first use of the overlay in a batch copies the batch.
std::vector<Attached> Writer::FindAttached(absl::Span<const int64_t> leases, Meter* meter) const {
  std::vector<Attached> attached;
  const std::string end = TableEnd(kAttachedTable);
  std::unique_ptr<Iterator> of_engine, of_batch;
  for (const int64_t id : leases) {
    const Lease& lease = *leases_.Find(id);
    int64_t left = lease.keys;
    if (left == 0) continue;
    if (!lease.only_key.empty()) {
      if (!meter->Step(lease.only_key.size())) return attached;
      attached.push_back({id, lease.only_key});
      continue;
    }
    const bool moved = moved_.contains(id) && !RAFTKV_MUTANT("attached-rows-without-the-batch");
    std::unique_ptr<Iterator>& it = moved ? of_batch : of_engine;
    if (it == nullptr) {
      it = moved ? overlay_.NewIterator(end, meter->skips_left())
                 : engine_.NewIterator(end, meter->skips_left());
    }
    const std::string prefix = AttachedPrefix(id);
    for (it->Seek(prefix); left > 0; --left) {
      if (meter->over()) return attached;
      CHECK(it->valid() && it->key().starts_with(prefix)) << "the lease has more keys than rows";
      if (!meter->Step(it->key().size())) return attached;
      attached.push_back({id, std::string(AttachedKey(it->key()))});
      if (left > 1) it->Next();
    }
  }
  return attached;
}

// If there are very many keys, their heads are not added to the cache, as in DeleteRange.
void Writer::DeleteAttached(absl::Span<const Attached> keys) {
  const Head tombstone{.mod_revision = revision_};
  const bool few = keys.size() <= kCachedDeletions;
  for (const auto& [lease, key] : keys) {
    const Head* known = heads_.Find(key);
    const Head head = known != nullptr ? *known : ReadHead(key, /*meter=*/nullptr);
    CHECK_EQ(head.lease, lease) << "a key is attached to a lease that it does not name";
    Change(key, head, tombstone, {});
    if (RAFTKV_MUTANT("end-of-a-lease-keeps-heads")) continue;
    if (few) {
      heads_.Set(key, tombstone);
    } else if (!heads_.SetIfKnown(key, tombstone)) {
      all_heads_known_ = false;
    }
  }
}

void Writer::ForgetTombstone(std::string_view key) {
  key_buffer_.clear();
  AppendVersionPrefix(key, &key_buffer_);
  counts_.Add(key_buffer_, revision_, 0, -1);
  heads_.SetIfKnown(key, Head());
}

void Writer::Change(std::string_view key, const Head& before, const Head& after,
                    std::string_view value, std::string_view replaced) {
  const bool again = before.mod_revision == revision_;
  CHECK(before.mod_revision < revision_ || (again && before.exists() && !after.exists()))
      << "a key changes once in a main revision, or is put and then deleted";
  replaced_buffer_.clear();
  if (again) EncodeVersion(before, replaced, &replaced_buffer_);
  key_buffer_.clear();
  AppendVersionPrefix(key, &key_buffer_);
  if (!after.exists()) {
    counts_.Add(key_buffer_, revision_, -1, +1);
  } else if (!before.exists()) {
    const bool tombstone = before.mod_revision != 0;
    counts_.Add(key_buffer_, revision_, +1, tombstone ? -1 : 0);
  }
  AppendRevisionDescending(revision_, &key_buffer_);
  EncodeHead(after, &record_buffer_);
  batch_->Put(key_buffer_, record_buffer_, value);
  if (before.lease != after.lease) {
    leases_.Move(before.lease, after.lease, key);
    if (before.lease != 0) {
      moved_.insert(before.lease);
      batch_->Delete(AttachedPrefix(before.lease).append(key));
    }
    if (after.lease != 0) {
      moved_.insert(after.lease);
      batch_->Put(AttachedPrefix(after.lease).append(key), {});
    }
  }

  key_buffer_.clear();
  AppendEventKey({revision_, sub_}, &key_buffer_);
  EncodeEvent({.deleted = !after.exists(),
               .created = !before.exists(),
               .previous = before.mod_revision,
               .key = key,
               .replaced = replaced_buffer_},
              &record_buffer_);
  batch_->Put(key_buffer_, record_buffer_);

  ++sub_;
  // The digest covers effects, not layout: which key changed, and its new head and value.
  uint64_t digest = Hash64(key, *digest_);
  digest = HashMix(digest, static_cast<uint64_t>(after.create_revision));
  digest = HashMix(digest, static_cast<uint64_t>(after.version));
  digest = HashMix(digest, static_cast<uint64_t>(after.lease));
  *digest_ = Hash64(value, digest);
}

}  // namespace raftkv::mvcc
