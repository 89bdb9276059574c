#include "server/member/inbox.h"

#include <variant>

namespace raftkv {

namespace {

// The bytes that a client or a peer sent. std::visit needs a function for each kind of input and
// message, so a new kind cannot be forgotten here.

struct BodyBytes {
  size_t operator()(const raft::AppendEntries& append) const {
    size_t bytes = 0;
    for (const raft::Entry& entry : append.entries) bytes += raft::EntryBytes(entry);
    return bytes;
  }
  size_t operator()(const raft::RequestVote&) const { return 0; }
  size_t operator()(const raft::RequestVoteReply&) const { return 0; }
  size_t operator()(const raft::AppendEntriesReply&) const { return 0; }
  size_t operator()(const raft::ReadIndexRequest&) const { return 0; }
  size_t operator()(const raft::ReadIndexReply&) const { return 0; }
  size_t operator()(const raft::InstallSnapshot&) const { return 0; }
  size_t operator()(const raft::TimeoutNow&) const { return 0; }
  size_t operator()(const ForwardedProposal& proposal) const { return proposal.payload.size(); }
  size_t operator()(const raft::Message& message) const { return std::visit(*this, message.body); }
  size_t operator()(const ForwardedProposalReply&) const { return 0; }
  size_t operator()(const Hello&) const { return 0; }
  size_t operator()(const HelloReply&) const { return 0; }
  size_t operator()(const DigestReport&) const { return 0; }
  size_t operator()(const Diverged&) const { return 0; }
};

struct InputBytes {
  size_t operator()(const ProposeRequest& request) const { return request.command.size(); }
  size_t operator()(const PeerMessage& message) const {
    return std::visit(BodyBytes(), message.body);
  }
  size_t operator()(const ReadRequest&) const { return 0; }
  size_t operator()(const RenewRequest&) const { return 0; }
  size_t operator()(const TransferRequest&) const { return 0; }
  size_t operator()(const AppendLost&) const { return 0; }
  size_t operator()(const PeerLost&) const { return 0; }
  size_t operator()(const ForwardLost&) const { return 0; }
  size_t operator()(const ForwardQueueFull&) const { return 0; }
  size_t operator()(const SnapshotArrived&) const { return 0; }
  size_t operator()(const SnapshotSent&) const { return 0; }
  size_t operator()(const SpaceReport&) const { return 0; }
};

// Ends an input for which there is no space: a client's request is answered, and a peer's message
// is dropped. False: it must be accepted nevertheless, because it reports something that is not
// sent again.
struct Drop {
  bool operator()(ProposeRequest& request) const {
    request.done(Fate::kTooManyRequests, {});
    return true;
  }
  bool operator()(ReadRequest& request) const {
    request.done(Fate::kTooManyRequests);
    return true;
  }
  bool operator()(RenewRequest& request) const {
    request.done(Fate::kTooManyRequests, {});
    return true;
  }
  bool operator()(TransferRequest& request) const {
    request.done(Fate::kTooManyRequests);
    return true;
  }
  bool operator()(PeerMessage&) const { return true; }
  bool operator()(AppendLost&) const { return false; }
  bool operator()(PeerLost&) const { return false; }
  bool operator()(ForwardLost&) const { return false; }
  bool operator()(ForwardQueueFull&) const { return false; }
  bool operator()(SnapshotArrived&) const { return false; }
  bool operator()(SnapshotSent&) const { return false; }
  bool operator()(SpaceReport&) const { return true; }  // the next one follows soon
};

}  // namespace

void Inbox::Post(Input input) {
  const size_t bytes = std::visit(InputBytes(), input);
  const bool full = !inputs_.empty() && (inputs_.size() >= kItemsMax || bytes_ + bytes > kBytesMax);
  if (full && std::visit(Drop(), input)) return;
  bytes_ += bytes;
  inputs_.push_back(std::move(input));
}

}  // namespace raftkv
