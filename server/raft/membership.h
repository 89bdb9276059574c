#ifndef RAFTKV_SERVER_RAFT_MEMBERSHIP_H_
#define RAFTKV_SERVER_RAFT_MEMBERSHIP_H_

// Who takes part, as far as this member's log says. The issue that brings membership changes makes
// this a stack of (index, configuration): a change takes effect when appended (thesis §4.1). It
// decides whom we count and to whom we send, never whom we answer.

#include <vector>

#include "server/raft/types.h"

namespace raftkv::raft {

class Membership {
 public:
  // CHECKs that the configuration is well formed: sorted, disjoint, nobody absent.
  explicit Membership(Configuration configuration);

  const std::vector<MemberId>& voters() const { return configuration_.voters; }
  const std::vector<MemberId>& everyone() const { return everyone_; }  // learners too; sorted
  bool IsVoter(MemberId id) const;

 private:
  Configuration configuration_;
  std::vector<MemberId> everyone_;
};

}  // namespace raftkv::raft

#endif  // RAFTKV_SERVER_RAFT_MEMBERSHIP_H_
