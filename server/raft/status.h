#ifndef RAFTKV_SERVER_RAFT_STATUS_H_
#define RAFTKV_SERVER_RAFT_STATUS_H_

// What a core says about itself and, on a leader, about its peers (Raft::status).

#include <cstddef>
#include <map>

#include "server/raft/types.h"

namespace raftkv::raft {

struct PeerStatus {
  Index match_index = 0;
  Index next_index = 1;
  bool recently_active = false;
  size_t inflight_messages = 0;
};

struct Status {
  MemberId id = kNobody;
  Role role = Role::kFollower;
  Term term = 0;
  MemberId voted_for = kNobody;
  MemberId leader = kNobody;
  Index commit_index = 0;
  Index applied_index = 0;
  Index first_index = 1;
  Index last_index = 0;
  Term last_term = 0;                         // of the entry last_index
  std::map<MemberId, PeerStatus> peers = {};  // only on a leader
};

}  // namespace raftkv::raft

#endif  // RAFTKV_SERVER_RAFT_STATUS_H_
