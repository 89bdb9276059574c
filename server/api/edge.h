#ifndef RAFTKV_SERVER_API_EDGE_H_
#define RAFTKV_SERVER_API_EDGE_H_

// What every method of the etcd API needs: access to the member, response headers, admission, and
// rows of methods. A handler calls the replica, maps its outcome (errors.h) and fills in the
// header; admission and the check of the request's shape come before it (server/rpc/method.h).

#include <algorithm>
#include <atomic>
#include <memory>
#include <string>
#include <utility>

#include "config/config.h"
#include "proto/etcd/outcome.h"
#include "proto/etcd/rpc.pb.h"
#include "server/api/errors.h"
#include "server/clock.h"
#include "server/loop.h"
#include "server/member/replica.h"
#include "server/rpc/call.h"
#include "server/rpc/method.h"
#include "storage/state_machine.h"

namespace raftkv::api {

// The call fails, and has certainly changed nothing: clients that know the key may repeat it.
inline void SayNotProposed(Call* call) { call->AddTrailer(kOutcomeKey, kNotProposed); }

// The loop's clock has the type of wall time, with the monotonic clock's origin as its epoch.
inline absl::Time ToLoopTime(MonotonicTime time) { return absl::UnixEpoch() + time.since_origin(); }

struct Edge {
  const Config* config = nullptr;
  const MemberConfig* self = nullptr;
  Loop* loop = nullptr;
  Replica* replica = nullptr;             // loop's thread only
  StateMachine* state_machine = nullptr;  // what may be called from any thread
  // Each call that waits for a compaction holds a copy, so its use count bounds them.
  std::shared_ptr<const int> compaction_waiters = std::make_shared<int>();
  // New calls are declined, because this member stops.
  std::atomic<bool> refuses_calls{false};

  // From any thread.
  void FillHeader(Revision revision, etcdserverpb::ResponseHeader* header) const {
    header->set_cluster_id(config->cluster_id);
    header->set_member_id(self->id);
    header->set_revision(revision);
    header->set_raft_term(loop->term());
  }

  // The admission of all methods but health's, which is served on another thread.
  absl::Status Admit(Permission permission, Call* call) const {
    absl::Status status = WhyNot(permission, *call);
    if (!status.ok()) SayNotProposed(call);
    return status;
  }

  // When a call that arrives now must be answered, or its client stops waiting.
  MonotonicTime Deadline(const Call& call) const {
    return std::min(MonotonicNow() + config->limits.request_timeout, call.deadline());
  }

  // Whoever waits for a request to the replica.
  template <typename Request, typename Response>
  static Caller CallerOf(Unary<Request, Response> call) {
    return {.deadline = call->deadline(), .gone = [call] { return call->gone(); }};
  }

  // Runs `work(give_up)` on one of `workers`, which returns what the call ends with. `give_up()`
  // becomes true when nobody will want the answer; work that sees it returns CANCELLED at once.
  template <typename Request, typename Response, typename Work>
  void OnWorker(Workers* workers, Unary<Request, Response> call, MonotonicTime deadline,
                Work work) const {
    auto give_up = [loop = loop, call, deadline] {
      return loop->stopping() || call->gone() || MonotonicNow() >= deadline;
    };
    const bool accepted = workers->Run([loop = loop, call, give_up, work = std::move(work)] {
      absl::Status status = absl::CancelledError();
      if (!give_up()) status = work(give_up);
      if (absl::IsCancelled(status)) {
        status = ToWire(loop->stopping() ? Fate::kStopped : Fate::kTimedOut);
      }
      call.Finish(status);
    });
    if (!accepted) call.Finish(TooManyRequests());
  }

 private:
  // Why a call that needs `permission` is not admitted.
  absl::Status WhyNot(Permission permission, const Call& call) const {
    if (refuses_calls) return Stopping();
    if (!NeedsCluster(permission)) return absl::OkStatus();
    // Nothing here could be trusted.
    if (replica->refused_by_peers()) return RefusedByPeers();
    // etcd's clients ask for an error instead of a wait for a leader.
    if (replica->leader() == raft::kNobody && call.Metadata("hasleader") == "true") {
      return NoLeader();
    }
    return absl::OkStatus();
  }
};

// A row with its message types; server/rpc/method.h tells what the fields mean.
template <typename Request, typename Response>
struct Row {
  const char* name;
  int waiting = 4;
  Permission permission = Permission::kNone;
  bool (*local)(const Request&) = nullptr;
  absl::Status (*check)(const Edge*, const Request&) = nullptr;
  void (*handler)(const Edge*, Unary<Request, Response>) = nullptr;
};

template <typename Request, typename Response>
void Add(const Edge* edge, Methods* methods, const Row<Request, Response>& row) {
  using google::protobuf::Message;
  UnaryMethod method;
  method.name = row.name;
  method.waiting = row.waiting;
  method.permission = row.permission;
  method.request = &Request::default_instance();
  method.response = &Response::default_instance();
  if (row.local != nullptr) {
    method.local = [local = row.local](const Message& request) {
      return local(static_cast<const Request&>(request));
    };
  }
  if (row.check != nullptr) {
    method.check = [edge, check = row.check](const Message& request) {
      return ToWire(check(edge, static_cast<const Request&>(request)));
    };
  }
  method.handler = [edge, handler = row.handler](UnaryCall* call) {
    handler(edge, Unary<Request, Response>(call));
  };
  methods->unary.push_back(std::move(method));
}

// One function a service: adds its rows. Those of the first three are served on the loop's thread
// with Edge::Admit, health's on the watchdog's without.
void AddKv(const Edge* edge, Methods* methods);
void AddMaintenance(const Edge* edge, Methods* methods);
void AddCluster(const Edge* edge, Methods* methods);
void AddHealth(const Edge* edge, Methods* methods);

}  // namespace raftkv::api

#endif  // RAFTKV_SERVER_API_EDGE_H_
