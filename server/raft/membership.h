#ifndef RAFTKV_SERVER_RAFT_MEMBERSHIP_H_
#define RAFTKV_SERVER_RAFT_MEMBERSHIP_H_

// The cluster's configurations, as this member's log has them. The newest one is in force as soon
// as its entry is appended, before it is committed (thesis §4.1). If a truncation removes that
// entry, the configuration before it is in force again. So those that may still be needed are kept:
// the last committed one and all after it.
//
// The configuration in force decides whose votes and acknowledgements make a majority, and to whom
// this member sends. It does not decide whose messages are answered: all are (thesis §4.1).

#include <cstddef>
#include <vector>

#include "server/raft/types.h"

namespace raftkv::raft {

class Membership {
 public:
  // `configuration` is in force at `index`. Each configuration must be sorted and disjoint, without
  // duplicates and without kNobody (CHECK).
  Membership(Index index, Configuration configuration);

  // In force.
  const Configuration& current() const { return all_.back().configuration; }
  const std::vector<MemberId>& voters() const { return current().voters; }
  const std::vector<MemberId>& everyone() const { return everyone_; }  // learners too; sorted
  bool IsVoter(MemberId id) const;
  // The index of the entry that contains it. If that entry was applied before the start: the
  // applied index at the start.
  Index index() const { return all_.back().index; }

  // The entry at `index`, the last one of the log, holds a configuration.
  void Append(Index index, Configuration configuration);
  // The entries from `index` on were removed. Returns whether another configuration is in force
  // now.
  bool TruncateFrom(Index index);
  // A snapshot up to `index` replaced the log. Returns whether the configuration that the snapshot
  // contains differs from that in force.
  bool Reset(Index index, Configuration configuration);
  // The entries up to `index` are committed.
  void Commit(Index index);

  // Whether the member votes by the configuration in force, or by one that may be in force again. A
  // voter whose removal is not committed may be the only one that can win an election, because its
  // log is the longest (thesis §4.2.2, figure 4.6).
  bool MayBeVoter(MemberId id) const;
  // How many configurations are in entries after `index`.
  size_t NumberAfter(Index index) const;

  // Whether each majority of the current configuration has a member in common with each majority of
  // `next`, because at most one voter is added or removed (thesis §4.1).
  bool IsSingleChange(const Configuration& next) const;

 private:
  struct Item {
    Index index = 0;
    Configuration configuration;
  };
  void OnChanged();

  std::vector<Item> all_;  // by index; never empty
  std::vector<MemberId> everyone_;
};

}  // namespace raftkv::raft

#endif  // RAFTKV_SERVER_RAFT_MEMBERSHIP_H_
