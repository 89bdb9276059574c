#ifndef RAFTKV_SERVER_PEER_REJECTIONS_H_
#define RAFTKV_SERVER_PEER_REJECTIONS_H_

// Counts the messages of peers that this member rejected, by reason. Each line is logged once, so
// each peer is named, but at most kLinesMax lines. After that one line with the totals is logged at
// most once a minute, because a misconfigured peer sends several messages a second.
//
// Owned by Handshake; used on the loop's thread.

#include <cstdint>
#include <map>
#include <set>
#include <string>

#include "storage/base/monotonic_time.h"

namespace raftkv {

class Rejections {
 public:
  enum class Reason {
    kCluster,      // from a member of another cluster
    kReceiver,     // addressed to another member
    kSender,       // from an unknown member, or not from the member of this address
    kStoreId,      // from another data directory than the one recorded for the member
    kOlderCopy,    // from an older copy of the member's data directory
    kReplaced,     // from a process of the member that a newer one has replaced
    kRemoved,      // from a member that was removed from the cluster
    kMalformed,    // violates the protocol
    kImplausible,  // no correct member would send it (server/raft/plausibility.cc)
  };

  static constexpr size_t kLinesMax = 32;

  // `what` describes this message in one line: its sender, what is wrong, and the remedy. `why`: a
  // part of it that both members would log. Empty: none.
  void Count(Reason reason, const std::string& what, const std::string& why, MonotonicTime now);
  // A peer has rejected a message of this member. False: this member has logged `why` already.
  bool NoteRejectedBy(const std::string& why, MonotonicTime now);

  uint64_t total() const;
  uint64_t of(Reason reason) const;

 private:
  std::map<Reason, uint64_t> counts_;
  std::set<std::string> logged_;       // `why`, or else `what`
  std::set<std::string> rejected_by_;  // `why` of peers
  MonotonicTime said_ = MonotonicTime::InfinitePast();
};

}  // namespace raftkv

#endif  // RAFTKV_SERVER_PEER_REJECTIONS_H_
