// Keys and values: the arguments and results of Put, Get, Range, Delete, Txn and Compact of
// raftkv.h.
#ifndef RAFTKV_CLIENT_RAFTKV_KV_H_
#define RAFTKV_CLIENT_RAFTKV_KV_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace raftkv::client {

// Which member answered, and the revision of the store at that time.
struct Header {
  uint64_t cluster_id = 0;
  uint64_t member_id = 0;
  int64_t revision = 0;
  uint64_t raft_term = 0;
};

struct KeyValue {
  std::string key;
  std::string value;
  int64_t create_revision = 0;  // revision that created the key
  int64_t mod_revision = 0;     // revision of the last write to the key
  int64_t version = 0;          // number of writes since the key was created; 1 after the first
  int64_t lease = 0;            // 0: none
};

// The keys on which a call works. A string means the single key of that name. Keys are ordered
// bytewise.
class Keys {
 public:
  Keys(std::string key) : key_(std::move(key)) {}         // NOLINT: implicit on purpose
  Keys(const char* key) : key_(key) {}                    // NOLINT
  static Keys Range(std::string begin, std::string end);  // begin <= key < end
  static Keys Prefix(std::string prefix);
  static Keys From(std::string key);  // `key` and all keys after it
  static Keys All() { return From(""); }

  const std::string& key() const { return key_; }
  const std::string& range_end() const { return range_end_; }  // in etcd's encoding

 private:
  std::string key_;
  std::string range_end_;
};

enum class SortBy { kKey, kVersion, kCreateRevision, kModRevision, kValue };
enum class Order { kAscend, kDescend };

struct ReadOptions {
  int64_t limit = 0;     // return at most this many keys; 0: all
  int64_t revision = 0;  // read the store as of this revision; 0: now
  bool keys_only = false;
  bool count_only = false;
  bool serializable = false;  // read the endpoint's local state: fast, but may be stale
  // Keys are sorted before the limit is applied. Unless sorted by key, the server reads the whole
  // range.
  SortBy sort_by = SortBy::kKey;
  Order order = Order::kAscend;
  int64_t max_create_revision = 0;  // only keys that were created at or before it; 0: all
};

struct RangeResult {
  Header header;
  std::vector<KeyValue> kvs;
  bool more = false;  // the range has more keys than the limit
  int64_t count = 0;  // number of keys in the range, regardless of the limit
};

struct PutOptions {
  bool prev_kv = false;       // return the previous key-value pair
  int64_t lease = 0;          // the key is deleted when this lease ends; 0: no lease
  bool ignore_value = false;  // keep the current value; the key must exist and `value` be empty
  bool ignore_lease = false;  // keep the current lease; the key must exist and `lease` be 0
};

struct PutResult {
  Header header;
  std::optional<KeyValue> prev_kv;
};

struct DeleteOptions {
  bool prev_kv = false;  // return the deleted key-value pairs
};

struct DeleteResult {
  Header header;
  int64_t deleted = 0;
  std::vector<KeyValue> prev_kvs;
};

// A condition of a transaction: ModRevision("k") == 5, Value("k") != "x". Operators: == != < >.
// A condition on several keys must hold for each of them. For a key that does not exist, revisions,
// version and lease are 0, and any condition on its value is false, even !=.
struct Compare {
  enum class Target { kVersion, kCreateRevision, kModRevision, kValue, kLease };
  enum class Relation { kEqual, kGreater, kLess, kNotEqual };

  Target target = Target::kVersion;
  Keys keys = "";
  Relation relation = Relation::kEqual;
  int64_t number = 0;      // compared with, unless the target is kValue
  std::string value = {};  // compared with, if the target is kValue
};

// The left sides of conditions, such as ModRevision("k").
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
  Compare operator==(std::string value) const;  // values are compared bytewise
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

// One operation of a transaction. It sees the effects of the operations before it.
class Op {
 public:
  static Op Get(Keys keys, const ReadOptions& options = {});
  static Op Put(std::string_view key, std::string_view value, const PutOptions& options = {});
  static Op Delete(Keys keys, const DeleteOptions& options = {});
  // A nested transaction. Its conditions see the store as it was before the outermost transaction.
  static Op Txn(const Transaction& transaction);

  struct Rep;  // internal
  const Rep& rep() const { return *rep_; }

 private:
  explicit Op(std::shared_ptr<const Rep> rep) : rep_(std::move(rep)) {}
  std::shared_ptr<const Rep> rep_;  // never null
};

// The server rejects more than max_txn_ops (128) conditions or operations, and two puts of one key.
struct Transaction {
  std::vector<Compare> when = {};  // the conditions; an empty list is true
  std::vector<Op> then = {};       // run if all conditions hold
  std::vector<Op> otherwise = {};  // run if any condition does not hold
};

struct OpResult;

struct TxnResult {
  Header header;
  bool succeeded = false;         // all conditions held
  std::vector<OpResult> results;  // one for each operation that ran, in their order
};

// Holds the type that fits the operation: std::get<RangeResult>(txn->results[0]) for a Get.
struct OpResult : std::variant<RangeResult, PutResult, DeleteResult, TxnResult> {
  using variant::variant;
};

struct CompactResult {
  Header header;
};

}  // namespace raftkv::client

#endif  // RAFTKV_CLIENT_RAFTKV_KV_H_
