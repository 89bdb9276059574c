#ifndef RAFTKV_SERVER_MEMBER_AUDIT_H_
#define RAFTKV_SERVER_MEMBER_AUDIT_H_

// Each member reports the digests of its state (storage/tables/digests.h) to its leader. The leader
// compares them, and finds the members whose state differs from the majority's:
// docs/decisions/0018-divergence.md.
//
// Owned by the replica; used on the thread of the turns. The memory is bounded by 16 indexes and by
// the number of members.

#include <algorithm>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "server/member/transport.h"
#include "storage/log/entry.h"
#include "storage/tables/digests.h"

namespace raftkv {

// The members' digests at one index, which are not all equal.
struct Divergence {
  raft::Index index = 0;
  std::map<raft::MemberId, uint64_t> digests = {};
  // The digest that a majority of the voters reported. Empty: all voters have reported, and no
  // digest has a majority. Then it is not known which state is right.
  std::optional<uint64_t> majority = {};

  // Whether the member has reported another digest than the majority's. Without a majority, true
  // for every member that has reported.
  bool Wrong(raft::MemberId member) const {
    const auto it = digests.find(member);
    return it != digests.end() && it->second != majority;
  }
};

class Audit {
 public:
  // --- on each member

  // The digests that this member keeps.
  void OnDigests(const std::deque<StateDigest>& own) {
    if (own == own_) return;
    own_ = own;
    reported_ = false;
  }
  // The leader or the term changed.
  void OnNewTerm() {
    digests_.clear();
    reported_ = false;
  }
  // All own digests, when there is a new one or a new leader. The caller sends them to the leader.
  std::optional<DigestReport> TakeReport() {
    if (own_.empty() || std::exchange(reported_, true)) return std::nullopt;
    return DigestReport{own_};
  }
  // Whether a leader's verdict is about a digest of this member: the state is not the majority's.
  bool Concerns(const Diverged& verdict) const {
    return std::any_of(own_.begin(), own_.end(), [&verdict](const StateDigest& own) {
      return own.index == verdict.index && own.digest != verdict.majority;
    });
  }

  // --- on a leader

  // `digests`: reported by `member`, which is in the configuration. Digests after index `newest`,
  // the newest entry that this leader knows to be committed, are ignored.
  void Add(raft::MemberId member, const std::deque<StateDigest>& digests, raft::Index newest) {
    for (const StateDigest& d : digests) {
      if (d.index <= newest) digests_[d.index][member] = d.digest;
    }
    while (digests_.size() > kDigestsKept) digests_.erase(digests_.begin());
  }

  // The newest divergence that a majority decides, or for which all voters have reported without a
  // majority. It is returned once for each report of a wrong digest.
  std::optional<Divergence> Find(const std::vector<raft::MemberId>& voters);

 private:
  std::deque<StateDigest> own_;
  bool reported_ = false;  // own_, to the leader of this term
  std::map<raft::Index, std::map<raft::MemberId, uint64_t>> digests_;
};

}  // namespace raftkv

#endif  // RAFTKV_SERVER_MEMBER_AUDIT_H_
