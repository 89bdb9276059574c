#ifndef RAFTKV_SERVER_PEER_REFUSALS_H_
#define RAFTKV_SERVER_PEER_REFUSALS_H_

// Counts what this member refused from its peers, by reason. A new reason is logged at once; after
// that there is at most one line a minute, with the totals, because a misconfigured peer tries again
// several times a second.
//
// Owned by Handshake; on the loop's thread.

#include <cstdint>
#include <map>
#include <string>

#include "absl/time/time.h"

namespace raftkv {

class Refusals {
 public:
  enum class Reason {
    kCluster,    // the sender belongs to another cluster
    kReceiver,   // it is meant for another member
    kSender,     // the sender is no member, or not the one whose address it has
    kStoreId,    // the sender's data directory is not the one that is known for it
    kMalformed,  // the protocol does not allow it
  };

  // `what` is one line: who sent it, what is wrong, and the remedy.
  void Count(Reason reason, const std::string& what, absl::Time now);

  uint64_t total() const;
  uint64_t of(Reason reason) const;

 private:
  std::map<Reason, uint64_t> counts_;
  absl::Time said_ = absl::InfinitePast();
};

}  // namespace raftkv

#endif  // RAFTKV_SERVER_PEER_REFUSALS_H_
