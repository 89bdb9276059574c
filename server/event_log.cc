#include "server/event_log.h"

#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/str_format.h"
#include "config/url.h"
#include "server/clock.h"

namespace raftkv {

namespace {

// Where the other members are reached, as the log has it. Of several peer URLs the first one is
// used.
std::vector<PeerAddress> Addresses(const Members& members, raft::MemberId self) {
  std::vector<PeerAddress> addresses;
  for (const auto& [id, member] : members.all()) {
    if (id == self) continue;
    const std::string name =
        !member.info.name().empty() ? member.info.name() : absl::StrFormat("member %x", id);
    const bool known = member.info.peerurls_size() > 0 && IsUrl(member.info.peerurls(0));
    addresses.push_back({id, name, known ? HostPort(member.info.peerurls(0)) : ""});
  }
  return addresses;
}

}  // namespace

EventLog::EventLog(LogEvent log, Peers* peers, raft::MemberId self,
                   std::function<void()> on_removed)
    : log_(std::move(log)), peers_(peers), self_(self), on_removed_(std::move(on_removed)) {}

void EventLog::OnEvent(const ReplicaEvent& event) {
  if (const auto* changed = std::get_if<MembersChanged>(&event)) {
    peers_->SetPeers(Addresses(*changed->members, self_));
  }
  if (const auto* rejected = std::get_if<PeerRejected>(&event)) {
    return peers_->OnPeerRejected(*rejected);  // counts the messages, and logs some
  }
  const auto* raft_event = std::get_if<raft::Event>(&event);
  const auto* message =
      raft_event == nullptr ? nullptr : std::get_if<raft::MessageRejected>(raft_event);
  if (message != nullptr) {
    peers_->OnMessageRejected(message->from, message->why);  // likewise
  } else {
    log_(event, MonotonicNow());
  }
  // At the end: the cause is logged before the stop.
  if (std::holds_alternative<RemovedFromCluster>(event)) on_removed_();
}

}  // namespace raftkv
