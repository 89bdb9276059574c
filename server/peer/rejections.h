#ifndef RAFTKV_SERVER_PEER_REJECTIONS_H_
#define RAFTKV_SERVER_PEER_REJECTIONS_H_

// Counts the messages of peers that this member rejected, by reason. The first message of each
// reason is logged. After that the totals are logged at most once a minute, because a misconfigured
// peer sends several messages a second.
//
// Owned by Handshake; used on the loop's thread.

#include <cstdint>
#include <map>
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
    kMalformed,    // violates the protocol
    kImplausible,  // no correct member would send it (server/raft/plausibility.cc)
  };

  // `what` describes this message in one line: its sender, what is wrong, and the remedy.
  void Count(Reason reason, const std::string& what, MonotonicTime now);

  uint64_t total() const;
  uint64_t of(Reason reason) const;

 private:
  std::map<Reason, uint64_t> counts_;
  MonotonicTime said_ = MonotonicTime::InfinitePast();
};

}  // namespace raftkv

#endif  // RAFTKV_SERVER_PEER_REJECTIONS_H_
