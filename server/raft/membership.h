#ifndef RAFTKV_SERVER_RAFT_MEMBERSHIP_H_
#define RAFTKV_SERVER_RAFT_MEMBERSHIP_H_

// The cluster's configuration. It decides which votes and acknowledgements count and to whom this
// member sends. It does not decide whose messages are answered: those of any member are (thesis
// §4.1). The configuration is fixed; membership changes are not implemented yet.

#include <vector>

#include "server/raft/types.h"

namespace raftkv::raft {

class Membership {
 public:
  // CHECKs that the configuration is sorted and disjoint, without duplicates and without kNobody.
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
