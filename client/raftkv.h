// raftkv's C++ client: reads and changes the keys of a raftkv (or etcd v3) cluster.
//
//   auto client = Client::Connect({.endpoints = {"127.0.0.1:2379", "127.0.0.1:22379"}});
//   if (!client.ok()) return client.status();
//   auto put = (*client)->Put("colour", "blue");
//   auto got = (*client)->Get("colour");                  // got->value().value == "blue"
//   auto all = (*client)->Range(Keys::Prefix("col"), {.limit = 10});
//   auto del = (*client)->Delete("colour");
//
// A transaction does one of two lists of operations, all of it or nothing, by what it finds:
//
//   auto txn = (*client)->Txn({.when = {ModRevision("colour") == put->header.revision},
//                              .then = {Op::Put("colour", "green"), Op::Delete("faded")},
//                              .otherwise = {Op::Get("colour")}});
//   if (txn.ok() && !txn->succeeded) {                    // somebody else wrote "colour"
//     auto theirs = std::get<RangeResult>(txn->results[0]);
//   }
//
// A Client may be used by many threads at once. Every call blocks and ends within
// `request_timeout`. Calls go to the endpoint that answered last, the first one to begin with;
// while it is not connected in a moment, to the next that is. They move on to another when it
// fails, but only where repeating is safe:
//   - a read, when an endpoint cannot serve it now. One that has not been answered in an eighth of
//     the time is asked of another endpoint as well, and the first answer counts: a read that takes
//     seconds is best given a single endpoint;
//   - a write, only when it was never sent, or was refused before it could take effect.
// A transaction is a read if all its operations are Gets; compacting counts as a write.
// A write whose fate is unknown (the connection broke, nobody answered in time) is never repeated:
// it returns an error of which OutcomeUnknown() is true. Read the key to find out.
//
// Errors carry the code and the words of the service, for instance OutOfRange "etcdserver: mvcc:
// required revision has been compacted". Revisions count the writes of the whole store, from 1.
#ifndef RAFTKV_CLIENT_RAFTKV_H_
#define RAFTKV_CLIENT_RAFTKV_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace raftkv::client {

struct Options {
  std::vector<std::string> endpoints;                 // "host:port" or "http://host:port"
  absl::Duration dial_timeout = absl::Seconds(2);     // to connect to one endpoint
  absl::Duration request_timeout = absl::Seconds(5);  // for a whole call, tries and all
};

// Who answered, and at which point of the store's history.
struct Header {
  uint64_t cluster_id = 0;
  uint64_t member_id = 0;
  int64_t revision = 0;
  uint64_t raft_term = 0;
};

struct KeyValue {
  std::string key;
  std::string value;
  int64_t create_revision = 0;  // of the write that created the key
  int64_t mod_revision = 0;     // of the last write to it
  int64_t version = 0;          // writes since it was created, from 1
  int64_t lease = 0;            // 0: none
};

// Which keys a call is about. A string means that one key. Keys are ordered by their bytes.
class Keys {
 public:
  Keys(std::string key) : key_(std::move(key)) {}         // NOLINT: implicit on purpose
  Keys(const char* key) : key_(key) {}                    // NOLINT
  static Keys Range(std::string begin, std::string end);  // begin <= key < end
  static Keys Prefix(std::string prefix);
  static Keys From(std::string key);  // that key and all after it
  static Keys All() { return From(""); }

  const std::string& key() const { return key_; }
  const std::string& range_end() const { return range_end_; }  // as the wire wants it

 private:
  std::string key_;
  std::string range_end_;
};

enum class SortBy { kKey, kVersion, kCreateRevision, kModRevision, kValue };
enum class Order { kAscend, kDescend };

struct ReadOptions {
  int64_t limit = 0;     // at most this many keys; 0: all
  int64_t revision = 0;  // the store as it was then; 0: now
  bool keys_only = false;
  bool count_only = false;
  bool serializable = false;  // from the endpoint's own state: fast, but may be stale
  // Sorting comes before the limit. By anything but the key, the server reads all of the range.
  SortBy sort_by = SortBy::kKey;
  Order order = Order::kAscend;
};

struct RangeResult {
  Header header;
  std::vector<KeyValue> kvs;
  bool more = false;  // the limit left some out
  int64_t count = 0;  // keys there are, whatever the limit
};

struct PutOptions {
  bool prev_kv = false;       // return what it replaces
  int64_t lease = 0;          // the key ends with this lease; 0: none
  bool ignore_value = false;  // keep the value of a key that exists; give none
  bool ignore_lease = false;  // keep the lease of a key that exists; give none
};

struct PutResult {
  Header header;
  std::optional<KeyValue> prev_kv;
};

struct DeleteOptions {
  bool prev_kv = false;  // return what is deleted
};

struct DeleteResult {
  Header header;
  int64_t deleted = 0;
  std::vector<KeyValue> prev_kvs;
};

// A condition of a transaction: ModRevision("k") == 5, Value("k") != "x". Operators: == != < >.
// Of several keys, each must satisfy it. A key that does not exist has revisions, version and lease
// 0 and no value: any comparison of its value is false, even != is.
struct Compare {
  enum class Target { kVersion, kCreateRevision, kModRevision, kValue, kLease };
  enum class Relation { kEqual, kGreater, kLess, kNotEqual };

