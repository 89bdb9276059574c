#ifndef RAFTKV_SERVER_API_MEMBER_CALLS_H_
#define RAFTKV_SERVER_API_MEMBER_CALLS_H_

// How the handlers of methods read and write the replicated state. Write proposes a command and
// answers the call once it is applied; Propose does the same without a call. Read answers a call
// from the state machine, on a worker if the answer is large. A method that reads something new
// needs a ReadFrom. WhenUpToDate is for answers that do not come from the state machine. Propose
// and ReadFrom ask the alarms (storage/rules/alarms.h).

#include <memory>
#include <string>
#include <utility>

#include "absl/functional/any_invocable.h"
#include "server/api/edge.h"
#include "server/api/sessions.h"

namespace raftkv::api {

inline absl::Status ReadFrom(const StateSnapshot& snapshot,
                             const etcdserverpb::RangeRequest& request, const Limits& limits,
                             etcdserverpb::RangeResponse* response) {
  const absl::Status permitted = snapshot.alarms_in_force().PermitRead();
  return permitted.ok() ? snapshot.Range(request, limits, response) : permitted;
}
inline absl::Status ReadFrom(const StateSnapshot& snapshot, const etcdserverpb::TxnRequest& request,
                             const Limits& limits, etcdserverpb::TxnResponse* response) {
  const absl::Status permitted = snapshot.alarms_in_force().PermitRead();
  return permitted.ok() ? snapshot.Txn(request, limits, response) : permitted;
}

inline absl::Status ReadFrom(const StateSnapshot& snapshot,
                             const etcdserverpb::LeaseLeasesRequest& request, const Limits& limits,
                             etcdserverpb::LeaseLeasesResponse* response) {
  return snapshot.LeaseLeases(request, limits, response);
}
inline absl::Status ReadFrom(const StateSnapshot& snapshot,
                             const etcdserverpb::LeaseTimeToLiveRequest& request,
                             const Limits& limits,
                             etcdserverpb::LeaseTimeToLiveResponse* response) {
  return snapshot.LeaseTimeToLive(request, limits, response);
}

template <typename Request, typename Response, typename Complete>
absl::Status Fill(const Edge* edge, const StateSnapshot& snapshot, const Limits& limits,
                  Unary<Request, Response> call, const Complete& complete) {
  const absl::Status status = ReadFrom(snapshot, call.request(), limits, call.response());
  if (!status.ok()) {
    Response().Swap(call.response());  // frees the partial answer: the call may wait for a worker
    return status;
  }
  complete(call.response());
  edge->FillHeader(snapshot.revision(), call.response()->mutable_header());
  return status;
}

// Answers the read. Everything that it must see is in the state machine. `complete(response)` adds
// what the state machine does not know; it may run on a worker.
template <typename Request, typename Response, typename Complete>
void ReadNow(const Edge* edge, MonotonicTime deadline, Unary<Request, Response> call,
             Complete complete) {
  const auto read = [edge, deadline, call, complete] {
    std::shared_ptr<const StateSnapshot> snapshot = edge->member->Snapshot();
    const absl::Status status = Fill(edge, *snapshot, kInlineLimits, call, complete);
    if (!absl::IsResourceExhausted(status)) return call.Finish(ToWire(status));
    edge->OnReaders(
        call->client_address(), edge->GiveUpOf(call, deadline),
        [edge, call, complete, snapshot = std::move(snapshot)](const Limits& limits) {
          return Fill(edge, *snapshot, limits, call, complete);
        },
        [call](const absl::Status& status) { call.Finish(status); });
  };
  DiskReaders& readers = *edge->disk_readers;
  if (!readers.in_use() || !readers.Run(read, call->client_address())) read();
}

template <typename Request, typename Response>
void ReadNow(const Edge* edge, MonotonicTime deadline, Unary<Request, Response> call) {
  ReadNow(edge, deadline, call, [](Response*) {});
}

// Calls `answer()`, which answers the call, when this member knows everything that was acknowledged
// before the call arrived. If that fails, the call ends with the error. `answer` may run on the
// thread that applies.
template <typename Request, typename Response, typename Answer>
void WhenUpToDate(const Edge* edge, Unary<Request, Response> call, Answer answer) {
  auto done = [call, answer = std::move(answer)](Fate fate) {
    if (fate != Fate::kApplied) return call.Finish(ReadToWire(fate));
    answer();
  };
  edge->member->Post(ReadRequest{std::move(done), Edge::CallerOf(call)});
}

template <typename Request, typename Response>
void Read(const Edge* edge, bool serializable, Unary<Request, Response> call) {
  const MonotonicTime deadline = edge->ReadDeadline(*call.get());
  if (serializable) return ReadNow(edge, deadline, call);
  WhenUpToDate(edge, call, [edge, deadline, call] { ReadNow(edge, deadline, call); });
}

// Gets the outcome of a proposal: the status for the wire, whether it was proposed, and, if the
// status is OK, the result.
using ProposalAnswer =
    absl::AnyInvocable<void(const absl::Status& status, bool proposed, ApplyResult result)>;

// The part of Propose that follows when the alarms permit the command.
inline void ProposePermitted(const Edge* edge, proto::Command* command, Caller caller,
                             ProposalAnswer answer, bool wait_for_compaction) {
  command->DiscardUnknownFields();
  std::string bytes = command->SerializeAsString();
  if (bytes.size() > static_cast<size_t>(edge->config->limits.max_request_bytes)) {
    return answer(RequestTooLarge(), /*proposed=*/false, {});
  }
  const ClusterVersion needs = Needs(*command);
  auto done = [edge, needs, answer = std::move(answer)](Fate fate, ApplyResult result) mutable {
    if (fate != Fate::kApplied) ++edge->counters->failed_proposals;
    const absl::Status status =
        fate == Fate::kApplied ? ToWire(result.status) : edge->EndOfProposal(fate, needs);
    answer(status, fate.proposed, std::move(result));
  };
  edge->member->Post(ProposeRequest{.command = std::move(bytes),
                                    .done = std::move(done),
                                    .caller = std::move(caller),
                                    .wait_for_compaction = wait_for_compaction,
                                    .needs = needs});
}

// Proposes `command` and calls `answer` once it is applied, or with the reason why it was not.
// Fields that this program does not know are dropped here, before the log. A command that an alarm
// denies is not proposed, so that such commands do not fill the log. Before this member denies a
// command, it makes sure that it is up to date, because the alarm may have ended already. Call it
// on the loop's thread. `answer` may run on the thread that applies.
inline void Propose(const Edge* edge, proto::Command* command, Caller caller, ProposalAnswer answer,
                    bool wait_for_compaction = false) {
  const auto permit = [edge](const proto::Command& proposed) {
    return edge->member->Snapshot()->alarms_in_force().Permit(proposed);
  };
  if (permit(*command).ok()) {
    return ProposePermitted(edge, command, std::move(caller), std::move(answer),
                            wait_for_compaction);
  }
  struct Denied {
    proto::Command command;
    Caller caller;
    ProposalAnswer answer;
  };
  auto denied = std::make_shared<Denied>(Denied{std::move(*command), caller, std::move(answer)});
  const auto again = [edge, permit, denied, wait_for_compaction] {
    const absl::Status status = permit(denied->command);
    if (!status.ok()) return denied->answer(ToWire(status), /*proposed=*/false, {});
    ProposePermitted(edge, &denied->command, std::move(denied->caller), std::move(denied->answer),
                     wait_for_compaction);
  };
  auto done = [edge, denied, again](Fate fate) {
    if (fate != Fate::kApplied) return denied->answer(ReadToWire(fate), /*proposed=*/false, {});
    edge->on_loop(again);
  };
  edge->member->Post(ReadRequest{std::move(done), std::move(caller)});
}

// Proposes `command`, in the session that the call names, and answers the call. `get` returns the
// part of the command's response that answers it.
template <typename Request, typename Response>
void Write(const Edge* edge, Unary<Request, Response> call, proto::Command* command,
           Response* (proto::CommandResponse::*get)(),
           std::shared_ptr<const int> compaction_waiter = nullptr) {
  const bool wait_for_compaction = compaction_waiter != nullptr;
  if (absl::Status malformed = BindToSession(*call.get(), command); !malformed.ok()) {
    SayNotProposed(call.get());
    return call.Finish(malformed);
  }
  auto answer = [edge, call, get, waiter = std::move(compaction_waiter)](
                    const absl::Status& status, bool proposed, ApplyResult result) {
    if (!proposed) SayNotProposed(call.get());
    if (!status.ok()) {
      if (result.response.decided()) call->AddTrailer(kOutcomeKey, kDecided);
      return call.Finish(status);
    }
    if (result.response.reduced()) call->AddTrailer(kOutcomeKey, kReduced);
    call.response()->Swap((result.response.*get)());
    edge->FillHeader(result.revision, call.response()->mutable_header());
    call.Finish(absl::OkStatus());
  };
  Propose(edge, command, Edge::CallerOf(call), std::move(answer), wait_for_compaction);
}

}  // namespace raftkv::api

#endif  // RAFTKV_SERVER_API_MEMBER_CALLS_H_
