#ifndef RAFTKV_SERVER_EVENTS_H_
#define RAFTKV_SERVER_EVENTS_H_

// Tells the story of a member in its log: candidate, votes, leader, lost leader. One line an event,
// nothing per request.

#include <functional>
#include <map>
#include <string>

#include "server/replica/replica.h"

namespace raftkv {

// `names` are the members'; the result is called on the loop's thread.
std::function<void(const ReplicaEvent&)> EventLogger(std::map<raft::MemberId, std::string> names);

}  // namespace raftkv

#endif  // RAFTKV_SERVER_EVENTS_H_
