#ifndef RAFTKV_STORAGE_RULES_MEMBERS_H_
#define RAFTKV_STORAGE_RULES_MEMBERS_H_

// The members of the cluster as the log has them: who they are, where they are reached, who votes.
// The command ChangeMembers changes them. The table of members (tables/members.h) has the Members
// of the applied entries. The replica has those of the committed entries, from which a leader
// decides what it proposes.
//
// A member is in one of three states:
//   learner        added as a learner; an operator promotes it
//   joining voter  added as a voter. Raft treats it as a learner until it has caught up: until then
//                  no majority needs it, whether it was started or not
//   voter          votes, and is part of majorities
// Clients see a joining voter as a voter, as in etcd.

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "proto/command.pb.h"
#include "storage/log/entry.h"

namespace raftkv {

// As etcd's default.
inline constexpr int kLearnersMax = 1;

class Members {
 public:
  struct Member {
    etcdserverpb::Member info;
    bool votes = false;
    // It has told its name. Each member does so once its data directory has the permission to vote
    // (server/member/first_start.h). Until then it could not help to elect a leader.
    bool started = false;

    bool joining() const { return !votes && !info.islearner(); }
  };

  // False until the first ChangeMembers: the config file of the first start names the members.
  bool known() const { return !members_.empty(); }
  const std::map<raft::MemberId, Member>& all() const { return members_; }
  const Member* Find(raft::MemberId id) const;  // null: it is no member
  // It was a member. Ids are never used again.
  bool removed(raft::MemberId id) const { return removed_.contains(id); }
  raft::Configuration configuration() const;

  // Whether the change is possible now. The texts are etcd's, and so are the rules, which protect
  // the quorum by counting started members.
  absl::Status Check(const proto::ChangeMembers& change) const;
  // Sets the configuration that will be in force. Call it after Check returned OK.
  void Complete(proto::ChangeMembers* change) const;
  // Always succeeds: whatever the change says, its configuration decides who is a member and who
  // votes. Returns the ids of those that were changed, added or removed.
  std::set<raft::MemberId> Apply(const proto::ChangeMembers& change);

  // Add a member, and the id of a removed one, as they were stored (tables/members.h).
  void Restore(raft::MemberId id, Member member) { members_[id] = std::move(member); }
  void RestoreRemoved(raft::MemberId id) { removed_.insert(id); }

 private:
  absl::Status CheckAdd(const etcdserverpb::Member& added) const;
  absl::Status CheckUrls(const etcdserverpb::Member& changed) const;
  absl::Status CheckRemove(raft::MemberId id) const;
  absl::Status CheckPromote(raft::MemberId id) const;
  absl::Status CheckStarted(raft::MemberId without, int added) const;

  std::map<raft::MemberId, Member> members_;
  std::set<raft::MemberId> removed_;
};

// Reads the configuration in the payload of a log entry of type kConfiguration. False: no correct
// leader proposes such a payload.
bool ParseConfiguration(std::string_view payload, raft::Configuration* configuration);
// The same for an entry that was validated when it arrived or was proposed (CHECK).
raft::Configuration MustParseConfiguration(std::string_view payload);

}  // namespace raftkv

#endif  // RAFTKV_STORAGE_RULES_MEMBERS_H_
