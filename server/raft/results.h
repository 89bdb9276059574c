#ifndef RAFTKV_SERVER_RAFT_RESULTS_H_
#define RAFTKV_SERVER_RAFT_RESULTS_H_

// What Raft answers to a proposal and to a request to transfer the leadership.

namespace raftkv::raft {

// kTransferring: the leader is transferring its leadership (TransferLeadership). The caller may
// propose again later: the transfer ends within an election timeout. kChangePending: returned only
// by ProposeConfiguration. The previous change, or the first entry of this leader's term, is not
// committed yet. The caller may propose again later.
enum class ProposeResult { kAccepted, kNotLeader, kTransferring, kTooManyRequests, kChangePending };

enum class TransferResult { kStarted, kNotLeader, kBadTarget };

}  // namespace raftkv::raft

#endif  // RAFTKV_SERVER_RAFT_RESULTS_H_
