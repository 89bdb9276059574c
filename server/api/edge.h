#ifndef RAFTKV_SERVER_API_EDGE_H_
#define RAFTKV_SERVER_API_EDGE_H_

// What every method of the etcd API needs: access to the member, response headers, admission, and
// rows of methods. A handler calls the replica, maps its outcome (errors.h) and fills in the
// header; admission and the check of the request's shape come before it (server/rpc/method.h).

#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "config/config.h"
#include "proto/etcd/outcome.h"
#include "proto/etcd/rpc.pb.h"
#include "server/api/errors.h"
#include "server/clock.h"
#include "server/member/member.h"
#include "server/member/phase.h"
#include "server/rpc/call.h"
#include "server/rpc/method.h"
#include "server/workers.h"
#include "storage/state_machine.h"

namespace raftkv::api {

// The call fails, and has certainly changed nothing: clients that know the key may repeat it.
inline void SayNotProposed(Call* call) { call->AddTrailer(kOutcomeKey, kNotProposed); }

struct Edge {
  const Config* config = nullptr;
  const MemberConfig* self = nullptr;
  Member* member = nullptr;
  const PhaseValue* phase = nullptr;
  std::function<bool()> loop_hangs;  // from any thread
  Workers* readers = nullptr;        // large reads, which the request timeout bounds
  Workers* walker = nullptr;         // walks over the whole store, one at a time
  // Each call that waits for a compaction holds a copy, so its use count bounds them.
  std::shared_ptr<const int> compaction_waiters = std::make_shared<int>();

  // From any thread.
  void FillHeader(Revision revision, etcdserverpb::ResponseHeader* header) const {
    header->set_cluster_id(config->cluster_id);
    header->set_member_id(self->id);
    header->set_revision(revision);
    header->set_raft_term(member->term());
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

  // Who waits for a request to the member.
  template <typename Request, typename Response>
  static Caller CallerOf(Unary<Request, Response> call) {
    return {.deadline = call->deadline(), .gone = [call] { return call->gone(); }};
  }

  // Runs `work(give_up)` on one of `workers`, which returns what the call ends with. `give_up()`
  // becomes true when nobody will want the answer; work that sees it returns CANCELLED at once.
  template <typename Request, typename Response, typename Work>
  void OnWorker(Workers* workers, Unary<Request, Response> call, MonotonicTime deadline,
                Work work) const {
    auto give_up = [phase = phase, call, deadline] {
      return phase->AtLeast(Phase::kDraining) || call->gone() || MonotonicNow() >= deadline;
    };
    const bool accepted = workers->Run([phase = phase, call, give_up, work = std::move(work)] {
      absl::Status status = absl::CancelledError();
      if (!give_up()) status = work(give_up);
      if (absl::IsCancelled(status)) {
        const bool stops = phase->AtLeast(Phase::kDraining);
        status = ToWire(stops ? Fate::kStoppedUnproposed : Fate::kTimedOut);
      }
      call.Finish(status);
    });
    if (!accepted) call.Finish(TooManyRequests());
  }

 private:
  // Why a call that needs `permission` is not admitted.
  absl::Status WhyNot(Permission permission, const Call& call) const {
    if (phase->AtLeast(Phase::kDeclining)) return Stopping();
    if (!NeedsCluster(permission)) return absl::OkStatus();
    // Nothing here could be trusted.
    if (member->rejected_by_peers()) return RejectedByPeers();
    // etcd's clients ask for an error instead of a wait for a leader.
    if (!member->has_leader() && call.Metadata("hasleader") == "true") return NoLeader();
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

// One function for each service: adds its rows. Those of the first three are served on the loop's
// thread with Edge::Admit.
void AddKv(const Edge* edge, Methods* methods);
void AddMaintenance(const Edge* edge, Methods* methods);
void AddCluster(const Edge* edge, Methods* methods);
// Health is served on the watchdog's thread, without admission. The result sends changed statuses
// to the watching streams; call it on that thread now and then.
std::function<void()> AddHealth(const Edge* edge, Methods* methods);

}  // namespace raftkv::api

#endif  // RAFTKV_SERVER_API_EDGE_H_
