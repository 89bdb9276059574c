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
// A large range is read in pages of one revision.
//
//   auto pages = (*client)->Pages(Keys::Prefix("col"));
//   for (const KeyValue& kv : pages) Use(kv);
//   if (!pages.status().ok()) return pages.status();
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
// A call can have a deadline of its own, can be cancelled, and can be asynchronous, with a
// callback: raftkv/request.h. Locks and elections are in raftkv/lock.h.
//
// Several threads may use one Client at the same time. Every function but Start blocks, and a call
// ends within `request_timeout`; only Snapshot may take longer. A call goes to the endpoint that
// served the last call (at first: to the first endpoint). If that endpoint is not connected within
// 50 ms, the call goes to the endpoint that connects first. When an endpoint fails, the call is
// sent to another one, if that is safe:
//   - A read is sent to another endpoint if the first one cannot serve it now. Reads are also
//     hedged: after 1/8 of `request_timeout` without an answer (less with more than three
//     endpoints), a second endpoint is asked too. The first answer is returned. To run a read once,
//     give a single endpoint.
//   - A write is sent to another one only if it was not sent, or was rejected without an effect.
// A transaction is a read if all its operations are Gets. A compaction is a write.
// A write whose outcome is unknown (the connection broke, or no answer came in time) is never
// repeated: the call returns an error for which OutcomeUnknown() is true. Read the key to find out
// whether the write took effect.
//
// With Options::exactly_once, Put, Delete and Txn are repeated like reads, and take effect once
// however often they are sent. For that the client keeps a lease, which it opens with its first
// write, and a thread that renews it. OutcomeUnknown() is then true only if no member has answered
// until the end of `request_timeout`, or if the lease was lost meanwhile.
//
// Errors have the code and message of the server, for example OutOfRange "etcdserver: mvcc:
// required revision has been compacted". Every write that changes a key creates a new revision of
// the whole store; revisions start at 1.
#ifndef RAFTKV_CLIENT_RAFTKV_H_
#define RAFTKV_CLIENT_RAFTKV_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "raftkv/cluster.h"  // relative, because the installed headers have no folder client/
#include "raftkv/kv.h"
#include "raftkv/lease.h"
#include "raftkv/lock.h"
#include "raftkv/pages.h"
#include "raftkv/request.h"
#include "raftkv/watch.h"

namespace raftkv::client {

// How a call, or one stream of a watch, has ended. For metrics.
struct CallReport {
  const char* method;          // etcd's name: "KV.Put"; of a watch "Watch.Watch"
  const absl::Status& status;  // as the caller gets it
  absl::Duration took;
  // How often the request was sent. 0: never; more than 1: an attempt failed, or a read was hedged.
  int attempts;
  std::string_view endpoint;  // the one that answered last, "host:port"; empty: none
};

struct Options {
  std::vector<std::string> endpoints;                 // "host:port" or "http://host:port"
  absl::Duration dial_timeout = absl::Seconds(2);     // to connect to one endpoint
  absl::Duration request_timeout = absl::Seconds(5);  // for a whole call, including all attempts
  // Needs cluster version 4 of raftkv; writes to another service fail with FailedPrecondition.
  bool exactly_once = false;
  // Optional. Called at the end of each call, before its result is returned, on the thread that
  // runs the call; so by several threads at the same time. It must return soon. A watch calls it
  // when a stream ends, also if another one follows.
  std::function<void(const CallReport&)> on_call_end = nullptr;
};

// Called with each piece of a snapshot, in order. `remaining`: the number of bytes after this
// piece, without the SHA-256 at the end.
using SnapshotSink = std::function<absl::Status(std::string_view piece, uint64_t remaining)>;

class Client {
 public:
  class Impl;                                   // internal
  explicit Client(std::unique_ptr<Impl> impl);  // internal
  // Checks the options (InvalidArgument). Connections are made when first needed.
  static absl::StatusOr<std::unique_ptr<Client>> Connect(Options options);
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  // Sends a request (raftkv/request.h) with options of its own. The functions below do the same
  // with the default options.
  template <typename Result>
  absl::StatusOr<Result> Call(const Request<Result>& request, const CallOptions& options = {});

  // The same, but returns at once. `done` is called once, on the client's own thread, which serves
  // all such calls: it must not wait for long. It may call Start. At most 10,000 calls, with 64
  // MiB of requests, may be in flight; a further one ends with ResourceExhausted. The destructor of
  // the client cancels these calls and waits until each `done` has returned, so `done` must not
  // destroy the client. With Options::exactly_once, writes of keys run on up to 16 threads, which
  // also call their `done`. At most 1,000 of them, with 64 MiB of requests, wait for a thread, and
  // their deadline or cancellation takes effect when they get one.
  template <typename Result>
  void Start(const Request<Result>& request, std::type_identity_t<Callback<Result>> done,
             const CallOptions& options = {});

