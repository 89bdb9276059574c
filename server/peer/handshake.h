#ifndef RAFTKV_SERVER_PEER_HANDSHAKE_H_
#define RAFTKV_SERVER_PEER_HANDSHAKE_H_

// The sender and the receiver of messages between members (proto::Peer). Every unary request and
// response carries it, and the first message of each direction of a stream. A message that is not
// meant for this member, or comes from another cluster, is rejected and counted (rejections.h). A
// sender may be unknown to this member, because this log may lack the entry that added the sender
// (thesis §4.1). The number of such unknown senders is bounded.
//
// Owned by Peers; used on the loop's thread.

#include <algorithm>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "proto/raft.pb.h"
#include "server/member/transport.h"
#include "server/peer/rejections.h"
#include "server/raft/types.h"

namespace raftkv {

inline constexpr size_t kStrangersMax = 16;

class Handshake {
 public:
  struct Member {
    std::string name;
    std::string address;  // host:port
  };
  // `self`: this process as a sender. `peers` are the other members. `listed`: what this member's
  // config file says (HelloRequest, without `peer`).
  Handshake(uint64_t cluster_id, Sender self, std::map<raft::MemberId, Member> peers,
            proto::HelloRequest listed)
      : cluster_id_(cluster_id),
        self_(std::move(self)),
        peers_(std::move(peers)),
        listed_(std::move(listed)) {}

  void SetPeers(std::map<raft::MemberId, Member> peers) {
    peers_ = std::move(peers);
    strangers_.clear();
  }

  proto::Peer Introduction(raft::MemberId to) const;
  // How far this member's log has come, for later introductions.
  void SetReached(const raft::Reached& reached) { self_.reached = reached; }

  // Checks the introduction of a request. If the result is not OK, the call ends with it.
  absl::Status Check(const proto::Peer& who) { return Check(who, {}); }
  // The same for a request that also says what the sender's config file says.
  absl::Status Check(const proto::HelloRequest& hello) { return Check(hello.peer(), hello); }
  // Checks the introduction of an answer from `to`. False: another process answers at its address.
  bool CheckAnswer(raft::MemberId to, const proto::Peer& who);

  // A peer of the first release does not send its newest version.
  static Sender SenderOf(const proto::Peer& who) {
    return {who.from(),
            who.store_id(),
            std::max(who.newest_cluster_version(), kFirstVersion),
            who.boot_id(),
            {who.reached_term(), who.reached_index()}};
  }

  // `why`: as in Rejections.
  void Count(Rejections::Reason reason, const std::string& what, const std::string& why = "");
  // A peer has rejected a message of this member. False: this member has logged `why` already.
  bool NoteRejectedBy(const std::string& why);
  const Rejections& rejections() const { return rejections_; }
  const proto::HelloRequest& listed() const { return listed_; }

 private:
  absl::Status Check(const proto::Peer& who, const proto::HelloRequest& hello);
  std::string OtherCluster(const proto::Peer& who, const std::string& difference) const;

  const uint64_t cluster_id_;
  Sender self_;
  std::map<raft::MemberId, Member> peers_;
  const proto::HelloRequest listed_;
  std::set<raft::MemberId> strangers_;
  Rejections rejections_;
};

}  // namespace raftkv

#endif  // RAFTKV_SERVER_PEER_HANDSHAKE_H_
