#include "server/member/replica.h"

#include <algorithm>
#include <iterator>
#include <utility>
#include <variant>

#include "glog/logging.h"
#include "proto/parse_command.h"
#include "server/member/origin.h"
#include "storage/base/mutant.h"

namespace raftkv {

namespace {

// The peers that a member with an empty log asks about their logs (first_start.h). A directory that
// was restored from a backup has its voters in the state, whatever the config file has.
std::vector<raft::MemberId> OtherVoters(const raft::Raft& raft, raft::MemberId self) {
  std::vector<raft::MemberId> peers = raft.membership().voters();
  std::erase(peers, self);
  return peers;
}

// What this member publishes about itself (publisher.h).
etcdserverpb::Member SelfOf(const ReplicaOptions& options) {
  etcdserverpb::Member self = options.self;
  self.set_id(options.raft.id);
  return self;
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
      proposals_(options.raft.id, options.boot_id, options.large_bytes),
      members_(state_machine.members()),
      store_ids_(state_machine.store_ids()),
      versions_(state_machine.cluster_version(), options.newest_version, options.raft.id),
      alarms_(state_machine.alarms()),
      revision_(state_machine.revision()),
      first_start_(OtherVoters(raft_, options.raft.id),
                   /*joins=*/options.configuration.voters.empty(), options.base_index, log, &raft_,
                   outbox),
      changes_(options.raft.id, options.first_members, &members_, &store_ids_, &raft_),
      publisher_(SelfOf(options), options.request_timeout),
      space_(options.space),
      space_alarms_(options.raft.id),
      auto_compaction_(options.auto_compaction),
      handed_over_(state_machine.applied().index),
      applied_(handed_over_),
      last_at_start_(log->last_index()),
      settled_term_(state_machine.applied().term) {}

void Replica::Turn(std::vector<Input> inputs, MonotonicTime now, bool may_install) {
  if (now - now_ > ElectionTimeout() && leads()) {
    OnLongPause(now - now_, now + ElectionTimeout());
  }
  now_ = now;
  SendNews();
  peer_lives_.OnTurn(now);
  log_would_stall_ = log_->WouldStall();
  // Makes room for the inputs: some requests were answered since the last tick.
  if (pending_.size() + inputs.size() > options_.pending_max) pending_.ForgetAnswered();

  for (Input& input : inputs) {
    std::visit([this](auto&& i) { Handle(std::move(i)); }, std::move(input));
  }
  NoteSpace();
  // Call this after all inputs were handled: they also name the proposals that were certainly not
  // sent, which must not be answered "unknown".
  for (raft::MemberId peer : std::exchange(forward_lost_, {})) proposals_.OnForwardLost(peer, now_);
  if (arrived_ && may_install) StepSnapshot();
  Tick();
  first_start_.Turn(now);
  while (auto renewal = renewals_.TakeDue(now_)) Handle(*std::move(renewal));
  if (leads()) NoteLeader();  // before it proposes
  ProposeDue();
  StepDownIfFull();
  ProposeWaiting();
  for (MemberChanges::Change& change : changes_.Turn(versions_.in_force(), handed_over_)) {
    Decline(change.from, change.proposal, std::move(change.declined));
  }
  ReportDigests();
  AskReads();
  DrainReady();
  NoteLeader();  // a candidate may have saved its own vote
  NoteLeaderLives();
  transfers_.Note(raft_);
  AskWhetherRemoved();
  outbox_->Flush();
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
    outbox_->Report(LeaderStepsDown{raft_.term(), pause});
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

void Replica::OnState(const Alarms& alarms, Revision revision) {
  revision_ = revision;
  if (alarms == alarms_) return;
  alarms_ = alarms;
  outbox_->Report(AlarmsChanged{&alarms_});
}

// --- inputs

void Replica::Handle(ReadRequest request) {
  if (QueueIsFull()) {
    request.done(Fate::kTooManyRequests);
    return;
  }
  reads_.Add(pending_.Add(std::move(request.done), Deadline(request.caller.deadline)));
}

void Replica::Handle(TransferRequest request) {
  if (QueueIsFull()) return request.done(Fate::kTooManyRequests);
  if (leads() && request.target == options_.raft.id) return request.done(Fate::kApplied);
  switch (raft_.TransferLeadership(request.target)) {
    case raft::TransferResult::kNotLeader:
      return request.done(Fate::kNotLeader);
    case raft::TransferResult::kBadTarget:
      return request.done(Fate::kBadTransferee);
    case raft::TransferResult::kStarted:
      break;
  }
  const MonotonicTime deadline = Deadline(request.caller.deadline);
  transfers_.Add(request.target, pending_.Add(std::move(request.done), deadline));
}

void Replica::Handle(const SpaceReport& report) { space_.OnReport(report); }

void Replica::NoteSpace() {
  const bool was_full = disk_full();
  if (!space_.Update(now_)) return;
  space_alarms_.OnLevelChanged();
  raft_.SetOutOfSpace(disk_full());
  if (disk_full() && !was_full) {
    full_since_ = now_;
    HandOverLeadership();
  }
  outbox_->Report(SpaceChanged{&space_});
}

void Replica::HandOverLeadership() {
  if (leads()) raft_.TransferLeadership(raft_.BestTransferee());
}

void Replica::Handle(const AppendLost& lost) {
  raft_.OnUnreachable(lost.peer);
  contacts_.OnLost(lost.peer);
}

void Replica::Handle(const PeerLost& lost) {
  raft_.OnPeerLost(lost.peer, lost.connection);
  contacts_.OnLost(lost.peer);
}

void Replica::Handle(const ForwardLost& lost) {
  contacts_.OnForwardLost(lost.peer);
  for (uint64_t number : lost.unsent) proposals_.OnUnsent(number, lost.peer);
  if (lost.stopped) {
    proposals_.OnLeaderStopped(lost.peer);
  } else {
    forward_lost_.insert(lost.peer);
  }
}

void Replica::Handle(const ForwardQueueFull& full) {
  proposals_.Fail(full.number, full.peer, Fate::kTooManyRequests);
}

void Replica::Handle(PeerMessage message) {
  if (Rejects(message)) return;
  contacts_.OnHeard(message.from.id, now_);
  versions_.OnHeard(message.from.id, message.from.newest_version);
  if (leads()) RecordStoreId(message.from.id, message.from.store_id);
  std::visit([this, from = message.from.id](auto&& body) { HandleFrom(from, std::move(body)); },
             std::move(message.body));
}

// If a member's data directory is not the one that the cluster knows for it, its votes and
// acknowledgements must not be used: this directory may have forgotten earlier ones.
bool Replica::Rejects(const PeerMessage& message) {
  if (message.to != options_.raft.id) {
    ++rejected_messages_;
    return true;
  }
  if (members_.removed(message.from.id)) return RejectsRemoved(message);
  if (!store_ids_.Differs(message.from.id, message.from.store_id)) return RejectsLife(message);
  ++rejected_messages_;
  if (std::holds_alternative<Hello>(message.body)) {  // so that the sender can log the reason
    outbox_->Send(message.from.id, HelloReply{.store_id_rejected = true});
  }
  outbox_->Report(PeerRejected{message.from.id});
  return true;
}

bool Replica::RejectsLife(const PeerMessage& message) {
  const PeerLives::Verdict verdict =
      peer_lives_.OnHeard(message.from.id, message.from.boot_id, message.from.reached, now_);
  if (verdict == PeerLives::Verdict::kOk) return false;
  ++rejected_messages_;
  const bool older = verdict == PeerLives::Verdict::kOlderCopy;
  // While it was not certain that the sender is an older copy, its Hello got no answer that says
  // so. So its other messages get this answer, too.
  if (older && !std::holds_alternative<HelloReply>(message.body)) {
    outbox_->Send(message.from.id, HelloReply{.forgotten = peer_lives_.reached(message.from.id)});
  }
  outbox_->Report(PeerRejected{
      message.from.id, older ? PeerRejected::Why::kOlderCopy : PeerRejected::Why::kReplaced});
  return true;
}

// Handles a message of a removed member. Returns whether it was rejected.
bool Replica::RejectsRemoved(const PeerMessage& message) {
  // The leader may not have told it yet that its removal is committed (Raft::ForgetRemovedPeers).
  const auto* from_raft = std::get_if<raft::Message>(&message.body);
  if (from_raft != nullptr && from_raft->term == raft_.term() &&
      std::holds_alternative<raft::AppendEntriesReply>(from_raft->body)) {
    return false;
  }
  ++rejected_messages_;
  if (std::holds_alternative<Hello>(message.body)) {
    outbox_->Send(message.from.id, HelloReply{.removed = true});
    outbox_->Report(PeerRejected{message.from.id, PeerRejected::Why::kRemoved});
  } else if (const auto* proposal = std::get_if<ForwardedProposal>(&message.body)) {
    Decline(message.from.id, *proposal, {});
  }
  return true;
}

void Replica::Halt(const Fault& fault) {
  if (fault_ || !fault) return;
  fault_ = fault;
  raft_.Halt();
  outbox_->Report(fault_);
}

void Replica::HandleFrom(raft::MemberId from, raft::Message message) {
  const auto* reply = std::get_if<raft::AppendEntriesReply>(&message.body);
  if (reply != nullptr && reply->success && leads() && message.term == raft_.term() &&
      reply->match <= raft_.last_index()) {
    peer_lives_.OnAcknowledged(from, {message.term, reply->match});
  }
  raft_.Step(std::move(message));
}

void Replica::HandleFrom(raft::MemberId from, const Hello& /*hello*/) {
  const raft::Index base = RAFTKV_MUTANT("restored-log-is-not-empty") ? 0 : options_.base_index;
  outbox_->Send(from, HelloReply{.log_empty = log_->last_index() == base && !log_->lost()});
}

void Replica::HandleFrom(raft::MemberId from, const HelloReply& reply) {
  if (reply.removed) OnRemoved();
  if (reply.forgotten > log_->reached()) {
    Halt({Fault::Kind::kOlderCopy, from, {reply.forgotten.term, reply.forgotten.index}});
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

void Replica::AskReads() {
  const raft::MemberId leader = raft_.leader();
  if (!reads_.due(now_) || leader == raft::kNobody || !contacts_.MayForwardTo(leader)) return;
  // A follower has one read index request in flight; reads that arrive meanwhile join the next one.
  if (leader != options_.raft.id && reads_.asking()) return;
  raft_.ReadIndex(reads_.Ask());
}

void Replica::DrainReady() {
  while (raft_.HasReady()) {
    raft::Ready ready = raft_.TakeReady();
    if (MayWait(ready)) {
      std::move(ready.messages_now.begin(), ready.messages_now.end(), std::back_inserter(news_));
    } else {
      SendAll(&news_);  // appends to a peer must not overtake each other
      SendAll(&ready.messages_now);
    }
    if (RAFTKV_MUTANT("reply-before-save")) SendAll(&ready.messages_after_save);
    for (const raft::MemberId peer : ready.snapshots_to) SendSnapshot(peer);
    if (ready.snapshot) Install(*ready.snapshot);
    if (ready.hard_state || !ready.entries.empty()) {
      outbox_->Flush();  // the save waits for the disk
      log_->Save(ready.hard_state, ready.entries);
    }
    raft_.OnSaved(ready.number);
    SendAll(&ready.messages_after_save);
    if (!ready.committed.empty()) NoteCommitted(std::move(ready.committed));
    for (const raft::ReadIndexResult& read : ready.reads) NoteRead(read);
    for (const raft::Event& event : ready.events) {
      rejected_messages_ += std::holds_alternative<raft::MessageRejected>(event);
      outbox_->Report(event);
      if (const auto* halted = std::get_if<raft::Halted>(&event)) Halt(FaultOf(*halted));
    }
    // Peers that are behind get more in the next turn, so that clients are served between.
    if (!raft_.HasUrgentReady()) break;
  }
}

// Whether the messages may be sent after the answers to the clients. Many entries take longer to
// apply: then the followers shall do so at the same time.
bool Replica::MayWait(const raft::Ready& ready) {
  constexpr size_t kFew = 4;
  return leads() && ready.entries.empty() && !ready.hard_state && !ready.committed.empty() &&
         ready.committed.size() <= kFew;
}

// The news may contain the answer to a read of a follower's client, which Flush sends.
void Replica::SendNews() {
  if (news_.empty()) return;
  SendAll(&news_);
  outbox_->Flush();
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
  if (PendingRequestPtr request = proposals_.TakeCommitted(entry.payload.view(), now_)) {
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

PendingRequestPtr Replica::NoteChange(const raft::Entry& entry) {
  proto::Command command;
  CHECK(ParseCommand(entry.payload.view(), &command)) << "entry " << entry.id.index;
  members_.Apply(command.change_members());
  OnMembers();
  return proposals_.TakeCommitted(entry.payload.view(), now_);
}

void Replica::OnMembers() {
  if (members_.known()) outbox_->Report(MembersChanged{&members_});
  // A later entry of the log may make it a member again (server/force_new_cluster.h).
  const std::vector<raft::MemberId>& everyone = raft_.membership().everyone();
  const bool is_member =
      std::find(everyone.begin(), everyone.end(), options_.raft.id) != everyone.end();
  if (members_.removed(options_.raft.id) && !is_member) OnRemoved();
}

void Replica::OnRemoved() {
  if (std::exchange(removed_, true)) return;
  outbox_->Report(RemovedFromCluster{});
}

// Hands the reads over to the applier, which answers them once everything up to the read index is
// applied.
void Replica::NoteRead(const raft::ReadIndexResult& result) {
  if (first_start_.OnReadIndex(result)) return;
  if (result.index == 0) {
    reads_.OnDeclined(result.id, now_ + HeartbeatInterval());
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
  if (raft_.term() == seen_term_) proposals_.OnLeaderIs(raft_.leader(), seen_term_);
  seen_leader_ = raft_.leader();
  seen_term_ = raft_.term();
  store_ids_.OnNewTerm();
  versions_.OnNewTerm();
  lessor_.OnNewTerm();
  audit_.OnNewTerm();
  if (snapshot_sends_.OnNewTerm()) outbox_->StopSnapshots();
  reads_.OnNewLeader();
  if (!leads()) return;
  RecordStoreId(options_.raft.id, options_.store_id);
  MaybeRaiseVersion();
  leads_from_ = raft_.last_index();
  lessor_.OnLeading(now_ + ElectionTimeout());
}

// A message from the leader shows that the leader lives, unless it was sent before the leader died.
// Such a message is handled within about a heartbeat interval after the leader's connections broke,
// so that interval is subtracted. If this member is slow, such a message may be handled even later.
// Then a client is told "unknown" although the next leader would have decided its request.
void Replica::NoteLeaderLives() {
  const raft::MemberId leader = raft_.leader();
  if (leader == raft::kNobody || leader == options_.raft.id) return;
  proposals_.OnLeaderLives(leader, raft_.term(), contacts_.HeardAt(leader) - HeartbeatInterval());
}

// A leader writes to its disk. So if no other member takes over within an election timeout, a full
// leader steps down.
void Replica::StepDownIfFull() {
  if (!disk_full() || !leads()) return;
  if (now_ - full_since_ < ElectionTimeout()) return;
  outbox_->Report(LeaderStepsDown{raft_.term(), absl::ZeroDuration()});
  raft_.StepDown();
}

// If this member was removed while it was away, it hears from no leader any more. So it asks the
// others.
void Replica::AskWhetherRemoved() {
  if (raft_.leader() != raft::kNobody || leader_seen_ == MonotonicTime::InfinitePast()) {
    leader_seen_ = now_;
  }
  if (now_ - leader_seen_ < ElectionTimeout()) return;
  leader_seen_ = now_;
  for (const raft::MemberId member : raft_.membership().everyone()) {
    if (member != options_.raft.id) outbox_->Send(member, Hello{});
  }
}

std::vector<raft::MemberId> Replica::Silent() const {
  std::vector<raft::MemberId> silent;
  if (raft_.leader() != raft::kNobody) return silent;
  for (const raft::MemberId voter : raft_.membership().voters()) {
    if (voter != options_.raft.id && !contacts_.HearsWithin(voter, 3 * ElectionTimeout(), now_)) {
      silent.push_back(voter);
    }
  }
  return silent;
}

}  // namespace raftkv
