#include "server/raft/quorum.h"

#include <algorithm>
#include <functional>

#include "storage/base/mutant.h"

namespace raftkv::raft {

size_t Majority(size_t voters) {
  if (RAFTKV_MUTANT("half-is-a-quorum")) return std::max<size_t>(voters / 2, 1);
  return voters / 2 + 1;
}

VoteResult CountVotes(const std::vector<MemberId>& voters, const std::map<MemberId, bool>& votes) {
  if (voters.empty()) return VoteResult::kPending;
  size_t granted = 0;
  size_t declined = 0;
  for (MemberId voter : voters) {
    const auto vote = votes.find(voter);
    if (vote == votes.end()) continue;
    ++(vote->second ? granted : declined);
  }
  if (granted >= Majority(voters.size())) return VoteResult::kWon;
  const size_t still_possible = voters.size() - declined;
  return still_possible < Majority(voters.size()) ? VoteResult::kLost : VoteResult::kPending;
}

uint64_t ReachedByMajority(VoterValues values) {
  if (values.empty()) return 0;
  const auto nth = values.begin() + (Majority(values.size()) - 1);
  std::nth_element(values.begin(), nth, values.end(), std::greater<>());
  return *nth;
}

}  // namespace raftkv::raft
