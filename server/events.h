#ifndef RAFTKV_SERVER_EVENTS_H_
#define RAFTKV_SERVER_EVENTS_H_

// Logs the events of a member: candidate, votes, leader, lost leader. Nothing is logged per
// request.
//
// A member without a leader asks for pre-votes every one to two election timeouts. Only its first
// attempt is logged in full. After that it logs a summary ("no majority reachable: ..."), at
// intervals that double from two seconds to a minute.

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "server/member/replica.h"
#include "storage/base/monotonic_time.h"

namespace raftkv {

// `names` contains the name of every member, including `self`. `listed`: the names in the order in
// which lines list them, that of the config file. `data_dir` is an absolute path. Call the result
// on one thread only.
using LogEvent = std::function<void(const ReplicaEvent&, MonotonicTime now)>;
LogEvent EventLogger(raft::MemberId self, std::map<raft::MemberId, std::string> names,
                     std::vector<std::string> listed, std::string data_dir);

}  // namespace raftkv

#endif  // RAFTKV_SERVER_EVENTS_H_
