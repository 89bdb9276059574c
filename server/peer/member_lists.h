#ifndef RAFTKV_SERVER_PEER_MEMBER_LISTS_H_
#define RAFTKV_SERVER_PEER_MEMBER_LISTS_H_

// Two members whose config files differ are members of two clusters, because the cluster's id is
// derived from the list of members. This says what differs, so that an operator need not compare
// ids. Used by Handshake.

#include <string>

#include "proto/raft.pb.h"

namespace raftkv {

// What differs between the config files of two members, as part of a line. Empty: not known, or no
// difference. Both members get the same text. `there` comes from a peer, so the result is bounded
// and escaped.
std::string DifferenceOfLists(const proto::HelloRequest& here, const proto::HelloRequest& there);

// The name of a member for a line, escaped and not too long.
std::string NameForLine(const std::string& name);

}  // namespace raftkv

#endif  // RAFTKV_SERVER_PEER_MEMBER_LISTS_H_
