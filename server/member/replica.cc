#include "server/member/replica.h"

#include <algorithm>
#include <utility>

#include "glog/logging.h"
#include "proto/parse_command.h"
#include "server/member/handed_over.h"
#include "server/member/origin.h"
#include "server/member/proposals.h"
#include "server/member/reads.h"
#include "storage/base/mutant.h"

namespace raftkv {

namespace {

constexpr absl::Duration kHelloInterval = absl::Milliseconds(200);
// First start: when the log says whom we wait for, if nothing changes, and how often from then on.
constexpr absl::Duration kFirstWaitingReport = absl::Seconds(2);
constexpr absl::Duration kWaitingReportInterval = absl::Minutes(1);
// A state machine this far behind what is committed gets no more work from clients (as in etcd).
constexpr raft::Index kUnappliedMax = 5000;

}  // namespace

struct Replica::Impl {
  Impl(const ReplicaOptions& options, LogStore* log, const StateMachine* state_machine,
       Transport* transport, std::function<void(ApplyTask)> apply,
       std::function<void(const ReplicaEvent&)> on_event)
      : options(options),
        log(log),
        transport(transport),
        apply(std::move(apply)),
        on_event(std::move(on_event)),
        raft(options.raft, options.configuration, state_machine->applied().index, log),
        proposals(options.raft.id, options.boot_id),
        store_ids(state_machine->store_ids()),
        handed_over_index(state_machine->applied().index),
        applied(handed_over_index) {
    for (raft::MemberId member : options.configuration.voters) {
      if (member != options.raft.id) peers.push_back(member);
    }
    raft.SetVoting(log->may_vote());
    if (!log->may_vote() && peers.empty()) AllowVoting(/*caught_up=*/false);
  }

  // --- what arrives
  void Handle(ReplicaInput input, absl::Time now);
  void HandlePeer(PeerMessage message);
  void HandleRaft(raft::Message message);
  void HandleForwarded(raft::MemberId from, ForwardedProposal proposal);
  void HandleForwardedReply(raft::MemberId from, const ForwardedProposalReply& reply);
  void HandleHelloReply(raft::MemberId from, const HelloReply& reply);
  bool Refuse(const PeerMessage& message);

  // --- the turn
  void Tick(absl::Time now);
  void ProposeWaiting();
  void AskReads(absl::Time now);
  void DrainReady();
  void HandOver(std::vector<raft::Entry> committed);
  void NoteCommitted(const raft::Entry& entry, CommittedTask* task);
  void RecordStoreId(raft::MemberId member, const std::string& store_id);

  // --- first start
  void AllowVoting(bool caught_up);
  void MaybeSayHello(absl::Time now);
  void ReportWaiting();
  size_t hello_answers_needed() const {
    // The members that may hold acknowledged writes without us and without those who answered
    // "empty" must be fewer than a majority: then nothing was ever committed.
    const size_t all = peers.size() + 1;
    return all - (all / 2 + 1) + 1;
  }

  void Send(raft::MemberId to, decltype(PeerMessage::body) body) {
    transport->Send({options.raft.id, to, options.store_id, std::move(body)});
  }
  void Report(const ReplicaEvent& event) {
    if (on_event) on_event(event);
  }
  bool Full() const {
    return proposals.size() + reads.size() + handed_over.size() >= options.pending_max;
  }
  bool HasRoomFor(size_t bytes) const {
    return proposals.size() == 0 || proposals.bytes() + bytes <= options.pending_bytes_max;
  }
  bool FarBehind() const { return raft.commit_index() > applied + kUnappliedMax; }
  bool reachable(raft::MemberId member) const {
    return member == options.raft.id || !lost_peers.contains(member);
  }

  const ReplicaOptions options;
  LogStore* const log;
  Transport* const transport;
  const std::function<void(ApplyTask)> apply;
  const std::function<void(const ReplicaEvent&)> on_event;

