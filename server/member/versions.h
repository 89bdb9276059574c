#ifndef RAFTKV_SERVER_MEMBER_VERSIONS_H_
#define RAFTKV_SERVER_MEMBER_VERSIONS_H_

// Which cluster version is in force, and when a leader may raise it (storage/rules/version.h).
// Every message between members carries the newest version that its sender knows. Once all members
// know a newer version than the one in force, the leader raises it through the log. For this class
// the new version is in force as soon as its entry is committed, before it is applied: everything
// that is proposed later comes after it in the log.
//
// Owned by the replica; used on the thread of the turns.

#include <algorithm>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "proto/command.pb.h"
#include "storage/log/entry.h"
#include "storage/rules/version.h"

namespace raftkv {

class Versions {
 public:
  // `own` is the newest version that this member knows, and `self` its id.
  Versions(ClusterVersion in_force, ClusterVersion own, raft::MemberId self) : in_force_(in_force) {
    known_by_[self] = own;
  }

  ClusterVersion in_force() const { return in_force_; }

  void OnHeard(raft::MemberId peer, ClusterVersion newest) { known_by_[peer] = newest; }
  // The newest version that `member` knows, as far as this process has heard.
  ClusterVersion KnownBy(raft::MemberId member) const {
    const auto known = known_by_.find(member);
    return known == known_by_.end() ? kFirstVersion : known->second;
  }

  // The command that a leader proposes to raise the version; none if it cannot be raised, or if
  // this leader has proposed it already. When the proposal is accepted, the leader calls
  // OnProposed. `members`: all members, the leader too.
  std::optional<proto::Command> CommandToRaise(const std::vector<raft::MemberId>& members) const {
    ClusterVersion common = members.empty() ? kFirstVersion : UINT64_MAX;
    for (const raft::MemberId member : members) common = std::min(common, KnownBy(member));
    if (common <= std::max(in_force_, proposed_)) return std::nullopt;
    proto::Command command;
    command.mutable_set_cluster_version()->set_version(common);
    return command;
  }
  void OnProposed(const proto::SetClusterVersion& raise) { proposed_ = raise.version(); }
  // The version that this leader has proposed; 0: none in this term.
  ClusterVersion proposed() const { return proposed_; }
  // True: the version in force has changed.
  bool OnCommitted(const proto::SetClusterVersion& raise) {
    return std::exchange(in_force_, std::max(in_force_, raise.version())) != in_force_;
  }
  // A snapshot was installed.
  void OnInstalled(ClusterVersion in_force) { in_force_ = std::max(in_force_, in_force); }
  // The leader or the term changed: earlier proposals may be lost.
  void OnNewTerm() { proposed_ = 0; }

 private:
  ClusterVersion in_force_;
  ClusterVersion proposed_ = 0;                        // by this member, as the leader of this term
  std::map<raft::MemberId, ClusterVersion> known_by_;  // heard since the start of this process
};

}  // namespace raftkv

#endif  // RAFTKV_SERVER_MEMBER_VERSIONS_H_
