// Locks and leader elections among clients, in the way of etcd's client library (its package
// concurrency): same keys, same rules. So a Mutex of this library and one of an etcd client, the
// command `etcdctl lock` or the service Lock exclude each other.
//
//   auto session = Session::Open(*client, {.ttl = absl::Seconds(10)});
//   Mutex mutex(session->get(), "jobs");
//   if (absl::Status status = mutex.Lock(); !status.ok()) ...   // waits for its turn
//   Use(mutex.fencing_token());
//   mutex.Unlock();
//
// A lock that depends on time can be lost while its owner believes that it holds it: a process may
// stop for longer than the lease lives. Do one of these with everything that the lock protects:
//   - It is in the same store: write it with a Txn that has the condition IsOwner().
//   - It is elsewhere: send the fencing token along, and have the receiver reject a token that is
//     smaller than one that it has seen. Each owner has a greater token than the owners before it.
//
// The rules. Each candidate has a key NAME/LEASE, with the lease in hexadecimal digits, that ends
// with the lease. The candidate whose key was created first is the owner. Each other candidate
// waits until the key that was created last before its own is deleted; so one deletion wakes one
// candidate, and they become owners in the order in which they came.
#ifndef RAFTKV_CLIENT_RAFTKV_LOCK_H_
#define RAFTKV_CLIENT_RAFTKV_LOCK_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "kv.h"  // relative, because the installed headers have no folder client/

namespace raftkv::client {

class Candidate;
class Client;

struct SessionOptions {
  // How long the lease lives without a renewal, in whole seconds. The service raises one that is
  // too short (2 s with default settings).
  absl::Duration ttl = absl::Seconds(60);
  absl::Duration open_timeout = absl::InfiniteDuration();  // infinite: request_timeout
  std::stop_token cancel = {};  // ends Open with Cancelled when a stop is requested
  // Called once, from a thread of the session, when the lease is lost. It must not destroy the
  // session.
  std::function<void(const absl::Status& why)> on_lost = nullptr;
};

// A lease that a thread keeps alive. The keys of locks and elections end with it. It renews the
// lease three times in each time to live, at any endpoint that answers.
//
// The lease is lost when the service says that it is gone, or when no renewal has succeeded for its
// time to live. That time is measured from when the last successful renewal was sent, on a clock
// that never jumps. So the client knows before the service lets anyone else take over, unless its
// process is stopped.
//
// Several threads may use one Session. The client must outlive it.
class Session {
 public:
  static absl::StatusOr<std::unique_ptr<Session>> Open(Client& client, SessionOptions options = {});
  ~Session();  // closes it
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  int64_t lease() const;
  absl::Duration ttl() const;  // as granted
  // OK while the lease is alive for certain. FailedPrecondition "...": it was lost or closed.
  absl::Status status() const;
  Client& client() const;

  // Ends the lease, which deletes its keys. Returns at `deadline` at the latest (InfiniteFuture:
  // after request_timeout), or when a running `on_lost` has returned. After an error, the lease
  // ends by itself. Call it once; later calls do nothing. InfinitePast(): only stops the renewals;
  // the lease ends by itself.
  absl::Status Close(absl::Time deadline = absl::InfiniteFuture());

 private:
  class Impl;
  explicit Session(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// A lock that one session owns at a time. Two Mutexes of one session with one name are the same
// owner.
//
// One thread at a time may use a Mutex; Cancel may be called from any thread. Temporary errors,
// such as the loss of a member, are retried until the deadline has passed or the session is lost.
// So a late copy of a request may create the key again after Unlock; it then delays others until
// the session ends.
class Mutex {
 public:
  Mutex(Session* session, std::string name);  // the session must outlive it
  ~Mutex();                                   // unlocks
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;

  // Waits until the session owns the lock. Errors, after which it neither owns the lock nor waits
  // for it:
  //   DeadlineExceeded    another one still owns the lock at `deadline`. InfinitePast() tries once.
  //   Cancelled           Cancel was called.
  //   FailedPrecondition  the session is lost, or someone deleted the key.
  //   others              errors of the service that trying again would not fix.
  absl::Status Lock(absl::Time deadline = absl::InfiniteFuture());
  // Deletes the key. OK also if the lock is not held.
  absl::Status Unlock();
  // Ends a Lock that waits, and each later one. Lock returns after a second at the latest, in which
  // it tries to delete the key.
  void Cancel();

  // While it owns the lock:
  const std::string& key() const;
  int64_t fencing_token() const;    // the create_revision of the key
  int64_t locked_revision() const;  // the store's revision when the lock was known to be owned
  Compare IsOwner() const;          // a condition for transactions: the lock is still owned

 private:
  std::unique_ptr<Candidate> candidate_;
};

// An election of one leader among sessions. It is a lock whose owner publishes a value.
//
// One thread at a time may use an Election; Cancel may be called from any thread. Errors are those
// of Mutex.
class Election {
 public:
  Election(Session* session, std::string name);  // the session must outlive it
  ~Election();                                   // resigns
  Election(const Election&) = delete;
  Election& operator=(const Election&) = delete;

  // Waits until this candidate is the leader. `value` is what observers see.
  absl::Status Campaign(std::string_view value, absl::Time deadline = absl::InfiniteFuture());
  // Publishes another value. FailedPrecondition: it is not the leader any more.
  absl::Status Proclaim(std::string_view value);
  // Ends the leadership. OK also if it does not lead.
  absl::Status Resign();
  // Ends a Campaign that waits, and each later one.
  void Cancel();

  // While it leads:
  const std::string& key() const;
  int64_t fencing_token() const;  // the create_revision of the key
  Compare IsLeader() const;       // a condition for transactions: it still leads

 private:
  std::unique_ptr<Candidate> candidate_;
};

struct LeaderResult {
  Header header;
  KeyValue leader;  // its key, and the value that it published
};

// Follows the leaders of an election. One thread at a time may call Next; Cancel may be called from
// any thread. The client must outlive it.
class LeaderObserver {
 public:
  LeaderObserver(Client* client, std::string name);
  ~LeaderObserver();
  LeaderObserver(const LeaderObserver&) = delete;
  LeaderObserver& operator=(const LeaderObserver&) = delete;

  // Returns the leader; then waits for the next value that the leader proclaims, or the next
  // leader. What has not changed is returned once. A leader that leads only for a moment may be
  // skipped. Errors:
  //   DeadlineExceeded  nothing has changed until `deadline`. Next may be called again.
  //   Cancelled         after Cancel.
  //   others            errors of the service.
  absl::StatusOr<LeaderResult> Next(absl::Time deadline = absl::InfiniteFuture());
  void Cancel();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace raftkv::client

#endif  // RAFTKV_CLIENT_RAFTKV_LOCK_H_
