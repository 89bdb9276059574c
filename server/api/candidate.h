#ifndef RAFTKV_SERVER_API_CANDIDATE_H_
#define RAFTKV_SERVER_API_CANDIDATE_H_

// How a call becomes the owner of a lock or the leader of an election. The rules are those of
// etcd's client library (package concurrency), so its locks and ours exclude each other:
//
//   - Each candidate has a key NAME/LEASE, with its lease in lower-case hexadecimal digits. The key
//     ends with the lease.
//   - The candidate whose key was created first owns the lock. Each other one waits until the last
//     key that was created before its own is deleted; thus one deletion wakes one candidate.
//
// All code here runs on the loop's thread.

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "server/api/member_calls.h"
#include "server/api/watch_service.h"

namespace raftkv::api {

// A read of the candidates' keys for `name`. It returns only the key that was created first, if
// any.
etcdserverpb::RangeRequest FirstCandidate(const std::string& name);

// Reads `request` from `snapshot`, on a worker if the read is large, and calls `then` on the loop's
// thread. The read ends with Cancelled once `give_up`, which is called on the worker, is true.
using RangeThen =
    std::function<void(const absl::Status& status, const etcdserverpb::RangeResponse& response)>;
void ReadRange(const Edge& edge, std::shared_ptr<const StateSnapshot> snapshot,
               const etcdserverpb::RangeRequest& request, std::function<bool()> give_up,
               RangeThen then);

// Puts the value into the candidate's key, or deletes the key, if it is still the one that was
// created in `revision`.
proto::Command PutIfCreatedIn(Revision revision, const std::string& key, const std::string& value,
                              int64_t lease);
proto::Command DeleteIfCreatedIn(Revision revision, const std::string& key);

// What a candidate has when it has won.
struct Won {
  std::string key;
  Revision created = 0;  // the create revision of the key: use it as a fencing token
  int64_t lease = 0;
};

// One call that waits to win. It lives until `done` was called. If the call ends without success,
// it deletes the key that it created. But all calls with one lease share a key, and another one may
// have won, or may win, with it. So a call never deletes a key that an earlier call has created, or
// that a later call has joined. If the outcome of the key's creation is unknown, the call deletes
// nothing, because it cannot tell its own key from that of another call.
class Candidate final : public WatchingCall, public std::enable_shared_from_this<Candidate> {
 public:
  struct Options {
    std::string name;
    int64_t lease = 0;  // 0: a lease of 60 s is granted for this call, and nobody keeps it alive
    std::string value;
    absl::Status lost;  // the answer if the key is gone before the candidate has won
  };
  // Must finish the call.
  using Done = std::function<void(const absl::Status& status, const Won& won)>;

  static void Start(std::shared_ptr<WatchService> service, Call* call, Options options, Done done);

  Candidate(std::shared_ptr<WatchService> service, Call* call, Options options, Done done);

  bool needs_leader() const override { return needs_leader_; }
  bool ends_at_decline() const override { return true; }
  bool Abandoned(MonotonicTime now) const override;
  void Cancel() override { End(absl::CancelledError("context canceled")); }
  void End(const absl::Status& status) override;

 private:
  // The steps, in this order. Each starts one operation, and the next step follows when it is done.
  void GrantLease();
  void CreateKey();
  void OnKey(const etcdserverpb::TxnResponse& response, Revision revision);
  void FindEarlier();  // until there is no earlier candidate
  void WaitFor(const std::string& key, Revision revision);
  void Confirm();
  void CheckOwnKey();

  void Propose(proto::Command command, std::function<void(ApplyResult)> next);
  void OnEvents();
  // True: the call must end. It does, unless an operation is in flight.
  bool Ends();
  void Finish(const absl::Status& status);
  // Reads with `then` as the next step. The read is given up if the caller has gone.
  void Read(std::shared_ptr<const StateSnapshot> snapshot,
            const etcdserverpb::RangeRequest& request, RangeThen then);

  const Edge& edge() const { return service_->edge(); }

  const std::shared_ptr<WatchService> service_;
  Call* const call_;  // until done_ is called
  const Options options_;
  const Done done_;
  const bool needs_leader_;
  const bool grants_lease_;
  Won own_;
  bool created_key_ = false;          // false: it was there before, or nothing is known
  bool in_flight_ = false;            // an operation
  std::optional<absl::Status> ends_;  // the call must end with this status
  std::unique_ptr<watch::Stream> stream_;
  std::shared_ptr<Candidate> self_;  // null once the call has ended
};

}  // namespace raftkv::api

#endif  // RAFTKV_SERVER_API_CANDIDATE_H_
