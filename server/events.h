#ifndef RAFTKV_SERVER_EVENTS_H_
#define RAFTKV_SERVER_EVENTS_H_

// Tells the story of a member in its log: candidate, votes, leader, lost leader. Nothing per
// request. A member that finds no leader asks for votes every second or two: from the second time
// on only the conclusion is said, after twice the time each time, up to a minute.

#include <functional>
#include <map>
#include <string>

#include "absl/time/time.h"
#include "server/member/replica.h"

namespace raftkv {

// `names` are the members', `self` among them. The result is called on the loop's thread.
using LogEvent = std::function<void(const ReplicaEvent&, absl::Time now)>;
LogEvent EventLogger(raft::MemberId self, std::map<raft::MemberId, std::string> names);

}  // namespace raftkv

#endif  // RAFTKV_SERVER_EVENTS_H_
