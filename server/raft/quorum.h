#ifndef RAFTKV_SERVER_RAFT_QUORUM_H_
#define RAFTKV_SERVER_RAFT_QUORUM_H_

// Majorities. Raft counts voters in four places, and all of them call this file: elections (§5.2),
// the commit index (§5.3), read rounds (thesis §6.4), CheckQuorum (thesis §6.2). Pure functions.
// Without voters there is never a majority.

#include <cstddef>
#include <cstdint>
#include <map>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "server/raft/types.h"

namespace raftkv::raft {

enum class VoteResult : uint8_t { kPending, kWon, kLost };

size_t Majority(size_t voters);

// `votes` may hold members that are not voters; they are ignored.
VoteResult CountVotes(const std::vector<MemberId>& voters, const std::map<MemberId, bool>& votes);

// One number for each voter: its match index, echoed round, or last contact in ticks.
using VoterValues = absl::InlinedVector<uint64_t, 7>;

// The largest number that the values of a majority reach; 0 without voters.
uint64_t ReachedByMajority(VoterValues values);

}  // namespace raftkv::raft

#endif  // RAFTKV_SERVER_RAFT_QUORUM_H_
