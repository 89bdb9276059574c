#include "storage/mvcc/history.h"

#include <memory>
#include <string>
#include <string_view>

#include "storage/base/checksum.h"
#include "storage/base/mutant.h"

namespace raftkv::mvcc {
namespace {

// The bounds of one batch. An event costs up to ten microseconds, mostly in the engine's write
// buffer.
constexpr int64_t kBatchEvents = 256;
constexpr size_t kBatchBytes = 64 << 10;
// How often each byte of a removed key is copied or hashed, by us and by the engine.
constexpr size_t kCopiesOfKey = 4;

std::string WithRevision(std::string_view prefix, Revision revision) {
  std::string key(prefix);
  AppendRevisionDescending(revision, &key);
  return key;
}

}  // namespace

bool CompactSome(const Engine& engine, Revision compacted, Meter* meter, EventId* next,
                 WriteBatch* batch, Writer* writer) {
  std::string begin, end, prefix;
  AppendEventKey(*next, &begin);
  AppendEventKey({compacted + (RAFTKV_MUTANT("compaction-goes-too-far") ? 2 : 1), 0}, &end);
  const std::unique_ptr<Iterator> it = engine.NewIterator(end);
  const std::unique_ptr<Iterator> versions = engine.NewIterator(TableEnd(kVersionTable));
  int64_t batch_left = kBatchEvents;
  for (it->Seek(begin); it->valid(); it->Next()) {
    const EventId id = DecodeEventKey(it->key());
    if (batch_left-- == 0 || batch->bytes() > kBatchBytes || !meter->Step(it->value().size())) {
      *next = id;
      return false;
    }
    const Event event = DecodeEvent(it->value());
    prefix.clear();
    AppendVersionPrefix(event.key, &prefix);
    // If the version before had the same revision, the tombstone has already replaced it.
    if (event.previous != 0 && event.previous != id.revision) {
      batch->Delete(WithRevision(prefix, event.previous));
      meter->Bytes(kCopiesOfKey * prefix.size());
    }
    if (id.revision == compacted) continue;
    if (event.deleted && !RAFTKV_MUTANT("compaction-keeps-tombstones")) {
      const std::string tombstone = WithRevision(prefix, id.revision);
      batch->Delete(tombstone);
      meter->Bytes(kCopiesOfKey * prefix.size());
      versions->Seek(BeforeVersions(prefix));
      if (versions->valid() && versions->key() == tombstone) writer->ForgetTombstone(event.key);
    }
    batch->Delete(it->key());
  }
  *next = {compacted, 0};
  return true;
}

uint32_t HashHistory(const View& view, Revision compacted, Revision revision, Meter* meter) {
  const std::unique_ptr<Iterator> it = view.NewIterator(TableEnd(kVersionTable));
  uint32_t hash = 0;
  std::string record, base;  // base: the last key that has a version at or below `compacted`
  for (it->Seek(std::string(1, kVersionTable)); it->valid(); it->Next()) {
    if (!meter->Step(it->key().size() + it->value().size())) return 0;
    Head head;
    std::string_view value;
    DecodeVersion(it->key(), it->value(), &head, &value);
    if (head.mod_revision > revision) continue;
    const std::string_view prefix = VersionPrefix(it->key());
    if (head.mod_revision <= compacted) {
      if (prefix == base && !RAFTKV_MUTANT("hash-of-what-is-stored")) continue;
      base.assign(prefix);
      if (!head.exists()) continue;
    }
    record.clear();
    PutFixed32(&record, hash);
    record.append(prefix);  // prefix-free, so it needs no length
    for (const int64_t number :
         {head.create_revision, head.mod_revision, head.version, head.lease}) {
      PutFixed64(&record, static_cast<uint64_t>(number));
    }
    record.append(value);
    hash = Crc32c(record);
  }
  return hash;
}

}  // namespace raftkv::mvcc
