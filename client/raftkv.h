// The C++ client of raftkv: reads and changes the keys of a raftkv (or etcd v3) cluster.
//
//   auto client = Client::Connect({.endpoints = {"127.0.0.1:2379", "127.0.0.1:22379"}});
//   if (!client.ok()) return client.status();
//   auto put = (*client)->Put("colour", "blue");
//   auto got = (*client)->Get("colour");                  // got->value().value == "blue"
//   auto all = (*client)->Range(Keys::Prefix("col"), {.limit = 10});
//   auto del = (*client)->Delete("colour");
//
// A transaction atomically checks conditions, then runs one of two lists of operations: `then` if
// all conditions hold, `otherwise` if not.
//
//   auto txn = (*client)->Txn({.when = {ModRevision("colour") == put->header.revision},
//                              .then = {Op::Put("colour", "green"), Op::Delete("faded")},
//                              .otherwise = {Op::Get("colour")}});
//   if (txn.ok() && !txn->succeeded) {                    // another client wrote "colour"
//     auto theirs = std::get<RangeResult>(txn->results[0]);
//   }
//
// A watch returns changes as they happen, or from a past revision on.
//
//   auto watcher = (*client)->Watch(Keys::Prefix("col"));
//   while (watcher.ok()) {
//     auto batch = (*watcher)->Next();                    // waits
//     if (!batch.ok()) break;
//     for (const Event& event : batch->events) Use(event);
//   }
//
// Several threads may use one Client at the same time. Every call blocks, and ends within
// `request_timeout`. A call goes to the endpoint that served the last call (at first: to the first
// endpoint). If that one is not connected within 50 ms, the call goes to the first endpoint that
// is connected. When an endpoint fails, the call is sent to another one, if that is safe:
//   - A read is sent to another endpoint if one cannot serve it now. Reads are also hedged: after
//     1/8 of `request_timeout` without an answer (less with more than three endpoints), a second
//     endpoint is asked too. The first answer counts. To run a read once, give a single endpoint.
//   - A write is sent to another one only if it was not sent, or was rejected without an effect.
// A transaction is a read if all its operations are Gets. A compaction counts as a write.
// A write whose outcome is unknown (the connection broke, or no answer came in time) is never
// repeated: it returns an error for which OutcomeUnknown() is true. Read the key to find out.
//
// Errors have the code and message of the server, for example OutOfRange "etcdserver: mvcc:
// required revision has been compacted". Every write creates a new revision of the whole store;
// revisions start at 1.
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
  absl::Duration request_timeout = absl::Seconds(5);  // for a whole call, with all its attempts
};

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

// The keys that a call is about. A string stands for that one key. Keys are ordered bytewise.
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

// Leases. A key is attached to the lease that its latest Put named; when the lease ends, the key is
// deleted. A lease ends when it is revoked, or when nobody has kept it alive for its time to live.
// Times are in seconds.
struct LeaseGrantResult {
  Header header;
  int64_t id = 0;
  int64_t ttl = 0;  // as granted; the service raises a short one
};
struct LeaseRevokeResult {
  Header header;
};
struct LeaseKeepAliveResult {
  Header header;
  int64_t id = 0;
  int64_t ttl = 0;  // it lives so long from now on; 0: there is no such lease
};
struct LeaseTimeToLiveResult {
  Header header;
  int64_t id = 0;
  int64_t ttl = 0;  // the time that is left; -1: there is no such lease
  int64_t granted_ttl = 0;
  std::vector<std::string> keys;  // attached to it, if asked for
};
struct LeaseListResult {
  Header header;
  std::vector<int64_t> ids;
};

struct HashKvResult {
  Header header;
  // Members with the same data and the same two revisions return the same hash. It covers the keys
  // that exist at compact_revision, and all changes after it, up to hash_revision.
  uint32_t hash = 0;
  int64_t compact_revision = 0;
  int64_t hash_revision = 0;  // 0: the server does not report it (etcd 3.4)
};

