#ifndef RAFTKV_SERVER_API_EDGE_H_
#define RAFTKV_SERVER_API_EDGE_H_

// What every method of the etcd API needs: access to the member, response headers, admission, and
// the rows of the method table. Before a handler runs, the call was admitted and the shape of its
// request was checked (server/rpc/method.h). The handler posts the request to the member
// (Member::Post), maps the outcome to a status (errors.h) and fills in the response's header.

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "config/config.h"
#include "proto/etcd/outcome.h"
#include "proto/etcd/rpc.pb.h"
#include "server/api/admission.h"
#include "server/api/errors.h"
#include "server/clock.h"
#include "server/disk_readers.h"
#include "server/member/member.h"
#include "server/phase.h"
#include "server/rpc/call.h"
#include "server/rpc/method.h"
#include "server/workers.h"
#include "storage/data_dir/snapshot_files.h"
#include "storage/state_machine.h"

namespace raftkv::api {

// Adds a trailer to a failed call. The trailer says that the call has certainly changed nothing. A
// client that knows this trailer may repeat the call.
inline void SayNotProposed(Call* call) { call->AddTrailer(kOutcomeKey, kNotProposed); }

// Above this number of bytes of answers that were made and not sent yet, workers make no further
// answers. admission.h has a bound for all calls.
inline constexpr size_t kUnsentBytesOfWorkers = 256 << 20;

// What a read may cost on the loop's thread. A larger read runs again on a worker.
inline const Limits kInlineLimits{.steps_max = 128, .answer_bytes_max = 64 << 10};
// What a read may cost on one of `readers`: some 50 ms. A larger read runs again on one of
// `long_readers`. A page of 500 keys out of fifteen million costs less.
inline const Limits kShortRead{.steps_max = 32'768, .answer_bytes_max = 16 << 20};

// How long a read may wait for a worker, and until clients have read earlier answers. Its own work
// is limited by the request timeout.
inline constexpr absl::Duration kReadWaitMax = absl::Minutes(1);

// What the API counts, for /metrics. From any thread.
struct Counters {
  std::atomic<uint64_t> failed_proposals{0};  // writes that were not applied in time
  std::atomic<uint64_t> healthy{0};           // answers of /health
  std::atomic<uint64_t> unhealthy{0};
};

struct Edge {
  const Config* config = nullptr;
  const MemberConfig* self = nullptr;
  Member* member = nullptr;
  const PhaseValue* phase = nullptr;
  std::function<bool()> loop_hangs;  // may be called from any thread
  // Runs the work on the loop's thread; at once if it is called there. May be called from any
  // thread.
  std::function<void(std::function<void()>)> on_loop;
  // The bytes of answers that clients have not read yet. May be called from any thread.
  std::function<size_t()> unsent_bytes;
  // Takes a snapshot of the state machine. From any thread; waits for the disk.
  std::function<absl::StatusOr<std::unique_ptr<TakenSnapshot>>()> take_snapshot;
  Counters* counters = nullptr;
  DiskReaders* disk_readers = nullptr;  // run small reads while they wait for the disk
  Workers* readers = nullptr;           // run large reads first (OnReaders)
  Workers* long_readers = nullptr;      // run those that took a reader too long, until Deadline()
  Workers* walker = nullptr;            // hashes the whole store, one call at a time
  Workers* catch_up = nullptr;          // reads what watches have missed
  // Each call that waits for a compaction holds a copy, so use_count() - 1 calls wait.
  std::shared_ptr<const int> compaction_waiters = std::make_shared<int>();

  // May be called from any thread.
  void FillHeader(Revision revision, etcdserverpb::ResponseHeader* header) const {
    header->set_cluster_id(config->cluster_id);
    header->set_member_id(self->id);
    header->set_revision(revision);
    header->set_raft_term(member->term());
  }

  // The admission of all methods except the health service, the pages and server reflection.
  absl::Status Admit(Permission permission, Call* call) const {
    const bool leader = member->has_leader() || call->Metadata("hasleader") != "true";
    const Standing standing = {.stopping = phase->AtLeast(Phase::kDeclining),
                               .unsent_bytes = unsent_bytes(),
                               .rejected_by_peers = member->rejected_by_peers(),
                               .halted = member->halted(),
                               .out_of_space = member->out_of_space(),
                               .learner = member->is_learner(),
                               .lacks_leader = !leader};
    absl::Status status = WhyNot(permission, standing);
    if (!status.ok()) SayNotProposed(call);
    return status;
  }

  // The time until which a call that arrives now must be answered: after the request timeout, or
  // when its client stops waiting, whichever comes first.
  MonotonicTime Deadline(const Call& call) const {
    return std::min(MonotonicNow() + config->limits.request_timeout, call.deadline());
  }

  // The same for a read that may need a worker. It may wait longer than the request timeout, for
  // the large answers of other clients.
  MonotonicTime ReadDeadline(const Call& call) const {
    const absl::Duration wait = std::max(kReadWaitMax, config->limits.request_timeout);
    return std::min(MonotonicNow() + wait, call.deadline());
  }

  // The deadline of the call's client, and whether that client has gone.
  template <typename Request, typename Response>
  static Caller CallerOf(Unary<Request, Response> call) {
    return {.deadline = call->deadline(), .gone = [call] { return call->gone(); }};
  }

  // A function for a worker that answers the call. It becomes true at the deadline, when the client
  // has gone, or when the member stops.
  template <typename Request, typename Response>
  std::function<bool()> GiveUpOf(Unary<Request, Response> call, MonotonicTime deadline) const {
    return [phase = phase, call, deadline] {
      return phase->AtLeast(Phase::kDraining) || call->gone() || MonotonicNow() >= deadline;
    };
  }
  // A worker waits here while more than kUnsentBytesOfWorkers of earlier answers are not sent.
  // False: give_up() is true, and the worker makes no answer.
  bool AwaitRoom(const std::function<bool()>& give_up) const {
    while (unsent_bytes() > kUnsentBytesOfWorkers && !give_up()) {
      absl::SleepFor(absl::Milliseconds(5));
    }
    return !give_up();
  }
  // Returns the status for the wire of a read that ended with `status`. CANCELLED: the read gave
  // up, because the member stops or the time is over.
  absl::Status EndOfRead(const absl::Status& status) const {
    if (!absl::IsCancelled(status)) return ToWire(status);
    return ReadToWire(phase->AtLeast(Phase::kDraining) ? Fate::kStopped : Fate::kTimedOut);
  }

  // The status for the wire of a proposal of a command that needs the cluster version `needs`.
  absl::Status EndOfProposal(Fate fate, ClusterVersion needs) const {
    const ClusterVersion in_force = member->cluster_version();
    if (fate != Fate::kNotSupported || needs <= in_force) return ToWire(fate);
    return NeedsVersion(in_force, needs);
  }

  // Runs `work(give_up)` on one of `workers`, and ends the call with EndOfRead of the status that
  // it returns.
  template <typename Request, typename Response, typename Work>
  void OnWorker(Workers* workers, Unary<Request, Response> call, MonotonicTime deadline,
                Work work) const {
    auto give_up = GiveUpOf(call, deadline);
    const bool accepted = workers->Run([this, call, give_up, work = std::move(work)] {
      call.Finish(EndOfRead(AwaitRoom(give_up) ? work(give_up) : absl::CancelledError()));
    });
    if (!accepted) call.Finish(TooManyRequests());
  }

  // Runs `read(limits)` on one of `readers`, which ends it after kShortRead. If it then returned
  // ResourceExhausted, it runs again, up to the limits of one answer, on one of `long_readers`. So
  // short reads never wait for long ones. The reads of different clients (`client`:
  // Call::client_address) take turns. A read that has begun ends after the request timeout, or once
  // `give_up` is true. Calls `done` with the status for the wire, on the worker.
  void OnReaders(const std::string& client, std::function<bool()> give_up,
                 std::function<absl::Status(const Limits&)> read,
                 std::function<void(const absl::Status&)> done) const {
    const auto run = [this, give_up, read](Limits limits) {
      if (!AwaitRoom(give_up)) return absl::CancelledError();
      const MonotonicTime until = MonotonicNow() + config->limits.request_timeout;
      limits.give_up = [give_up, until] { return give_up() || MonotonicNow() >= until; };
      return read(limits);
    };
    const auto run_long = [this, run, done] {
      const absl::Status status = run({.answer_bytes_max = config->limits.max_response_bytes});
      done(absl::IsResourceExhausted(status) ? ResponseTooLarge() : EndOfRead(status));
    };
    const auto run_short = [this, client, run, done, run_long] {
      const absl::Status status = run(kShortRead);
      if (!absl::IsResourceExhausted(status)) return done(EndOfRead(status));
      if (!long_readers->Run(run_long, client)) done(TooManyRequests());
    };
    const bool accepted = readers->Run(run_short, client);
    if (!accepted) done(TooManyRequests());
  }
};

class WatchService;

// A row with its message types. server/rpc/method.h explains the fields.
template <typename Request, typename Response>
struct Row {
  const char* name;
  Permission permission = Permission::kNone;
  Permission (*needs)(const Request&) = nullptr;
  absl::Status (*check)(const Edge*, const Request&) = nullptr;
  std::function<void(const Edge*, Unary<Request, Response>)> handler = nullptr;
};

template <typename Request, typename Response>
void Add(const Edge* edge, Methods* methods, const Row<Request, Response>& row) {
  using google::protobuf::Message;
  UnaryMethod method;
  method.name = row.name;
  method.permission = row.permission;
  method.request = &Request::default_instance();
  method.response = &Response::default_instance();
  if (row.needs != nullptr) {
    method.needs = [needs = row.needs](const Message& request) {
      return needs(static_cast<const Request&>(request));
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

// One function for each service. It adds the service's rows to `methods`. The methods of AddKv,
// AddLease, AddMaintenance and AddCluster are served on the loop's thread, with Edge::Admit as
// admission. So are those of AddWatch, AddLock and AddElection, which share a WatchService
// (watch_service.h).
void AddKv(const Edge* edge, Methods* methods);
void AddLease(const Edge* edge, Methods* methods);  // without LeaseKeepAlive
// KV.RangeStream is served in the same way. Call the returned function after each turn: it ends
// streams whose clients do not read, or whose deadline is over.
std::function<void(MonotonicTime now)> AddRangeStream(const Edge* edge, Methods* methods);
void AddMaintenance(const Edge* edge, Methods* methods);
void AddCluster(const Edge* edge, Methods* methods);
void AddWatch(const std::shared_ptr<WatchService>& service, Methods* methods);
// LeaseKeepAlive: a WatchService ends these streams, too.
void AddKeepAlive(const std::shared_ptr<WatchService>& service, Methods* methods);
void AddLock(const std::shared_ptr<WatchService>& service, Methods* methods);
void AddElection(const std::shared_ptr<WatchService>& service, Methods* methods);
// Health is served on the watchdog's thread, without admission. Call the returned function
// regularly on that thread: it sends changed statuses to the watching streams.
std::function<void()> AddHealth(const Edge* edge, Methods* methods);
// The pages of HTTP are served on the watchdog's thread, without admission. Call the returned
// function regularly on that thread: it ends the calls that wait too long.
std::function<void()> AddPages(const Edge* edge, Methods* methods);
// gRPC's server reflection, for services with these methods. Served without admission, on one
// thread.
void AddReflection(const std::vector<std::string>& methods_served, Methods* methods);
// The HTTP paths at which the methods are served as JSON.
std::vector<JsonRoute> JsonRoutes();
// Maintenance.Snapshot is served on the thread of backups, with Edge::Admit as admission. Call the
// returned function regularly on that thread: it ends the streams whose clients are late, and those
// of a member that stops.
std::function<void()> AddBackup(const Edge* edge, Methods* methods);

}  // namespace raftkv::api

#endif  // RAFTKV_SERVER_API_EDGE_H_
