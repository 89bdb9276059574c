#ifndef RAFTKV_SERVER_PEER_REFUSALS_H_
#define RAFTKV_SERVER_PEER_REFUSALS_H_

// What peers sent and this member refused, counted by reason. The log says each reason when it is
// new, and from then on the totals, once a minute at most: a misconfigured peer comes back several
// times a second.
//
// Owned by Peers; on the loop's thread.

#include <cstdint>
#include <map>
#include <string>

#include "absl/time/time.h"

namespace raftkv {

class Refusals {
 public:
  enum class Reason {
    kCluster,    // another cluster's
    kReceiver,   // for another member
    kSender,     // from somebody who is no member, or not the one whose address it has
    kStoreId,    // from a data directory that is not the member's
    kMalformed,  // not what the protocol allows
  };

  // `what` is one line about this one: who sent it, what is wrong, the remedy.
  void Count(Reason reason, const std::string& what, absl::Time now);

  uint64_t total() const;
  uint64_t of(Reason reason) const;

 private:
  std::map<Reason, uint64_t> counts_;
  absl::Time said_ = absl::InfinitePast();
};

}  // namespace raftkv

#endif  // RAFTKV_SERVER_PEER_REFUSALS_H_
