#ifndef RAFTKV_SERVER_MEMBER_MEMBER_CHANGES_H_
#define RAFTKV_SERVER_MEMBER_MEMBER_CHANGES_H_

// The changes of the members that wait at a leader. The leader checks a change against the members
// of the committed entries, and then proposes it together with the resulting configuration. It
// proposes one change at a time (raft::Raft::MayChangeConfiguration), so the members that it knows
// are those right before the change.
//
// Owned by the replica; used on the thread of the turns.

#include <cstddef>
#include <deque>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "proto/command.pb.h"
#include "server/member/store_ids.h"
#include "server/member/transport.h"
#include "server/raft/raft.h"
#include "storage/rules/members.h"

namespace raftkv {

class MemberChanges {
 public:
  static constexpr size_t kWaitingMax = 16;

  // `first_members`: ReplicaOptions::first_members. A change is checked against `members` and
  // `store_ids`, which the replica updates when entries are committed. All pointers must outlive
  // this object.
  MemberChanges(raft::MemberId self, std::vector<etcdserverpb::Member> first_members,
                const Members* members, const MemberStoreIds* store_ids, raft::Raft* raft)
      : self_(self),
        first_members_(std::move(first_members)),
        members_(members),
        store_ids_(store_ids),
        raft_(raft) {}

  // A change that waits, the member that wants it (kNobody: this member itself), and why it is not
  // proposed.
  struct Change {
    raft::MemberId from = raft::kNobody;
    ForwardedProposal proposal;
    ForwardedProposalReply declined = {};
  };

  // False: kWaitingMax changes wait.
  bool Add(raft::MemberId from, const ForwardedProposal& proposal);

  // Proposes the next change, if the previous one is committed: one that waits, or one of the
  // leader's own (the first members; a joining voter that has caught up). Returns the changes that
  // are declined. `in_force`: the cluster version. `committed`: the members contain every change up
  // to this index.
  std::vector<Change> Turn(ClusterVersion in_force, raft::Index committed);

 private:
  bool MayPropose(raft::Index committed) const;
  void ProposeWaiting(std::vector<Change>* declined);
  void ProposeFirstMembers();
  void ProposeCount();
  bool Propose(proto::Command* command);
  bool LeavesFirst(const proto::ChangeMembers& change);
  absl::Status Check(const proto::ChangeMembers& change) const;
  bool MayCount(const raft::Status& status, raft::MemberId id) const;

  const raft::MemberId self_;
  const std::vector<etcdserverpb::Member> first_members_;
  const Members* const members_;
  const MemberStoreIds* const store_ids_;
  raft::Raft* const raft_;
  std::deque<Change> waiting_;
  raft::Term leaving_term_ = 0;  // in which it transferred leadership because of its own removal
};

}  // namespace raftkv

#endif  // RAFTKV_SERVER_MEMBER_MEMBER_CHANGES_H_
