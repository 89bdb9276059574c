#include "server/member/replica.h"

#include <algorithm>
#include <utility>
#include <variant>

#include "glog/logging.h"
#include "proto/parse_command.h"
#include "server/member/origin.h"
#include "storage/base/mutant.h"

namespace raftkv {

namespace {

// If more entries than this are committed but not applied, new writes are rejected (as in etcd).
constexpr raft::Index kUnappliedMax = 5000;

// Whom a member with an empty log asks (first_start.h).
std::vector<raft::MemberId> PeersOf(const ReplicaOptions& options) {
  std::vector<raft::MemberId> peers;
  for (raft::MemberId member : options.configuration.voters) peers.push_back(member);
  std::erase(peers, options.raft.id);
  return peers;
}

raft::Config RaftConfig(raft::Config config) {
  config.configuration_of = MustParseConfiguration;
  return config;
}

raft::Configuration InForce(const ReplicaOptions& options, const StateMachine& state_machine) {
  return state_machine.members().known() ? state_machine.members().configuration()
                                         : options.configuration;
}

}  // namespace

Replica::Replica(const ReplicaOptions& options, LogStore* log, const StateMachine& state_machine,
                 const PhaseValue* phase, StateStore* states, Outbox* outbox)
    : options_(options),
      log_(log),
      phase_(phase),
      states_(states),
      outbox_(outbox),
      raft_(RaftConfig(options.raft), InForce(options, state_machine),
            state_machine.applied().index, log),
      proposals_(options.raft.id, options.boot_id),
      store_ids_(state_machine.store_ids()),
      members_(state_machine.members()),
      versions_(state_machine.cluster_version(), options.newest_version, options.raft.id),
      first_start_(PeersOf(options), /*joins=*/options.configuration.voters.empty(),
                   options.base_index, log, &raft_, outbox),
      space_(options.space),
      auto_compaction_(options.auto_compaction),
      alarms_(state_machine.alarms()),
      revision_(state_machine.revision()),
      handed_over_(state_machine.applied().index),
      applied_(handed_over_),
      settled_term_(state_machine.applied().term) {}

void Replica::Turn(std::vector<Input> inputs, MonotonicTime now, bool may_install) {
  if (now - now_ > ElectionTimeout() && raft_.role() == raft::Role::kLeader) {
    OnLongPause(now - now_, now + ElectionTimeout());
  }
  now_ = now;
  log_would_stall_ = log_->WouldStall();
  // Makes room: some were answered since the last tick.
  if (QueueIsFull()) pending_.ForgetAnswered();

  for (Input& input : inputs) {
    std::visit([this](auto&& i) { Handle(std::move(i)); }, std::move(input));
  }
  NoteSpace();
  // Call this after all inputs were handled: they also name the proposals that were certainly not
  // sent, which must not be answered "unknown".
  for (raft::MemberId peer : std::exchange(forward_lost_, {})) proposals_.OnForwardLost(peer);
  if (arrived_ && may_install) StepSnapshot();
  Tick();
  first_start_.Turn(now);
  while (auto renewal = renewals_.TakeDue(now_)) Handle(*std::move(renewal));
  MaybeRaiseVersion();
  MaybeExpireLeases();
  MaybePublish();
  MakeWayIfFull();
  MaybeChangeAlarm();
  MaybeCompact();
  ProposeWaiting();
  MaybeChangeMembers();
  MaybeReportDigests();
  AskReads();
  DrainReady();
  NoteLeader();
  NoteTransfers();
  AskWhetherRemoved();
}

// More than an election timeout has passed since the last turn of this leader: a save took long, or
// the process was stopped. The others may have a new leader, so step down before anything else.
// If this member is the only voter, there can be no other leader. Then it continues to lead. Like a
// new leader, it expires no leases before `first_expiry`: clients could not renew them during the
// pause.
void Replica::OnLongPause(absl::Duration pause, MonotonicTime first_expiry) {
  if (raft_.membership().voters() == std::vector<raft::MemberId>{options_.raft.id}) {
    lessor_.OnLeading(first_expiry);
  } else {
    outbox_->Report(MadeWay{raft_.term(), pause});
    raft_.StepDown();
  }
}

void Replica::OnApplied(raft::Index index) {
  applied_ = index;
  raft_.OnApplied(index);
}

void Replica::Stop() {
  renewals_.Stop();
  pending_.Stop();
  proposals_.ForgetAnswered();
  reads_.ForgetAnswered();
}

// --- what arrives

// A leader whose log would stall takes no proposals, because it would send no heartbeats while it
// waits for its disk. A follower still forwards proposals: a majority can commit them without this
// member's disk.
bool Replica::TooBusy() const {
  const bool would_wait = log_would_stall_ && raft_.role() == raft::Role::kLeader;
  return raft_.commit_index() > applied_ + kUnappliedMax || would_wait;
}

void Replica::Handle(ProposeRequest request) {
  if (QueueIsFull() || TooBusy() || !HasRoomFor(request.command.size())) {
    request.done(Fate::kTooManyRequests, {});
    return;
  }
  const MonotonicTime deadline = Deadline(request.caller.deadline);
  const auto compaction_deadline =
      request.wait_for_compaction ? std::optional(request.caller.deadline) : std::nullopt;
  PendingRequestPtr pending = pending_.Add(std::move(request.done), deadline, compaction_deadline);
  proposals_.Add(request, std::move(pending), std::move(request.caller));
}

void Replica::Handle(ReadRequest request) {
  if (QueueIsFull()) {
    request.done(Fate::kTooManyRequests);
    return;
  }
  reads_.Add(pending_.Add(std::move(request.done), Deadline(request.caller.deadline)));
}

void Replica::Handle(TransferRequest request) {
  if (QueueIsFull()) return request.done(Fate::kTooManyRequests);
  const bool leads = raft_.role() == raft::Role::kLeader;
  if (leads && request.target == options_.raft.id) return request.done(Fate::kApplied);
  switch (raft_.TransferLeadership(request.target)) {
    case raft::TransferResult::kNotLeader:
      return request.done(Fate::kNotLeader);
    case raft::TransferResult::kBadTarget:
      return request.done(Fate::kBadTransferee);
    case raft::TransferResult::kStarted:
      break;
  }
  const MonotonicTime deadline = Deadline(request.caller.deadline);
  transfers_.push_back({request.target, pending_.Add(std::move(request.done), deadline)});
}

void Replica::HandOverLeadership() {
  if (raft_.role() == raft::Role::kLeader) raft_.TransferLeadership(raft_.BestTransferee());
}

void Replica::Handle(const AppendLost& lost) {
  raft_.OnUnreachable(lost.peer);
  heard_.erase(lost.peer);
}

void Replica::Handle(const PeerLost& lost) {
  raft_.OnPeerLost(lost.peer, lost.connection);
  heard_.erase(lost.peer);
}

void Replica::Handle(const ForwardLost& lost) {
  lost_peers_.insert(lost.peer);
  for (uint64_t number : lost.unsent) proposals_.OnDeclined(number, lost.peer);
  if (!lost.stopped) {
    forward_lost_.insert(lost.peer);
    return;
  }
  proposals_.OnLeaderStopped(lost.peer);
  // Another member leads soon. (Or the next process of this peer leads already, if the end of the
  // old connection was noticed late.)
  if (raft_.leader() == lost.peer) next_forward_ = now_ + ElectionTimeout();
}

void Replica::Handle(const ForwardQueueFull& full) {
  proposals_.Fail(full.number, full.peer, Fate::kTooManyRequests);
}

void Replica::Handle(PeerMessage message) {
  if (Rejects(message)) return;
  lost_peers_.erase(message.from);
  heard_[message.from] = now_;
  versions_.OnHeard(message.from, message.newest_version);
  if (raft_.role() == raft::Role::kLeader) RecordStoreId(message.from, message.store_id);
  std::visit([this, from = message.from](auto&& body) { HandleFrom(from, std::move(body)); },
             std::move(message.body));
}

// If a member's data directory is not the one that the cluster knows for it, its votes and
// acknowledgements must not be used: this directory may have forgotten earlier ones.
bool Replica::Rejects(const PeerMessage& message) {
  if (message.to != options_.raft.id) {
    ++rejected_messages_;
    return true;
  }
  if (members_.removed(message.from)) return RejectsRemoved(message);
  if (!store_ids_.Differs(message.from, message.store_id)) return RejectsLife(message);
  ++rejected_messages_;
  if (std::holds_alternative<Hello>(message.body)) {  // so that the sender can log the reason
    outbox_->Send(message.from, HelloReply{.store_id_rejected = true});
  }
  outbox_->Report(PeerRejected{message.from});
  return true;
}

bool Replica::RejectsLife(const PeerMessage& message) {
  const PeerLives::Verdict verdict =
      peer_lives_.OnHeard(message.from, message.boot_id, message.reached, now_);
  if (verdict == PeerLives::Verdict::kOk) return false;
  ++rejected_messages_;
  const bool older = verdict == PeerLives::Verdict::kOlderCopy;
  if (older && std::holds_alternative<Hello>(message.body)) {
    outbox_->Send(message.from, HelloReply{.forgotten = peer_lives_.reached(message.from)});
  }
  outbox_->Report(PeerRejected{
      message.from, older ? PeerRejected::Why::kOlderCopy : PeerRejected::Why::kReplaced});
  return true;
}

void Replica::StopWith(const Fault& fault) {
  if (fault_ || !fault) return;
  fault_ = fault;
  raft_.Halt();
  outbox_->Report(fault_);
}

void Replica::HandleFrom(raft::MemberId from, raft::Message message) {
  const auto* reply = std::get_if<raft::AppendEntriesReply>(&message.body);
  if (reply != nullptr && reply->success && raft_.role() == raft::Role::kLeader &&
      message.term == raft_.term() && reply->match <= raft_.last_index()) {
    peer_lives_.OnAcknowledged(from, {message.term, reply->match});
  }
  raft_.Step(std::move(message));
}

bool Replica::IsOfAnotherTerm(const ForwardedProposal& proposal) const {
  return proposal.term != 0 && proposal.term != raft_.term() &&
         !RAFTKV_MUTANT("proposal-of-another-term");
}

void Replica::HandleFrom(raft::MemberId from, const ForwardedProposal& proposal) {
  const auto decline = [&](ForwardedProposalReply reply) { Decline(from, proposal, reply); };
  if (raft_.role() == raft::Role::kLeader && proposal.needs > versions_.in_force()) {
    if (versions_.proposed() < proposal.needs) return decline({.not_understood = true});
    return decline({.try_again = true});  // it is in force soon: try again soon
  }
  // It was meant for the leader of another term. Its origin may propose it again.
  if (IsOfAnotherTerm(proposal)) return decline({});
  // During a stop, decline: the proposal then waits at its origin for the next leader. If it were
  // proposed, this member might stop before it is committed, and its fate would be unknown.
  if (phase_->AtLeast(Phase::kDeclining)) return decline({});
  // A full leader hands its leadership over, or has space again soon: try again soon.
  if (disk_full()) return decline({.try_again = true});
  // A removed member is not sent what follows its removal, so it would not learn the outcome.
  const std::vector<raft::MemberId>& everyone = raft_.membership().everyone();
  if (!std::binary_search(everyone.begin(), everyone.end(), from)) return decline({});
  if (TooBusy()) return decline({.too_many_requests = true});
  if (proposal.changes_members) return QueueChange(from, proposal);
  switch (raft_.Propose(proposal.payload)) {
    case raft::ProposeResult::kAccepted:
      return;
    case raft::ProposeResult::kNotLeader:
    case raft::ProposeResult::kChangePending:  // of changes of the members only
      return decline({});
    case raft::ProposeResult::kTransferring:
      return decline({.try_again = true});
    case raft::ProposeResult::kTooManyRequests:
      return decline({.too_many_requests = true});
  }
}

void Replica::HandleFrom(raft::MemberId from, const ForwardedProposalReply& reply) {
  if (reply.boot_id != 0 && reply.boot_id != options_.boot_id) return;
  if (reply.term != 0 && !proposals_.InFlight(reply.number, from, reply.term)) return;
  if (reply.not_understood) {
    proposals_.Fail(reply.number, from, Fate::kNotSupported);
  } else if (reply.too_many_requests) {
    proposals_.Fail(reply.number, from, Fate::kTooManyRequests);
  } else if (!reply.rejected.ok()) {
    ApplyResult result;
    result.status = reply.rejected;
    proposals_.Fail(reply.number, from, Fate::kRejected, std::move(result));
  } else {
    const raft::Term term = proposals_.OnDeclined(reply.number, from);
    if (!reply.try_again) {
      declining_term_ = std::max(declining_term_, term);
    } else if (term == raft_.term()) {
      next_forward_ = now_ + HeartbeatInterval();
    }
  }
}

void Replica::HandleFrom(raft::MemberId from, const Hello& /*hello*/) {
  const raft::Index base = RAFTKV_MUTANT("restored-log-is-not-empty") ? 0 : options_.base_index;
  outbox_->Send(from, HelloReply{.log_empty = log_->last_index() == base && !log_->lost()});
}

void Replica::HandleFrom(raft::MemberId from, const HelloReply& reply) {
  if (reply.removed) OnRemoved();
  if (reply.forgotten > log_->reached()) {
    StopWith({Fault::Kind::kOlderCopy, from, {reply.forgotten.term, reply.forgotten.index}});
  }
  first_start_.OnHelloReply(from, reply);
}

// --- the turn

void Replica::Tick() {
  if (last_tick_ == MonotonicTime::InfinitePast()) last_tick_ = now_;
  const int64_t elapsed = (now_ - last_tick_) / options_.tick;
  if (elapsed <= 0) return;
  last_tick_ += elapsed * options_.tick;
  // After a pause of this process, count at most one heartbeat interval, so that waiting messages
  // of the leader are handled before this member starts an election.
  raft_.Tick(static_cast<int>(std::min<int64_t>(elapsed, options_.raft.heartbeat_ticks)));

  if (!pending_.Expire(now_)) return;
  proposals_.ForgetAnswered();
  reads_.ForgetAnswered();
}

void Replica::ProposeWaiting() {
  if (removed_) return proposals_.FailWaiting(Fate::kStoppedUnproposed);
  const raft::MemberId leader = raft_.leader();
  if (leader == raft::kNobody || !reachable(leader) || raft_.term() == declining_term_) return;
  if (raft_.transferee() != raft::kNobody || now_ < next_forward_) return;
  const bool bound =
      leader == options_.raft.id || versions_.KnownBy(leader) >= kProposalTermVersion;
  while (auto next = proposals_.TakeWaiting(leader, raft_.term(), bound, now_)) {
    // A leader of an older release may not know what the command needs, and would propose it.
    if (next->needs > versions_.KnownBy(leader)) {
      proposals_.Fail(next->number, leader, Fate::kNotSupported);
      continue;
    }
    if (leader != options_.raft.id) {
      outbox_->Send(leader, ForwardedProposal{next->number, std::move(next->payload), next->needs,
                                              next->changes_members, raft_.term()});
      continue;
    }
    if (next->needs > versions_.in_force()) {
      if (versions_.proposed() >= next->needs) {  // it is in force soon
        proposals_.OnDeclined(next->number, leader);
        return;
      }
      proposals_.Fail(next->number, leader, Fate::kNotSupported);
      continue;
    }
    if (next->changes_members) {
      QueueChange(leader,
                  {next->number, std::move(next->payload), next->needs, true, raft_.term()});
      continue;
    }
    switch (raft_.Propose(std::move(next->payload))) {
      case raft::ProposeResult::kAccepted:
        break;
      case raft::ProposeResult::kTooManyRequests:
        proposals_.Fail(next->number, leader, Fate::kTooManyRequests);
        break;
      case raft::ProposeResult::kNotLeader:
      case raft::ProposeResult::kTransferring:
      case raft::ProposeResult::kChangePending:
        proposals_.OnDeclined(next->number, leader);
        return;
    }
  }
}

void Replica::AskReads() {
  const raft::MemberId leader = raft_.leader();
  if (!reads_.waiting() || leader == raft::kNobody || !reachable(leader) || now_ < next_ask_) {
    return;
  }
  // A follower has one read index request in flight; reads that arrive meanwhile join the next one.
  if (leader != options_.raft.id && reads_.asking()) return;
  raft_.ReadIndex(reads_.Ask());
}

void Replica::DrainReady() {
  while (raft_.HasReady()) {
    raft::Ready ready = raft_.TakeReady();
    SendAll(&ready.messages_now);
    if (RAFTKV_MUTANT("reply-before-save")) SendAll(&ready.messages_after_save);
    for (const raft::MemberId peer : ready.snapshots_to) SendSnapshot(peer);
    if (ready.snapshot) Install(*ready.snapshot);
    if (ready.hard_state || !ready.entries.empty()) log_->Save(ready.hard_state, ready.entries);
    raft_.OnSaved(ready.number);
    SendAll(&ready.messages_after_save);
    if (!ready.committed.empty()) NoteCommitted(std::move(ready.committed));
    for (const raft::ReadIndexResult& read : ready.reads) NoteRead(read);
    for (const raft::Event& event : ready.events) {
      rejected_messages_ += std::holds_alternative<raft::MessageRejected>(event);
      outbox_->Report(event);
      if (const auto* halted = std::get_if<raft::Halted>(&event)) StopWith(FaultOf(*halted));
    }
  }
}

void Replica::SendAll(std::vector<raft::Message>* messages) {
  for (raft::Message& message : *messages) {
    const raft::MemberId to = message.to;
    outbox_->Send(to, std::move(message));
  }
  messages->clear();
}

void Replica::NoteCommitted(std::vector<raft::Entry> committed) {
  CHECK_EQ(committed.front().id.index, handed_over_ + 1) << "a committed entry was skipped";
  handed_over_ = committed.back().id.index;
  outbox_->ReportCommitted(committed);
  CommittedTask task;
  for (const raft::Entry& entry : committed) {
    if (entry.type == raft::EntryType::kNoOp) continue;
    PendingRequestPtr request =
        entry.type == raft::EntryType::kCommand ? NoteCommand(entry) : NoteChange(entry);
    if (request != nullptr) task.requests.emplace_back(entry.id.index, std::move(request));
  }
  // In the log, the first entry of a later term comes after all entries of earlier terms that
  // survived. So a proposal that is still in flight from an earlier term was lost, or is in a
  // message to an old leader (which declines it when it leads again).
  if (committed.back().id.term > settled_term_) {
    settled_term_ = committed.back().id.term;
    proposals_.OnTermSettled(settled_term_);
  }
  task.entries = std::move(committed);
  hand_over_.committed.push_back(std::move(task));
}

// Returns the request of this member's client that waits for the entry, if there is one.
PendingRequestPtr Replica::NoteCommand(const raft::Entry& entry) {
  if (PendingRequestPtr request = proposals_.TakeCommitted(entry.payload.view())) {
    if (!RAFTKV_MUTANT("ack-before-apply")) return request;
    request->Answer(Fate::kApplied);
    return nullptr;
  }
  if (OriginOf(entry.payload.view()).member_id() != raft::kNobody) return nullptr;
  // An entry without an origin was proposed by a leader itself. There are few, so decoding them
  // here is cheap.
  proto::Command command;
  CHECK(ParseCommand(entry.payload.view(), &command)) << "entry " << entry.id.index;
  if (command.has_record_store_id()) {
    store_ids_.OnCommitted(command.record_store_id());
  } else if (command.has_set_cluster_version() &&
             versions_.OnCommitted(command.set_cluster_version())) {
    outbox_->Report(VersionRaised{versions_.in_force()});
  }
  return nullptr;
}

// Hands the reads over to the applier, which answers them once everything up to the read index is
// applied.
void Replica::NoteRead(const raft::ReadIndexResult& result) {
  if (first_start_.OnReadIndex(result)) return;
  if (result.index == 0) {
    reads_.OnDeclined(result.id);
    next_ask_ = now_ + HeartbeatInterval();
    return;
  }
  for (PendingRequestPtr& read : reads_.TakeConfirmed(result.id)) {
    if (RAFTKV_MUTANT("read-skips-apply-queue")) {
      read->Answer(Fate::kApplied);
    } else {
      hand_over_.reads.push_back({result.index, std::move(read)});
    }
  }
}

void Replica::NoteLeader() {
  if (raft_.leader() == seen_leader_ && raft_.term() == seen_term_) return;
  // If the leader was lost in the same term, there may never be another leader, so what was sent to
  // it is answered now. If the term rose, a majority has answered a candidate, so a new leader soon
  // commits an entry. That entry shows which proposals were lost (OnTermSettled).
  if (raft_.term() == seen_term_) proposals_.OnLeaderIs(raft_.leader(), seen_term_);
  seen_leader_ = raft_.leader();
  seen_term_ = raft_.term();
  store_ids_.OnNewTerm();
  versions_.OnNewTerm();
  lessor_.OnNewTerm();
  audit_.Clear();
  digests_reported_ = false;
  if (!std::exchange(sending_to_, {}).empty()) outbox_->StopSnapshots();
  next_ask_ = next_forward_ = now_;
  if (raft_.role() != raft::Role::kLeader) return;
  RecordStoreId(options_.raft.id, options_.store_id);
  MaybeRaiseVersion();
  leads_from_ = raft_.last_index();
  lessor_.OnLeading(now_ + ElectionTimeout());
}

void Replica::NoteTransfers() {
  std::erase_if(transfers_, [this](const Transfer& transfer) {
    const bool over = raft_.role() == raft::Role::kLeader ? raft_.transferee() != transfer.target
                                                          : raft_.leader() != raft::kNobody;
    if (!over && !transfer.request->answered()) return false;
    transfer.request->Answer(raft_.leader() == transfer.target ? Fate::kApplied : Fate::kTimedOut);
    return true;
  });
}

void Replica::RecordStoreId(raft::MemberId member, const std::string& store_id) {
  // Record only members: another sender may not have joined yet, or may have been removed.
  const std::vector<raft::MemberId>& everyone = raft_.membership().everyone();
  if (!std::binary_search(everyone.begin(), everyone.end(), member)) return;
  const std::optional<proto::Command> command = store_ids_.CommandToRecord(member, store_id);
  if (!command) return;
  if (raft_.Propose(raft::Payload(command->SerializeAsString())) ==
      raft::ProposeResult::kAccepted) {
    store_ids_.OnProposed(command->record_store_id());
  }
}

void Replica::MaybeRaiseVersion() {
  // NoteLeader forgets what was proposed in an earlier term, and then calls this function.
  if (raft_.role() != raft::Role::kLeader || seen_term_ != raft_.term()) return;
  const std::optional<proto::Command> command =
      versions_.CommandToRaise(raft_.membership().everyone());
  if (!command) return;
  if (raft_.Propose(raft::Payload(command->SerializeAsString())) ==
      raft::ProposeResult::kAccepted) {
    versions_.OnProposed(command->set_cluster_version());
  }
}

// The entry carries this leader's term, and no other member proposes it: peers' messages with it
// are rejected (raft_codec.cc).
void Replica::MaybeExpireLeases() {
  // In the turn in which it becomes leader, NoteLeader has not run yet.
  const bool leads = raft_.role() == raft::Role::kLeader && seen_term_ == raft_.term() &&
                     seen_leader_ == options_.raft.id;
  if (!leads || applied_ < leads_from_) return;
  const std::optional<proto::Command> command = lessor_.CommandToExpire(now_, applied_);
  if (!command) return;
  if (raft_.Propose(raft::Payload(command->SerializeAsString())) ==
      raft::ProposeResult::kAccepted) {
    lessor_.OnProposed(raft_.last_index());
  }
}

}  // namespace raftkv
