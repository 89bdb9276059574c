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
#include "server/peer/rejections.h"
#include "server/raft/types.h"
#include "storage/rules/version.h"

namespace raftkv {

inline constexpr size_t kStrangersMax = 16;

// The sender of a message, as named in its introduction.
struct Sender {
  raft::MemberId id = raft::kNobody;
  std::string store_id;                           // of its data directory
  ClusterVersion newest_version = kFirstVersion;  // the newest version that it knows
  uint64_t boot_id = 0;                           // of its process; 0: not known
  raft::Reached reached;                          // how far its log has ever come
  uint64_t connection = 0;  // the number of the stream, on streams that peers opened; else 0
};

class Handshake {
 public:
  struct Member {
    std::string name;
    std::string address;  // host:port
  };
  // `peers` are the other members. `listed`: what this member's config file says (HelloRequest,
  // without `peer`).
  Handshake(uint64_t cluster_id, raft::MemberId self, std::string store_id, uint64_t boot_id,
            ClusterVersion newest_version, std::map<raft::MemberId, Member> peers,
            proto::HelloRequest listed)
      : cluster_id_(cluster_id),
        self_(self),
        store_id_(std::move(store_id)),
        boot_id_(boot_id),
        newest_version_(newest_version),
        peers_(std::move(peers)),
        listed_(std::move(listed)) {}

  void SetPeers(std::map<raft::MemberId, Member> peers) {
    peers_ = std::move(peers);
    strangers_.clear();
  }

  proto::Peer Introduction(raft::MemberId to) const;
  // How far this member's log has come, for later introductions.
  void SetReached(const raft::Reached& reached) { reached_ = reached; }

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

  void Count(Rejections::Reason reason, const std::string& what);
  const Rejections& rejections() const { return rejections_; }
  const proto::HelloRequest& listed() const { return listed_; }

 private:
  absl::Status Check(const proto::Peer& who, const proto::HelloRequest& hello);
  std::string OtherCluster(const proto::HelloRequest& hello) const;

  const uint64_t cluster_id_;
  const raft::MemberId self_;
  const std::string store_id_;
  const uint64_t boot_id_;
  raft::Reached reached_;
  const ClusterVersion newest_version_;
  std::map<raft::MemberId, Member> peers_;
  const proto::HelloRequest listed_;
  std::set<raft::MemberId> strangers_;
  Rejections rejections_;
};

}  // namespace raftkv

#endif  // RAFTKV_SERVER_PEER_HANDSHAKE_H_
