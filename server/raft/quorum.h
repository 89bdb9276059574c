#ifndef RAFTKV_SERVER_RAFT_QUORUM_H_
#define RAFTKV_SERVER_RAFT_QUORUM_H_

// What a majority of voters says. Everything in Raft that is decided by counting is decided here:
// elections (§5.2), the commit index (§5.3), read rounds (thesis §6.4) and the leader's contact to
// its followers (CheckQuorum, thesis §6.2). Pure functions. Without voters nothing is ever decided.

#include <cstddef>
#include <cstdint>
#include <map>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "server/raft/types.h"

namespace raftkv::raft {

enum class VoteResult : uint8_t { kPending, kWon, kLost };

size_t Majority(size_t voters);

// `votes` may hold members that are not voters; they do not count.
VoteResult CountVotes(const std::vector<MemberId>& voters, const std::map<MemberId, bool>& votes);

// One number of each voter: a match index, a round, a tick.
using VoterValues = absl::InlinedVector<uint64_t, 7>;

// The largest number that a majority has reached; 0 without voters.
uint64_t ReachedByMajority(VoterValues values);

}  // namespace raftkv::raft

#endif  // RAFTKV_SERVER_RAFT_QUORUM_H_
