#ifndef RAFTKV_STORAGE_MVCC_LAYOUT_H_
#define RAFTKV_STORAGE_MVCC_LAYOUT_H_

// How keys and leases are stored in the engine (docs/decisions/0001 shows the measurements behind
// the choice). All tables of the state machine share one engine and one key space. The first letter
// of an engine key identifies the table (tables/tables.h lists all). Those of this module are:
//
//   v ‖ key, escaped ‖ ~revision  a version of a key, newest first: meta data and value
//   e ‖ revision ‖ sub            an event: which key changed, and the key's version before it
//   c ‖ first key, escaped        how many live keys a block of keys has (counts.h)
//   l ‖ lease id                  a lease (leases.h)
//   k ‖ lease id ‖ key            a key that is attached to the lease
//
// `v` is for reads: one seek for each key finds its newest version or any past one. `e` is for
// watches that catch up (a sequential walk) and for compaction (each event names the one version
// that it made obsolete).
//
// A key changes at most once in a main revision, so its versions need no sub-revision. One
// exception, as in etcd (check.h): a transaction may put a key and then delete it. The key's
// version of that revision is then the tombstone, and the event of the deletion contains the
// version that the put made.
//
// Escaping keeps byte order and makes keys prefix-free: 00 becomes 00 ff, and 00 01 ends the key.

#include <cstdint>
#include <string>
#include <string_view>

#include "storage/rules/revision.h"

namespace raftkv {

namespace mvcc {

inline constexpr char kVersionTable = 'v';
inline constexpr char kEventTable = 'e';
inline constexpr char kCountTable = 'c';
inline constexpr char kLeaseTable = 'l';
inline constexpr char kAttachedTable = 'k';
// The letter of the table of an engine key (RocksOptions::hint_prefix).
inline std::string_view TableLetter(std::string_view engine_key) { return engine_key.substr(0, 1); }
// The first engine key after those of a table.
inline std::string TableEnd(char table) { return std::string(1, static_cast<char>(table + 1)); }

// A key's newest version without the value. All fields are 0 if the key has no version.
struct Head {
  Revision create_revision = 0;  // 0: the key does not exist
  Revision mod_revision = 0;     // of the newest version, a tombstone included; 0: there is none
  int64_t version = 0;
  int64_t lease = 0;

  bool exists() const { return create_revision != 0; }
};

// --- versions
// Appends the version prefix of the key: table letter, escaped key, end mark. The engine keys of
// all versions of a key begin with it.
void AppendVersionPrefix(std::string_view key, std::string* out);
// The size of the escaped key in a version prefix. A zero byte of the key is stored as two bytes.
size_t StoredKeyBytes(std::string_view prefix);
void AppendRevisionDescending(Revision revision, std::string* out);
// Engine keys just before and just after all versions that begin with `prefix` (revisions MAX and
// 0, which no key ever has). They have the form of a version's key, so that the engine's prefix
// filters (rocks_engine.cc) can exclude files that have no such version.
std::string BeforeVersions(std::string_view prefix);
std::string AfterVersions(std::string_view prefix);

// Whether `engine_key` is the key of a version: a prefix and a revision. Never true for a prefix
// alone, because the end mark occurs only at the end of a prefix.
bool IsVersionKey(std::string_view engine_key);
std::string_view VersionPrefix(std::string_view engine_key);
// VersionPrefix of a version's key; empty for other keys. The engine's filters contain it
// (RocksOptions::filter_prefix).
std::string_view VersionFilterPrefix(std::string_view engine_key);
Revision VersionRevision(std::string_view engine_key);
std::string UserKey(std::string_view prefix);

// A tombstone is an empty record.
void EncodeVersion(const Head& head, std::string_view value, std::string* out);
// What a record has before the value.
void EncodeHead(const Head& head, std::string* out);
// `head.mod_revision` comes from the engine key. A malformed record fails a CHECK: the engine has
// verified its checksum, so only a bug can cause it.
void DecodeVersion(std::string_view engine_key, std::string_view record, Head* head,
                   std::string_view* value);

// --- events
struct Event {
  bool deleted = false;
  bool created = false;   // the key did not exist before
  Revision previous = 0;  // the key's mod_revision before; 0: none
  std::string_view key = {};
  // If a transaction put and then deleted the key: the record of the version that the put made.
  // `previous` is then the event's own revision. Otherwise empty.
  std::string_view replaced = {};
};
struct EventId {
  Revision revision = 0;
  uint32_t sub = 0;
};
void AppendEventKey(EventId id, std::string* out);
EventId DecodeEventKey(std::string_view engine_key);
void EncodeEvent(const Event& event, std::string* out);
Event DecodeEvent(std::string_view record);

// --- ranges of user keys, by etcd's convention: an empty end means one key, a single 0 byte means
// "no end"
struct KeyRange {
  std::string begin;  // engine keys
  std::string end;    // exclusive
};
KeyRange VersionRange(std::string_view key, std::string_view range_end);
// Whether the range was made with an empty range_end.
bool IsOneKey(const KeyRange& range);

}  // namespace mvcc
}  // namespace raftkv

#endif  // RAFTKV_STORAGE_MVCC_LAYOUT_H_
