#ifndef RAFTKV_SERVER_MEMBER_FAULT_H_
#define RAFTKV_SERVER_MEMBER_FAULT_H_

// Why a member has halted (raft::Raft::Halt): its log or its state cannot be trusted, or must not
// be overwritten. It serves no client, does not vote and takes no entries until its process starts
// again. Its process goes on, so that Status can report the fault, and health checks are answered
// NOT_SERVING. docs/decisions/0017 explains what is detected and what the operator must do.

#include <functional>
#include <string>

#include "server/raft/ready.h"
#include "server/raft/types.h"

namespace raftkv {

struct Fault {
  enum class Kind {
    kNone,
    kConflict,     // the log of `peer`, a leader, contradicts this log at `entry`
    kLostEntries,  // this log lacks what this member acknowledged to `peer`: up to `entry`
    kDiverged,     // the state after `entry` is not the majority's, says the leader `peer`
    kAllDiverged,  // the states after `entry` differ, and there is no majority
    kOlderCopy,    // `peer` knows that this log had reached `entry`, and it is now behind it
  };
  Kind kind = Kind::kNone;
  raft::MemberId peer = raft::kNobody;
  raft::EntryId entry = {};

  explicit operator bool() const { return kind != Kind::kNone; }
};

Fault FaultOf(const raft::Halted& halted);

// One line: what has happened, and what to do. `name` returns the name of a member.
std::string Describe(const Fault& fault, const std::function<std::string(raft::MemberId)>& name);

}  // namespace raftkv

#endif  // RAFTKV_SERVER_MEMBER_FAULT_H_