  absl::StatusOr<PutResult> Put(std::string_view key, std::string_view value,
                                const PutOptions& options = {});
  // nullopt if the key does not exist.
  absl::StatusOr<std::optional<KeyValue>> Get(std::string_view key,
                                              const ReadOptions& options = {});
  absl::StatusOr<RangeResult> Range(const Keys& keys, const ReadOptions& options = {});
  // Reads a range that may be too large for one answer (raftkv/pages.h).
  client::Pages Pages(const Keys& keys, const PageOptions& options = {});
  absl::StatusOr<DeleteResult> Delete(const Keys& keys, const DeleteOptions& options = {});
  absl::StatusOr<TxnResult> Txn(const Transaction& transaction);
  // Discards the history before `revision`; reads at a revision before it then fail. With
  // `physical`, returns only after the old versions have been removed from the store.
  absl::StatusOr<CompactResult> Compact(int64_t revision, bool physical = false);
  // Grants a lease of `ttl` seconds. `id` 0: the service chooses one.
  absl::StatusOr<LeaseGrantResult> LeaseGrant(int64_t ttl, int64_t id = 0);
  // Ends a lease and deletes its keys. NotFound: there is no such lease.
  absl::StatusOr<LeaseRevokeResult> LeaseRevoke(int64_t id);
  // Renews the lease once: its time to live starts again. Call it about three times in each time to
  // live, so that the lease does not expire. A member that hangs may cost a part of
  // `request_timeout`. So for a short lease, use Call with LeaseKeepAliveRequest and a deadline, or
  // a Session (raftkv/lock.h).
  absl::StatusOr<LeaseKeepAliveResult> LeaseKeepAlive(int64_t id);
  absl::StatusOr<LeaseTimeToLiveResult> LeaseTimeToLive(int64_t id, bool keys = false);
  absl::StatusOr<LeaseListResult> LeaseList();

  absl::StatusOr<MemberListResult> MemberList();
  // Changes of the members. The results have the members after the change. A member that was added
  // still has to be started (raftkv-server --join). A learner gets the data, but does not vote
  // until it is promoted. The errors are etcd's.
  absl::StatusOr<MemberAddResult> MemberAdd(const std::vector<std::string>& peer_urls,
                                            bool learner = false);
  absl::StatusOr<MemberListResult> MemberRemove(uint64_t id);
  absl::StatusOr<MemberListResult> MemberUpdate(uint64_t id,
                                                const std::vector<std::string>& peer_urls);
  absl::StatusOr<MemberListResult> MemberPromote(uint64_t id);
  // The alarms of the cluster. NOSPACE: a member is short of disk space, so puts and grants fail.
  // CORRUPT: a member's data differs, so reads fail too. AlarmDisarm ends all alarms and returns
  // them. A member that is still short of space raises its alarm again.
  absl::StatusOr<AlarmResult> AlarmList();
  absl::StatusOr<AlarmResult> AlarmDisarm();
  // Returns when the service has accepted the watch. The watch returns every change that is made
  // after this call, or every change from start_revision on. The deadline in `call` is that of this
  // call. A stop that is requested of `call.cancel` ends this call, and later the watch, as
  // Watcher::Cancel does.
  absl::StatusOr<std::unique_ptr<Watcher>> Watch(const Keys& keys, const WatchOptions& options = {},
                                                 const CallOptions& call = {});

  // Status, HashKv and Defragment are answered by one member, which may be any. To ask a particular
  // member, connect to its endpoint only.
  absl::StatusOr<StatusResult> Status();
  absl::StatusOr<HashKvResult> HashKv(int64_t revision = 0);  // at `revision`; 0: now
  // Transfers leadership to the member with this id. Ask the leader: another member returns an
  // error.
  absl::Status MoveLeader(uint64_t target);
  // Reads the state of the first endpoint that can be reached, as a stream of bytes. A raftkv
  // member sends a backup (docs/backup.md). The last 32 bytes are the SHA-256 of all bytes before
  // them; the caller must compare it. `request_timeout` limits the wait for each piece, not the
  // whole call. If `sink` returns an error, the call ends with it.
  absl::Status Snapshot(const SnapshotSink& sink);
  absl::Status Defragment();  // a raftkv member returns at once and continues in the background

 private:
  // Another client of the same cluster, which receives no answer with more than `answer_bytes`.
  std::unique_ptr<Client> Limited(size_t answer_bytes) const;
  std::unique_ptr<Impl> impl_;
};

// Whether a write that failed with this error may have taken effect, or may still take effect.
bool OutcomeUnknown(const absl::Status& error);
// Whether a write that failed with this error was applied once, and only its result is lost. It can
// happen with Options::exactly_once, if the result has more than 4 KiB.
bool AnswerLost(const absl::Status& error);
// Whether a request that failed with this error was never sent, because no endpoint was reachable.
bool NeverSent(const absl::Status& error);

}  // namespace raftkv::client

#endif  // RAFTKV_CLIENT_RAFTKV_H_
