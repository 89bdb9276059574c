// The methods of World about clients: which requests they send, to which member, and what happens
// with the answers.

#include <iterator>
#include <string>
#include <utility>

#include "absl/strings/str_format.h"
#include "tests/sim/world.h"

namespace raftkv::sim {

// `operation` is the request for which the client no longer waits. 0: the client's pause between
// two requests is over.
void World::OnClientDue(int number, uint64_t operation) {
  Client& client = clients_[number];
  if (client.operation != operation) return;
  client.operation = 0;
  const bool wanted =
      phase_ == Phase::kSafety || history_.acknowledged_writes() < profile_.acknowledged_min;
  if (!wanted && phase_ >= Phase::kServe) return;

  Wish wish = Wish::kRead;
  if (rng_.Chance(profile_.compact)) {
    wish = Wish::kCompact;
  } else if (rng_.Chance(profile_.alarm)) {
    wish = Wish::kAlarm;
  } else if (rng_.Chance(profile_.lease)) {
    const uint64_t draw = rng_.Below(20);
    wish = draw < 8 ? Wish::kGrant : draw < 18 ? Wish::kRenew : Wish::kRevoke;
  } else if (const uint64_t draw = rng_.Below(20); draw < 8) {
    wish = Wish::kPut;
  } else if (draw < 15) {
    wish = draw < 10 ? Wish::kDelete : draw < 12 ? Wish::kSwap : Wish::kTxn;
  }
  const int member = SomeMember(/*up=*/true);
  // Clients mostly know which machines are members.
  const bool known = member >= 0 && (TakesPart(member) || rng_.Chance(20 * kPercent));
  if (!known || members_[member]->dead() || members_[member]->phase() != raftkv::Phase::kServing) {
    Push(now_ + 1 + rng_.Around(profile_.think), What::kClient, number);
    return;
  }
  client.operation = AskInSession(member, wish, number);
  // Who can repeat a write safely does so sooner.
  const Micros patience = profile_.patience / (client.session.first != 0 ? 4 : 1);
  Push(now_ + 1 + rng_.Around(patience), What::kClient, number, 0, client.operation);
}

void World::OnAnswered(uint64_t operation, int number) {
  if (number < 0 || clients_[number].operation != operation) return;
  clients_[number].operation = 0;
  Push(now_ + 1 + rng_.Around(profile_.think), What::kClient, number);
}

// A keep-alive is not an operation of the history, because it shares its entry with others. The
// model checks what the entry does. The lease checker checks that the lease lives longer.
uint64_t World::Renew(int number, int client) {
  constexpr uint64_t kRenewal = uint64_t{1} << 62;
  const uint64_t operation = kRenewal + ++renewals_;
  const int64_t session = client >= 0 ? clients_[client].session.lease : 0;
  const int64_t lease = session != 0 && rng_.Chance(70 * kPercent) ? session : requests_.Lease();
  members_[number]->Post(RenewRequest{
      .id = lease, .done = [this, operation, number, client, lease](Fate fate, Renewal renewal) {
        if (!members_[number]->MaySpeak()) return;
        Say(absl::StrFormat("        renewal of lease %d: %s, %d s", lease, FateName(fate),
                            renewal.ttl));
        if (fate != Fate::kApplied) marks().Hit(Mark::kRenewalLost);
        OnAnswered(operation, client);
      }});
  return operation;
}

// Ends alarms more often than it raises them. No client raises one in the liveness phase.
proto::Command World::AlarmChange() {
  const auto& alarms = ledger_.model().alarms();
  const bool raises = alarms.empty() || rng_.Chance(30 * kPercent);
  if (raises && phase_ == Phase::kSafety) return requests_.AlarmRaised();
  proto::Command command;
  etcdserverpb::AlarmRequest& request = *command.mutable_change_alarm()->mutable_request();
  request.set_action(etcdserverpb::AlarmRequest::DEACTIVATE);
  if (alarms.empty()) return command;
  const auto alarm = std::next(alarms.begin(), rng_.Below(alarms.size()));
  request.set_alarm(static_cast<etcdserverpb::AlarmType>(alarm->first.first));
  request.set_memberid(alarm->first.second);
  return command;
}

uint64_t World::Ask(int number, Wish wish, int client) {
  Member& member = *members_[number];
  if (wish == Wish::kRenew) return Renew(number, client);
  if (wish == Wish::kRead) {
    const ReadQuery query = requests_.Read();
    const bool searched = Requests::IsSearched(query);
    const uint64_t operation = history_.Invoke(number, query);
    if (searched) search_.StartRead(operation);
    member.Post(ReadRequest{[this, operation, number, client, searched](Fate fate) {
      Member& m = *members_[number];
      if (!m.MaySpeak()) return;
      Say(absl::StrFormat("        read %d: %s", operation, FateName(fate)));
      history_.OnRead(operation, fate, m.state_machine());
      if (searched && fate == Fate::kApplied) {
        search_.EndRead(operation, Requests::SearchedValue(m.state_machine()));
      }
      if (fate == Fate::kApplied) {
        if (m.phase() != raftkv::Phase::kServing) marks().Hit(Mark::kStopFinished);
        marks().Hit(m.leads() ? Mark::kReadByLeader : Mark::kReadByFollower);
      }
      OnAnswered(operation, client);
    }});
    return operation;
  }
  return Propose(number, CommandOf(wish), client);
}

proto::Command World::CommandOf(Wish wish) {
  switch (wish) {
    case Wish::kPut:
      return requests_.Put();
    case Wish::kDelete:
      return requests_.Delete();
    case Wish::kSwap:
      return requests_.Swap();
    case Wish::kTxn:
      return requests_.Txn();
    case Wish::kCompact:
      return requests_.Compaction();
    case Wish::kGrant:
      return requests_.LeaseGrant();
    case Wish::kRevoke:
      return requests_.LeaseRevoke();
    case Wish::kAlarm:
      return AlarmChange();
    case Wish::kRenew:
    case Wish::kRead:
      break;
  }
  LOG(FATAL) << "not a wish for a command";
}

// A client opens a session, and writes in it. It mostly sends a write again, at any member, until
// it has an answer. No two sessions have the same lease.
uint64_t World::AskInSession(int number, Wish wish, int client) {
  constexpr int64_t kFirstLease = 1000;
  const bool write =
      wish == Wish::kPut || wish == Wish::kDelete || wish == Wish::kSwap || wish == Wish::kTxn;
  if (profile_.session == 0 || !write || !rng_.Chance(profile_.session)) {
    return Ask(number, wish, client);
  }
  ClientSession& session = clients_[client].session;
  if (session.lease == 0) {
    session.lease = kFirstLease + sessions_++;
    proto::Command grant;
    grant.mutable_lease_grant()->set_id(session.lease);
    grant.mutable_lease_grant()->set_ttl(rng_.Between(2, 4));
    return Propose(number, std::move(grant), client);
  }
  if (rng_.Chance(20 * kPercent)) return Renew(number, client);
  if (session.first != 0 && rng_.Chance(75 * kPercent)) {
    return Propose(number, session.last, client, session.first);
  }
  proto::Command command = CommandOf(wish);
  if (Requests::IsSearched(command)) return Propose(number, std::move(command), client);
  if (rng_.Chance(60 * kPercent)) session.acked = session.seq;
  command.mutable_session()->set_lease_id(session.lease);
  command.mutable_session()->set_seq(++session.seq);
  command.mutable_session()->set_acked(session.acked);
  session.last = command;
  session.first = history_.next();
  return Propose(number, std::move(command), client);
}

void World::OnSessionAnswer(int client, const proto::Session& asked, const ApplyResult& result) {
  ClientSession& session = clients_[client].session;
  if (session.lease != asked.lease_id() || session.seq != asked.seq()) return;
  if (result.response.decided()) {
    session.first = 0;
  } else if (absl::IsFailedPrecondition(result.status)) {
    session = {};  // expired
  }
}

// `first`: the operation that has sent this command of a session before; 0: none.
uint64_t World::Propose(int number, proto::Command command, int client, uint64_t first) {
  Member& member = *members_[number];
  const bool searched = Requests::IsSearched(command);
  const uint64_t operation = history_.Invoke(number, &command, first);
  if (searched) search_.StartWrite(operation, command.has_put() ? operation : 0);
  const bool through_follower = !member.leads();
  ProposeRequest request{
      .command = command.SerializeAsString(), .done = {}, .needs = Needs(command)};
  if (client >= 0 && rng_.Chance(profile_.gives_up)) {
    // When the patience of this client ends, it closes the call. Half of these clients also send a
    // deadline.
    request.caller.gone = [this, operation, client] {
      return clients_[client].operation != operation;
    };
    if (rng_.Chance(50 * kPercent)) {
      request.caller.deadline = clock_of(number) + absl::Microseconds(profile_.patience);
    }
  }
  request.done = [this, operation, number, client, through_follower, searched,
                  session = command.session()](Fate fate, ApplyResult result) {
    if (!members_[number]->MaySpeak()) return;
    if (client >= 0 && fate == Fate::kTimedOut && clients_[client].operation != operation) {
      marks().Hit(Mark::kClientGone);
    }
    Say(absl::StrFormat("        write %d: %s", operation, FateName(fate)));
    history_.OnProposed(operation, fate, result);
    const bool applied = fate == Fate::kApplied, effect = applied && result.status.ok();
    if (searched && effect) search_.EndWrite(operation);
    if (searched && !effect && (applied || !fate.proposed)) search_.Drop(operation);
    if (fate == Fate::kApplied && members_[number]->phase() != raftkv::Phase::kServing) {
      marks().Hit(Mark::kStopFinished);
    }
    if (fate == Fate::kApplied && through_follower && !members_[number]->leads()) {
      marks().Hit(Mark::kForwarded);
    }
    if (client >= 0 && fate == Fate::kApplied) OnSessionAnswer(client, session, result);
    OnAnswered(operation, client);
  };
  member.Post(std::move(request));
  return operation;
}

}  // namespace raftkv::sim
