#include "storage/mvcc/layout.h"

#include <algorithm>
#include <cstring>

#include "glog/logging.h"
#include "storage/base/checksum.h"

namespace raftkv::mvcc {
namespace {

constexpr char kEscaped = '\xff';
constexpr char kEnd = '\x01';
constexpr size_t kRevisionBytes = 8;
constexpr size_t kPrefixExtraBytes = 3;  // table letter and end mark

// Flags in the low bits of an event's first number. The other bits are the previous revision.
constexpr uint64_t kDeleted = 1, kCreated = 2, kReplaced = 4;
constexpr int kEventFlagBits = 3;

}  // namespace

void AppendVersionPrefix(std::string_view key, std::string* out) {
  out->push_back(kVersionTable);
  const auto zeros = static_cast<size_t>(std::count(key.begin(), key.end(), '\0'));
  if (zeros == 0) {
    out->append(key);
  } else {
    const size_t begin = out->size();
    out->resize(begin + key.size() + zeros);
    char* to = out->data() + begin;
    for (const char c : key) {
      *to++ = c;
      if (c == '\0') *to++ = kEscaped;
    }
  }
  out->push_back('\0');
  out->push_back(kEnd);
}

size_t StoredKeyBytes(std::string_view prefix) { return prefix.size() - kPrefixExtraBytes; }

void AppendRevisionDescending(Revision revision, std::string* out) {
  PutBigEndian64(out, ~static_cast<uint64_t>(revision));
}

std::string BeforeVersions(std::string_view prefix) {
  std::string before(prefix);
  AppendRevisionDescending(INT64_MAX, &before);
  return before;
}
std::string AfterVersions(std::string_view prefix) {
  std::string after(prefix);
  AppendRevisionDescending(0, &after);
  return after;
}

bool IsVersionKey(std::string_view engine_key) {
  if (engine_key.size() < 3 + kRevisionBytes || engine_key[0] != kVersionTable) return false;
  const char* end_mark = engine_key.data() + engine_key.size() - kRevisionBytes - 2;
  return end_mark[0] == '\0' && end_mark[1] == kEnd;
}

std::string_view VersionPrefix(std::string_view engine_key) {
  return engine_key.substr(0, engine_key.size() - kRevisionBytes);
}

std::string_view VersionFilterPrefix(std::string_view engine_key) {
  return IsVersionKey(engine_key) ? VersionPrefix(engine_key) : std::string_view();
}

Revision VersionRevision(std::string_view engine_key) {
  return static_cast<Revision>(
      ~BigEndian64(engine_key.data() + engine_key.size() - kRevisionBytes));
}

std::string UserKey(std::string_view prefix) {
  const std::string_view escaped = prefix.substr(1, StoredKeyBytes(prefix));
  const auto zeros = static_cast<size_t>(std::count(escaped.begin(), escaped.end(), '\0'));
  if (zeros == 0) return std::string(escaped);
  std::string key(escaped.size() - zeros, '\0');
  char* to = key.data();
  for (size_t i = 0; i < escaped.size(); ++i) {
    *to++ = escaped[i];
    if (escaped[i] == '\0') ++i;  // skips the escape byte
  }
  return key;
}

void EncodeVersion(const Head& head, std::string_view value, std::string* out) {
  EncodeHead(head, out);
  if (head.exists()) out->append(value);
}

void EncodeHead(const Head& head, std::string* out) {
  out->clear();
  if (!head.exists()) return;
  PutVarint64(out, static_cast<uint64_t>(head.create_revision));
  PutVarint64(out, static_cast<uint64_t>(head.version));
  PutVarint64(out, static_cast<uint64_t>(head.lease));
}

void DecodeVersion(std::string_view engine_key, std::string_view record, Head* head,
                   std::string_view* value) {
  *head = Head();
  head->mod_revision = VersionRevision(engine_key);
  if (record.empty()) {
    *value = {};
    return;
  }
  uint64_t create = 0, version = 0, lease = 0;
  CHECK(TakeVarint64(&record, &create) && TakeVarint64(&record, &version) &&
        TakeVarint64(&record, &lease));
  head->create_revision = static_cast<Revision>(create);
  head->version = static_cast<int64_t>(version);
  head->lease = static_cast<int64_t>(lease);
  *value = record;
}

void AppendEventKey(EventId id, std::string* out) {
  out->push_back(kEventTable);
  PutBigEndian64(out, static_cast<uint64_t>(id.revision));
  const uint32_t big = __builtin_bswap32(id.sub);
  out->append(reinterpret_cast<const char*>(&big), sizeof(big));
}

EventId DecodeEventKey(std::string_view engine_key) {
  CHECK_EQ(engine_key.size(), 1 + kRevisionBytes + sizeof(uint32_t));
  uint32_t big = 0;
  memcpy(&big, engine_key.data() + 1 + kRevisionBytes, sizeof(big));
  return {static_cast<Revision>(BigEndian64(engine_key.data() + 1)), __builtin_bswap32(big)};
}

void EncodeEvent(const Event& event, std::string* out) {
  out->clear();
  const uint64_t flags = (event.deleted ? kDeleted : 0) | (event.created ? kCreated : 0) |
                         (event.replaced.empty() ? 0 : kReplaced);
  PutVarint64(out, static_cast<uint64_t>(event.previous) << kEventFlagBits | flags);
  if (!event.replaced.empty()) PutVarint64(out, event.key.size());
  out->append(event.key);
  out->append(event.replaced);
}

Event DecodeEvent(std::string_view record) {
  uint64_t head = 0;
  CHECK(TakeVarint64(&record, &head));
  Event event{.deleted = (head & kDeleted) != 0,
              .created = (head & kCreated) != 0,
              .previous = static_cast<Revision>(head >> kEventFlagBits),
              .key = record,
              .replaced = {}};
  if ((head & kReplaced) != 0) {
    uint64_t key_size = 0;
    CHECK(TakeVarint64(&record, &key_size) && key_size < record.size());
    event.key = record.substr(0, key_size);
    event.replaced = record.substr(key_size);
  }
  return event;
}

KeyRange VersionRange(std::string_view key, std::string_view range_end) {
  KeyRange range;
  AppendVersionPrefix(key, &range.begin);
  if (range_end.empty()) {
    range.end = AfterVersions(range.begin);
    range.begin = BeforeVersions(range.begin);
  } else if (range_end == std::string_view("\0", 1)) {
    range.end = TableEnd(kVersionTable);
  } else {
    AppendVersionPrefix(range_end, &range.end);
  }
  return range;
}

bool IsOneKey(const KeyRange& range) {
  return IsVersionKey(range.begin) && IsVersionKey(range.end) &&
         VersionPrefix(range.begin) == VersionPrefix(range.end);
}

}  // namespace raftkv::mvcc
