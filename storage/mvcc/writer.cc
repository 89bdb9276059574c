#include "storage/mvcc/writer.h"

#include <utility>

#include "glog/logging.h"
#include "server/raft/mutant.h"
#include "storage/checksum.h"
#include "storage/mvcc/range.h"

namespace raftkv::mvcc {
namespace {

constexpr size_t kHeadCacheBytes = 32 << 20;  // some 250,000 keys; both generations together
constexpr size_t kHeadOverheadBytes = 96;     // a slot of the table and the string's own

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

void HeadCache::MaybeForget() {
  if (young_bytes_ < bytes_max_ / 2) return;
  old_ = std::move(young_);
  young_ = Generation();
  young_bytes_ = 0;
}

Writer::Writer(const Engine& engine, WriteBatch* batch, uint64_t* digest)
    : engine_(engine),
      batch_(batch),
      digest_(digest),
      overlay_(engine, *batch),
      heads_(kHeadCacheBytes) {}

void Writer::BeginEntry(Revision revision) {
  revision_ = revision;
  sub_ = 0;
}

void Writer::EndBatch() {
  overlay_.Reset();
  heads_.MaybeForget();
}

Head Writer::HeadOf(std::string_view key) {
  if (const Head* known = heads_.Find(key)) return *known;
  // Not known, hence not changed in this batch: the engine has the newest.
  Head head;
  if (RAFTKV_MUTANT("apply-reads-local-state")) return head;
  key_buffer_.clear();
  AppendVersionPrefix(key, &key_buffer_);
  const std::unique_ptr<Iterator> it = engine_.NewIterator(AfterVersions(key_buffer_));
  it->Seek(key_buffer_);
  std::string_view value;
  if (it->valid()) DecodeVersion(it->key(), it->value(), &head, &value);
  heads_.Set(key, head);
  return head;
}

mvccpb::KeyValue Writer::Load(std::string_view key, const Head& head) const {
  CHECK(head.exists());
  std::string engine_key;
  AppendVersionPrefix(key, &engine_key);
  AppendRevisionDescending(head.mod_revision, &engine_key);
  const std::optional<std::string> record = overlay_.Get(engine_key);
  CHECK(record.has_value()) << "the newest version of a key is gone";
  Head stored;
  std::string_view value;
  DecodeVersion(engine_key, *record, &stored, &value);
  mvccpb::KeyValue kv;
  kv.set_key(key.data(), key.size());
  kv.set_create_revision(stored.create_revision);
  kv.set_mod_revision(stored.mod_revision);
  kv.set_version(stored.version);
  kv.set_lease(stored.lease);
  kv.set_value(value.data(), value.size());
  return kv;
}

void Writer::Put(std::string_view key, std::string_view value, int64_t lease) {
  const Head before = HeadOf(key);
  const Head after{.create_revision = before.exists() ? before.create_revision : revision_,
                   .mod_revision = revision_,
                   .version = before.version + 1,
                   .lease = lease};
  Change(key, before, after, value);
}

int64_t Writer::DeleteRange(std::string_view key, std::string_view range_end,
                            std::vector<mvccpb::KeyValue>* previous) {
  // Found first, changed after: the walk must not see its own tombstones.
  std::vector<std::pair<std::string, Head>> found;
  if (range_end.empty()) {
    if (const Head head = HeadOf(key); head.exists()) found.emplace_back(key, head);
  } else {
    VersionCursor cursor(overlay_, VersionRange(key, range_end), INT64_MAX);
    while (cursor.Next()) found.emplace_back(cursor.key(), cursor.head());
  }
  for (const auto& [name, head] : found) {
    if (previous != nullptr) previous->push_back(Load(name, head));
    Change(name, head, Head{.mod_revision = revision_}, {});
  }
  return static_cast<int64_t>(found.size());
}

void Writer::Change(std::string_view key, const Head& before, const Head& after,
                    std::string_view value) {
  CHECK_LT(before.mod_revision, revision_) << "a key changes once in a main revision";
  key_buffer_.clear();
  AppendVersionPrefix(key, &key_buffer_);
  AppendRevisionDescending(revision_, &key_buffer_);
  EncodeVersion(after, value, &record_buffer_);
  batch_->Put(key_buffer_, record_buffer_);

  key_buffer_.clear();
  AppendEventKey(revision_, sub_, &key_buffer_);
  EncodeEvent({.deleted = !after.exists(), .previous = before.mod_revision, .key = key},
              &record_buffer_);
  batch_->Put(key_buffer_, record_buffer_);

  heads_.Set(key, after);
  ++sub_;
  // Effects, not layout: what changed, how, and to what.
  uint64_t digest = Hash64(key, *digest_);
  digest = HashMix(digest, static_cast<uint64_t>(after.create_revision));
  digest = HashMix(digest, static_cast<uint64_t>(after.version));
  digest = HashMix(digest, static_cast<uint64_t>(after.lease));
  *digest_ = Hash64(value, digest);
}

}  // namespace raftkv::mvcc