struct StatusResult {
  Header header;
  std::string version;  // the version of etcd's API that the member serves
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

struct WatchOptions {
  int64_t start_revision = 0;  // the first revision whose events are wanted; 0: the next one
  bool prev_kv = false;        // also return what each key was before
  bool puts = true;
  bool deletes = true;
  bool progress_notify = false;  // return empty batches now and then, if there are no events
};

struct Event {
  enum class Type { kPut, kDelete };
  Type type = Type::kPut;
  KeyValue kv;  // of a deletion: only the key and mod_revision
  std::optional<KeyValue> prev_kv;
};

// The events of one or more whole revisions, in order. With them, every event up to header.revision
// was returned.
struct WatchBatch {
  Header header;
  std::vector<Event> events;  // may be empty, if progress_notify is set
};

// Returns the events of some keys in order of revision: each event once, none left out, and those
// of one revision in one batch. When its stream breaks or its member fails, it resumes by itself at
// another endpoint, from where it was. Made by Client::Watch; the client must outlive it.
//
// Only one thread at a time may call Next. Cancel may be called from any thread.
class Watcher {
 public:
  ~Watcher();
  Watcher(const Watcher&) = delete;
  Watcher& operator=(const Watcher&) = delete;

  // Waits for the next batch. Errors:
  //   DeadlineExceeded  there was none until `deadline`. Next may be called again.
  //   Cancelled         after Cancel.
  //   OutOfRange        "etcdserver: mvcc: required revision has been compacted": events were
  //                     discarded before they could be returned. compact_revision() is the oldest
  //                     revision that can be watched.
  //   others            of the service, for which trying again would not help.
  // After any error but DeadlineExceeded the watch is over.
  absl::StatusOr<WatchBatch> Next(absl::Time deadline = absl::InfiniteFuture());
  void Cancel();

  // Every event before this revision was returned. Start a new watch there to go on.
  int64_t next_revision() const;
  int64_t compact_revision() const;

 private:
  friend class Client;
  class Impl;
  explicit Watcher(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
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
  // nullopt if the key does not exist.
  absl::StatusOr<std::optional<KeyValue>> Get(std::string_view key,
                                              const ReadOptions& options = {});
  absl::StatusOr<RangeResult> Range(const Keys& keys, const ReadOptions& options = {});
  absl::StatusOr<DeleteResult> Delete(const Keys& keys, const DeleteOptions& options = {});
  absl::StatusOr<TxnResult> Txn(const Transaction& transaction);
  // Discards the history before `revision`; older reads then fail. With `physical`, returns only
  // after the old versions have been removed from the store.
  absl::StatusOr<CompactResult> Compact(int64_t revision, bool physical = false);
  // Grants a lease. `id` 0: the service chooses one.
  absl::StatusOr<LeaseGrantResult> LeaseGrant(int64_t ttl, int64_t id = 0);
  // Ends a lease and deletes its keys. NotFound: there is no such lease.
  absl::StatusOr<LeaseRevokeResult> LeaseRevoke(int64_t id);
  // Starts the lease's time to live anew, once. Call it about three times in a time to live.
  absl::StatusOr<LeaseKeepAliveResult> LeaseKeepAlive(int64_t id);
  absl::StatusOr<LeaseTimeToLiveResult> LeaseTimeToLive(int64_t id, bool keys = false);
  absl::StatusOr<LeaseListResult> LeaseList();

  absl::StatusOr<MemberListResult> MemberList();
  // Returns when the service has accepted the watch: it will return every change that is made after
  // this call, or from start_revision on.
  absl::StatusOr<std::unique_ptr<Watcher>> Watch(const Keys& keys,
                                                 const WatchOptions& options = {});

  // These ask any one member. To ask a certain member, connect to its endpoint alone.
  absl::StatusOr<StatusResult> Status();
  absl::StatusOr<HashKvResult> HashKv(int64_t revision = 0);  // up to `revision`; 0: now
  // Transfers leadership to the member with this id. Ask the leader; another member declines.
  absl::Status MoveLeader(uint64_t target);
  absl::Status Defragment();  // a raftkv member returns at once and continues in the background

 private:
  class Impl;
  explicit Client(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// Whether a write that failed with this error may have taken effect, or may still do so.
bool OutcomeUnknown(const absl::Status& error);
// Whether a request that failed with this error was never sent, because no endpoint was reachable.
bool NeverSent(const absl::Status& error);

}  // namespace raftkv::client

#endif  // RAFTKV_CLIENT_RAFTKV_H_