  raft::Raft raft;
  Proposals proposals;
  Reads reads;
  HandedOver handed_over;
  std::vector<raft::MemberId> peers;

  std::map<raft::MemberId, std::string> store_ids;  // as committed
  std::map<raft::MemberId, std::string> recording;  // proposed in this term of ours
  std::set<raft::MemberId> lost_peers;  // nothing is handed to them until they are heard of again
  std::set<raft::MemberId> refused_by;  // because of our data directory
  std::set<raft::MemberId> said_empty;
  raft::Index leader_commit = 0;  // as last heard, while we may not vote yet

  raft::Index handed_over_index = 0;  // everything up to here is in the apply queue or behind it
  raft::Index applied = 0;
  raft::Term seen_term = 0;
  raft::MemberId seen_leader = raft::kNobody;

  absl::Time last_turn = absl::InfinitePast();
  absl::Time last_tick = absl::InfinitePast();
  absl::Time last_hello = absl::InfinitePast();
  absl::Time next_waiting_report = absl::InfinitePast();
  absl::Time next_ask = absl::InfinitePast();  // refused questions are not asked again at once
  raft::Term refusing_term = 0;                // its leader proposes nothing any more
  bool refuses_forwarded = false;
  uint64_t refused = 0;
};

// --- what arrives
// ---------------------------------------------------------------------------------

void Replica::Impl::Handle(ReplicaInput input, absl::Time now) {
  if (auto* message = std::get_if<PeerMessage>(&input)) {
    HandlePeer(std::move(*message));
  } else if (auto* request = std::get_if<ProposeRequest>(&input)) {
    if (Full() || FarBehind() || !HasRoomFor(request->command.size())) {
      request->done(Fate::kTooManyRequests, {});
    } else {
      proposals.Add(std::move(*request), now + options.request_timeout);
    }
  } else if (auto* read = std::get_if<ReadRequest>(&input)) {
    if (Full()) {
      read->done(Fate::kTooManyRequests);
    } else {
      reads.Add(std::move(*read), now + options.request_timeout);
    }
  } else if (auto* append_lost = std::get_if<AppendLost>(&input)) {
    raft.OnUnreachable(append_lost->peer);
  } else if (auto* lost = std::get_if<ForwardLost>(&input)) {
    lost_peers.insert(lost->peer);
    for (uint64_t number : lost->unsent) proposals.OnRefused(number, lost->peer);
    proposals.OnForwardLost(lost->peer);
  } else {
    proposals.Fail(std::get<ForwardRefused>(input).number, Fate::kTooManyRequests);
  }
}

void Replica::Impl::HandlePeer(PeerMessage message) {
  if (Refuse(message)) return;
  lost_peers.erase(message.from);
  if (raft.role() == raft::Role::kLeader) RecordStoreId(message.from, message.store_id);

  if (auto* raft_message = std::get_if<raft::Message>(&message.body)) {
    HandleRaft(std::move(*raft_message));
  } else if (auto* proposal = std::get_if<ForwardedProposal>(&message.body)) {
    HandleForwarded(message.from, std::move(*proposal));
  } else if (auto* reply = std::get_if<ForwardedProposalReply>(&message.body)) {
    HandleForwardedReply(message.from, *reply);
  } else if (std::holds_alternative<Hello>(message.body)) {
    Send(message.from, HelloReply{.log_empty = log->last_index() == 0});
  } else {
    HandleHelloReply(message.from, std::get<HelloReply>(message.body));
  }
}

// A member whose data directory is not the one it made its promises on may have forgotten them: its
// votes and acknowledgements must not count.
bool Replica::Impl::Refuse(const PeerMessage& message) {
  if (message.to != options.raft.id) {
    ++refused;
    return true;
  }
  const auto known = store_ids.find(message.from);
  const auto proposed = recording.find(message.from);
  const bool other = (known != store_ids.end() && known->second != message.store_id) ||
                     (proposed != recording.end() && proposed->second != message.store_id);
  if (!other) return false;
  ++refused;
  if (std::holds_alternative<Hello>(message.body)) {  // so that its own log can say it
    Send(message.from, HelloReply{.store_id_refused = true});
  }
  Report(PeerRefused{message.from});
  return true;
}

void Replica::Impl::HandleRaft(raft::Message message) {
  if (const auto* append = std::get_if<raft::AppendEntries>(&message.body)) {
    if (message.term >= raft.term()) leader_commit = append->commit;
  }
  raft.Step(std::move(message));
}

void Replica::Impl::HandleForwarded(raft::MemberId from, ForwardedProposal proposal) {
  const raft::ProposeResult result = refuses_forwarded ? raft::ProposeResult::kNotLeader
                                     : FarBehind()     ? raft::ProposeResult::kTooManyRequests
                                                       : raft.Propose(std::move(proposal.payload));
  if (result == raft::ProposeResult::kAccepted) return;
  Send(from, ForwardedProposalReply{
                 .number = proposal.number,
                 .too_many_requests = result == raft::ProposeResult::kTooManyRequests});
}

void Replica::Impl::HandleForwardedReply(raft::MemberId from, const ForwardedProposalReply& reply) {
  if (reply.not_understood) {
    proposals.Fail(reply.number, Fate::kNotUnderstood);
  } else if (reply.too_many_requests) {
    proposals.Fail(reply.number, Fate::kTooManyRequests);
  } else {
    refusing_term = std::max(refusing_term, proposals.OnRefused(reply.number, from));
  }
}

void Replica::Impl::HandleHelloReply(raft::MemberId from, const HelloReply& reply) {
  if (log->may_vote() || std::find(peers.begin(), peers.end(), from) == peers.end()) return;
  if (!reply.store_id_refused) {
    refused_by.erase(from);
  } else if (refused_by.insert(from).second && refused_by.size() == 1) {
    Report(RefusedByPeer{from});
  }
  const bool changed =
      reply.log_empty ? said_empty.insert(from).second : said_empty.erase(from) > 0;
  if (!changed) return;
  if (said_empty.size() >= hello_answers_needed()) {
    AllowVoting(/*caught_up=*/false);
  } else {
    ReportWaiting();
  }
}

// --- the turn
// -------------------------------------------------------------------------------------

void Replica::Impl::Tick(absl::Time now) {
  if (last_tick == absl::InfinitePast()) last_tick = now;
  const int64_t elapsed = (now - last_tick) / options.tick;
  if (elapsed <= 0) return;
  last_tick += elapsed * options.tick;
  // After a pause of this process the others deserve to be heard before we call an election.
  raft.Tick(static_cast<int>(std::min<int64_t>(elapsed, options.raft.heartbeat_ticks)));

  proposals.Expire(now);
  reads.Expire(now);
  handed_over.Expire(now);
}

void Replica::Impl::ProposeWaiting() {
  const raft::MemberId leader = raft.leader();
  if (leader == raft::kNobody || !reachable(leader) || raft.term() == refusing_term) return;
  while (auto next = proposals.TakeWaiting(leader, raft.term())) {
    if (leader != options.raft.id) {
      Send(leader, ForwardedProposal{next->number, std::move(next->payload)});
      continue;
    }
    switch (raft.Propose(std::move(next->payload))) {
      case raft::ProposeResult::kAccepted:
        break;
      case raft::ProposeResult::kTooManyRequests:
        proposals.Fail(next->number, Fate::kTooManyRequests);
        break;
      case raft::ProposeResult::kNotLeader:
        proposals.OnRefused(next->number, leader);
        return;
    }
  }
}

void Replica::Impl::AskReads(absl::Time now) {
  const raft::MemberId leader = raft.leader();
  if (!reads.waiting() || leader == raft::kNobody || !reachable(leader) || now < next_ask) return;
  // A follower has one question on its way; reads that arrive meanwhile join the next.
  if (leader != options.raft.id && reads.asking()) return;
  raft.ReadIndex(reads.Ask());
}

void Replica::Impl::DrainReady() {
  while (raft.HasReady()) {
    raft::Ready ready = raft.TakeReady();
    for (raft::Message& m : ready.messages_now) {
      const raft::MemberId to = m.to;
      Send(to, std::move(m));
    }
    if (RAFTKV_MUTANT("reply-before-save")) {
      for (const raft::Message& m : ready.messages_after_save) Send(m.to, m);
      ready.messages_after_save.clear();
    }
    if (ready.hard_state || !ready.entries.empty()) log->Save(ready.hard_state, ready.entries);
    raft.OnSaved(ready.number);
    for (raft::Message& m : ready.messages_after_save) {
      const raft::MemberId to = m.to;
      Send(to, std::move(m));
    }
    if (!ready.committed.empty()) HandOver(std::move(ready.committed));
    for (const raft::ReadIndexResult& read : ready.reads) {
      reads.OnAnswer(read.id, read.index);
      if (read.index == 0) next_ask = last_turn + options.tick * options.raft.heartbeat_ticks;
    }
    for (const raft::Event& event : ready.events) Report(event);
  }

  std::vector<Reads::Read> confirmed =
      reads.TakeConfirmed(RAFTKV_MUTANT("read-skips-apply-queue") ? UINT64_MAX : handed_over_index);
  if (confirmed.empty()) return;
  if (RAFTKV_MUTANT("read-skips-apply-queue")) {
    for (Reads::Read& read : confirmed) read.done(Fate::kApplied);
    return;
  }
  ReadTask task;
  for (Reads::Read& read : confirmed) {
    task.dones.push_back(handed_over.Watch(std::move(read.done), read.deadline));
  }
  apply(std::move(task));
}

void Replica::Impl::HandOver(std::vector<raft::Entry> committed) {
  CHECK_EQ(committed.front().id.index, handed_over_index + 1) << "a committed entry was skipped";
  handed_over_index = committed.back().id.index;
  CommittedTask task;
  for (const raft::Entry& entry : committed) {
    if (entry.type == raft::EntryType::kCommand) NoteCommitted(entry, &task);
  }
  task.entries = std::move(committed);
  apply(std::move(task));
}

void Replica::Impl::NoteCommitted(const raft::Entry& entry, CommittedTask* task) {
  if (auto ours = proposals.TakeCommitted(entry.payload.view())) {
    if (RAFTKV_MUTANT("ack-before-apply")) {
      ours->done(Fate::kApplied, {});
      return;
    }
    task->dones.emplace_back(entry.id.index,
                             handed_over.Watch(std::move(ours->done), ours->deadline));
    return;
  }
  if (OriginOf(entry.payload.view()).member_id() != raft::kNobody) return;
  // Nobody's command is the leader's own: rare, so decoding it here costs nothing.
  proto::Command command;
  CHECK(ParseCommand(entry.payload.view(), &command)) << "entry " << entry.id.index;
  if (command.has_record_store_id()) {
    const auto& record = command.record_store_id();
    store_ids.emplace(record.member_id(), record.store_id());  // the first one stands
  }
}

void Replica::Impl::RecordStoreId(raft::MemberId member, const std::string& store_id) {
  if (store_ids.contains(member) || recording.contains(member) || store_id.empty()) return;
  proto::Command command;
  command.mutable_record_store_id()->set_member_id(member);
  command.mutable_record_store_id()->set_store_id(store_id);
  if (raft.Propose(raft::Payload(command.SerializeAsString())) == raft::ProposeResult::kAccepted) {
    recording.emplace(member, store_id);
  }
}

// --- first start
// ----------------------------------------------------------------------------------

void Replica::Impl::AllowVoting(bool caught_up) {
  log->AllowVoting();  // survives before the first vote
  raft.SetVoting(true);
  Report(VotingAllowed{caught_up});
}

void Replica::Impl::MaybeSayHello(absl::Time now) {
  if (log->may_vote()) return;
  // A new leader's commit index may be old until an entry of its own term is committed; only then
  // it covers everything that was ever acknowledged.
  const raft::Index commit = raft.commit_index();
  if (raft.leader() != raft::kNobody && commit >= std::max<raft::Index>(leader_commit, 1) &&
      commit <= log->last_index() && log->TermAt(commit) == raft.term()) {
    AllowVoting(/*caught_up=*/true);
    return;
  }
  if (now - last_hello < kHelloInterval) return;
  if (last_hello == absl::InfinitePast()) next_waiting_report = now + kFirstWaitingReport;
  last_hello = now;
  for (raft::MemberId peer : peers) Send(peer, Hello{});
  if (now >= next_waiting_report) ReportWaiting();
}

void Replica::Impl::ReportWaiting() {
  next_waiting_report = last_turn + kWaitingReportInterval;
  if (!refused_by.empty()) return;  // nobody's answer would help
  WaitingForPeers waiting;
  for (raft::MemberId peer : peers) {
    if (!said_empty.contains(peer)) waiting.missing.push_back(peer);
  }
  waiting.needed = hello_answers_needed() - said_empty.size();
  Report(waiting);
}

// --- the surface
// ----------------------------------------------------------------------------------

Replica::Replica(const ReplicaOptions& options, LogStore* log, const StateMachine* state_machine,
                 Transport* transport, std::function<void(ApplyTask)> apply,
                 std::function<void(const ReplicaEvent&)> on_event)
    : impl_(std::make_unique<Impl>(options, log, state_machine, transport, std::move(apply),
                                   std::move(on_event))) {}

Replica::~Replica() = default;

void Replica::Turn(std::vector<ReplicaInput> inputs, absl::Time now) {
  Impl& r = *impl_;
  // A turn that comes an election timeout late (a stalled save, a stopped process): others have a
  // new leader by now. Step down before anything else.
  const absl::Duration election_timeout = r.options.tick * r.options.raft.election_timeout_ticks;
  if (now - r.last_turn > election_timeout && r.raft.role() == raft::Role::kLeader) {
    r.raft.StepDown();
  }
  r.last_turn = now;
  if (r.Full()) r.handed_over.Expire(now);  // forgets what was answered since the last tick

  for (ReplicaInput& input : inputs) r.Handle(std::move(input), now);
  r.Tick(now);
  r.MaybeSayHello(now);
  r.ProposeWaiting();
  r.AskReads(now);
  r.DrainReady();

  if (r.raft.leader() != r.seen_leader || r.raft.term() != r.seen_term) {
    r.seen_leader = r.raft.leader();
    r.seen_term = r.raft.term();
    r.recording.clear();
    r.next_ask = now;
    r.proposals.OnLeaderIs(r.seen_leader, r.seen_term);
    if (r.raft.role() == raft::Role::kLeader) {
      r.RecordStoreId(r.options.raft.id, r.options.store_id);
    }
  }
}

void Replica::OnApplied(raft::Index index) {
  impl_->applied = index;
  impl_->raft.OnApplied(index);
}

void Replica::RefuseForwarded() { impl_->refuses_forwarded = true; }

void Replica::Stop() {
  impl_->proposals.Stop();
  impl_->reads.Stop();
  impl_->handed_over.Stop();
}

raft::Status Replica::status() const { return impl_->raft.status(); }
raft::MemberId Replica::leader() const { return impl_->raft.leader(); }
raft::Term Replica::term() const { return impl_->raft.term(); }
bool Replica::may_vote() const { return impl_->log->may_vote(); }
size_t Replica::pending() const { return impl_->proposals.size() + impl_->reads.size(); }
uint64_t Replica::refused() const { return impl_->refused; }
bool Replica::refused_by_peers() const {
  return !impl_->refused_by.empty() && !impl_->log->may_vote();
}
const raft::Raft& Replica::raft() const { return impl_->raft; }

}  // namespace raftkv