  Target target = Target::kVersion;
  Keys keys = "";
  Relation relation = Relation::kEqual;
  int64_t number = 0;      // unless target is kValue
  std::string value = {};  // if it is
};

// The left sides of conditions.
struct NumberOf {
  Compare::Target target;
  Keys keys;
  Compare operator==(int64_t number) const;
  Compare operator!=(int64_t number) const;
  Compare operator<(int64_t number) const;
  Compare operator>(int64_t number) const;
};
struct ValueOf {
  Keys keys;
  Compare operator==(std::string value) const;  // by their bytes, as the others
  Compare operator!=(std::string value) const;
  Compare operator<(std::string value) const;
  Compare operator>(std::string value) const;
};
inline NumberOf Version(Keys keys) { return {Compare::Target::kVersion, std::move(keys)}; }
inline NumberOf CreateRevision(Keys keys) {
  return {Compare::Target::kCreateRevision, std::move(keys)};
}
inline NumberOf ModRevision(Keys keys) { return {Compare::Target::kModRevision, std::move(keys)}; }
inline NumberOf Lease(Keys keys) { return {Compare::Target::kLease, std::move(keys)}; }
inline ValueOf Value(Keys keys) { return {std::move(keys)}; }

struct Transaction;

// One step of a transaction. It sees what the steps before it did.
class Op {
 public:
  static Op Get(Keys keys, const ReadOptions& options = {});
  static Op Put(std::string_view key, std::string_view value, const PutOptions& options = {});
  static Op Delete(Keys keys, const DeleteOptions& options = {});
  // Its conditions look at the store as it was before the whole transaction.
  static Op Txn(const Transaction& transaction);

  struct Rep;  // the library's own
  const Rep& rep() const { return *rep_; }

 private:
  explicit Op(std::shared_ptr<const Rep> rep) : rep_(std::move(rep)) {}
  std::shared_ptr<const Rep> rep_;  // never null
};

// The service refuses more than 128 conditions or operations, and two puts of one key.
struct Transaction {
  std::vector<Compare> when = {};  // all must hold; none always do
  std::vector<Op> then = {};       // done if they hold
  std::vector<Op> otherwise = {};  // done if they do not
};

struct OpResult;

struct TxnResult {
  Header header;
  bool succeeded = false;         // the conditions held
  std::vector<OpResult> results;  // of the operations done, in their order
};

// Of the operation's kind: std::get<RangeResult>(txn->results[0]).
struct OpResult : std::variant<RangeResult, PutResult, DeleteResult, TxnResult> {
  using variant::variant;
};

struct CompactResult {
  Header header;
};

struct HashKvResult {
  Header header;
  uint32_t hash = 0;             // equal on all members for equal revisions of both kinds
  int64_t compact_revision = 0;  // it covers what is after this, or kept at it ...
  int64_t hash_revision = 0;     // ... up to this; 0: the service does not say
};

struct StatusResult {
  Header header;
  std::string version;  // of the API the member speaks
  int64_t db_size = 0;  // bytes
  int64_t db_size_in_use = 0;
  uint64_t leader = 0;  // member id; 0: none known
  uint64_t raft_term = 0;
  uint64_t raft_index = 0;
  uint64_t raft_applied_index = 0;
  bool is_learner = false;
  std::vector<std::string> errors;
  std::string storage_version;
  int64_t db_size_quota = 0;
};

struct Member {
  uint64_t id = 0;
  std::string name;  // empty until the member has started
  std::vector<std::string> peer_urls;
  std::vector<std::string> client_urls;
  bool is_learner = false;
};

struct MemberListResult {
  Header header;
  std::vector<Member> members;
};

class Client {
 public:
  // Checks the options (InvalidArgument). Connections are made when first needed.
  static absl::StatusOr<std::unique_ptr<Client>> Connect(Options options);
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  absl::StatusOr<PutResult> Put(std::string_view key, std::string_view value,
                                const PutOptions& options = {});
  // The key's value, or nullopt if there is no such key.
  absl::StatusOr<std::optional<KeyValue>> Get(std::string_view key,
                                              const ReadOptions& options = {});
  absl::StatusOr<RangeResult> Range(const Keys& keys, const ReadOptions& options = {});
  absl::StatusOr<DeleteResult> Delete(const Keys& keys, const DeleteOptions& options = {});
  absl::StatusOr<TxnResult> Txn(const Transaction& transaction);
  // Forgets the versions that only reads before `revision` could see. With `physical`, answers when
  // their space is free.
  absl::StatusOr<CompactResult> Compact(int64_t revision, bool physical = false);
  absl::StatusOr<MemberListResult> MemberList();

  // Of whichever member answers: connect to a single endpoint to ask that one.
  absl::StatusOr<StatusResult> Status();
  absl::StatusOr<HashKvResult> HashKv(int64_t revision = 0);  // up to revision; 0: now
  absl::Status Defragment();  // gives free space back to the file system

 private:
  class Impl;
  explicit Client(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// The write behind this error may have taken effect, or may still do so.
bool OutcomeUnknown(const absl::Status& error);
// No endpoint could be reached: the request behind this error was never sent.
bool NeverSent(const absl::Status& error);

}  // namespace raftkv::client

#endif  // RAFTKV_CLIENT_RAFTKV_H_
