#ifndef RAFTKV_SERVER_MEMBER_TRANSPORT_H_
#define RAFTKV_SERVER_MEMBER_TRANSPORT_H_

// How a replica speaks to the others: fire and forget. Implemented by server/peer (gRPC) and by the
// simulator's network.
//
// Raft messages may be dropped, delayed, reordered and duplicated; Raft sends again. Forwarded
// proposals may be dropped but are never duplicated, and when their stream breaks the replica is
// told (ForwardLost), because a proposal whose fate is unknown must be answered as such.

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "server/raft/message.h"
#include "server/raft/types.h"
#include "storage/version.h"

namespace raftkv {

// A follower hands its clients' proposal to the leader. `number` is the origin's, increasing, never
// sent twice unless it was refused.
struct ForwardedProposal {
  uint64_t number = 0;
  raft::Payload payload;
  ClusterVersion needs = kFirstVersion;  // storage/version.h
};

// Refused before it was proposed, hence certainly never applied through this message. A proposal
// that was accepted is not answered: its origin sees it applied.
struct ForwardedProposalReply {
  uint64_t number = 0;
  bool too_many_requests = false;
  bool not_understood = false;  // by a leader of another version
};

// First start (design: a wiped disk never votes away acknowledged writes).
struct Hello {};
struct HelloReply {
  bool log_empty = false;         // the sender's log never held an entry
  bool store_id_refused = false;  // the asker's data directory is not the one known for it
};

struct PeerMessage {
  raft::MemberId from = raft::kNobody;
  raft::MemberId to = raft::kNobody;
  std::string store_id;  // the sender's data directory
  std::variant<raft::Message, ForwardedProposal, ForwardedProposalReply, Hello, HelloReply> body;
  ClusterVersion newest_version = kFirstVersion;  // that the sender knows
};

class Transport {
 public:
  virtual ~Transport() = default;
  virtual void Send(PeerMessage message) = 0;
};

}  // namespace raftkv

#endif  // RAFTKV_SERVER_MEMBER_TRANSPORT_H_
