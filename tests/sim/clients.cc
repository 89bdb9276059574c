// World's methods about clients: what they ask, of whom, and what happens with the answers.

#include <string>
#include <utility>

#include "absl/strings/str_format.h"
#include "tests/sim/world.h"

namespace raftkv::sim {

namespace {

std::string KeyName(uint64_t number) { return absl::StrFormat("k%02d", number); }

}  // namespace

// `operation` is the one whose patience ended; 0: the client has thought enough.
void World::OnClientDue(int number, uint64_t operation) {
  Client& client = clients_[number];
  if (client.operation != operation) return;
  client.operation = 0;
  const bool wanted =
      phase_ == Phase::kSafety || history_.acknowledged_writes() < profile_.acknowledged_min;
  if (!wanted && phase_ >= Phase::kServe) return;

  const uint64_t draw = rng_.Below(10);
  const History::Kind kind = draw < 6   ? History::Kind::kPut
                             : draw < 7 ? History::Kind::kDelete
                                        : History::Kind::kRead;
  const int member = SomeMember(/*up=*/true);
  if (member < 0 || members_[member]->dead()) {
    Push(now_ + 1 + rng_.Around(profile_.think), What::kClient, number);
    return;
  }
  client.operation = Ask(member, kind, number);
  Push(now_ + 1 + rng_.Around(profile_.patience), What::kClient, number, 0, client.operation);
}

void World::OnAnswered(uint64_t operation, int number) {
  if (number < 0 || clients_[number].operation != operation) return;
  clients_[number].operation = 0;
  Push(now_ + 1 + rng_.Around(profile_.think), What::kClient, number);
}

uint64_t World::Ask(int number, History::Kind kind, int client) {
  const uint64_t first = rng_.Below(profile_.keys);
  const uint64_t last =
      first + (rng_.Chance(30 * kPercent) ? rng_.Below(profile_.keys - first) : 0);
  const std::string key = KeyName(first);
  const uint64_t operation = history_.Invoke(kind, number, key, KeyName(last) + '\0');
  Member& member = *members_[number];
  if (kind == History::Kind::kRead) {
    member.Post(ReadRequest{[this, operation, number, client](Fate fate) {
      Member& m = *members_[number];
      if (!m.MaySpeak()) return;
      Say(absl::StrFormat("        read %d: %s", operation, FateName(fate)));
      history_.OnRead(operation, fate, m.state_machine());
      if (fate == Fate::kApplied) {
        marks().Hit(m.leads() ? Mark::kReadByLeader : Mark::kReadByFollower);
      }
      OnAnswered(operation, client);
    }});
    return operation;
  }
  proto::Command command;
  if (kind == History::Kind::kPut) {
    command.mutable_put()->set_key(key);
    command.mutable_put()->set_value(MarkedValue(operation, rng_.Below(200)));
    command.mutable_put()->set_prev_kv(rng_.Chance(30 * kPercent));
  } else {
    command.mutable_delete_range()->set_key(key);
    command.mutable_delete_range()->set_range_end(MarkedEnd(KeyName(last), operation));
    command.mutable_delete_range()->set_prev_kv(rng_.Chance(30 * kPercent));
  }
  const bool through_follower = !member.leads();
  member.Post(ProposeRequest{
      command.SerializeAsString(),
      [this, operation, number, client, through_follower](Fate fate, ApplyResult result) {
        if (!members_[number]->MaySpeak()) return;
        Say(absl::StrFormat("        write %d: %s", operation, FateName(fate)));
        history_.OnProposed(operation, fate, result);
        if (fate == Fate::kApplied && through_follower && !members_[number]->leads()) {
          marks().Hit(Mark::kForwarded);
        }
        OnAnswered(operation, client);
      }});
  return operation;
}

}  // namespace raftkv::sim
