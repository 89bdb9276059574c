#include "server/events.h"

#include <algorithm>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "glog/logging.h"

namespace raftkv {

namespace {

constexpr absl::Duration kFirstPause = absl::Seconds(2);
constexpr absl::Duration kLongestPause = absl::Minutes(1);

class Logger {
 public:
  Logger(raft::MemberId self, std::map<raft::MemberId, std::string> names)
      : self_(self), names_(std::move(names)) {}

  void operator()(const ReplicaEvent& event, absl::Time now) {
    now_ = now;
    std::visit([this](const auto& e) { Log(e); }, event);
  }

 private:
  std::string Name(raft::MemberId id) const {
    auto it = names_.find(id);
    return it == names_.end() ? absl::StrFormat("%x", id) : it->second;
  }
  template <typename Ids>
  std::string Names(const Ids& ids) const {
    return absl::StrJoin(ids, ", ",
                         [this](std::string* out, raft::MemberId id) { out->append(Name(id)); });
  }

  void Log(const raft::Event& event) {
    std::visit([this](const auto& e) { Log(e); }, event);
  }
  void Log(const raft::BecameFollower& e) {
    if (e.leader != raft::kNobody) {
      LOG(INFO) << "became follower of " << Name(e.leader) << " at term " << e.term;
    } else if (!SaidAlready() || e.term != follower_term_) {
      LOG(INFO) << "became follower at term " << e.term;
    }
    follower_term_ = e.term;
  }
  void Log(const raft::BecamePreCandidate& e) {
    if (rounds_++ == 0) {
      LOG(INFO) << "no leader heard: asking who would vote for term " << e.term;
      next_conclusion_ = now_;
      pause_ = kFirstPause;
    } else if (now_ >= next_conclusion_) {
      Conclude();
      next_conclusion_ = now_ + pause_;
      pause_ = std::min(2 * pause_, kLongestPause);
    }
    answered_ = {self_};
  }
  void Log(const raft::BecameCandidate& e) { LOG(INFO) << "became candidate at term " << e.term; }
  void Log(const raft::BecameLeader& e) {
    LOG(INFO) << "became leader at term " << e.term << " with the votes of " << Names(e.votes)
              << "; last index " << e.last_index;
  }
  void Log(const raft::LeaderChanged& e) {
    if (e.leader == raft::kNobody) {
      LOG(WARNING) << "lost leader " << Name(leader_) << " of term " << leader_term_;
    } else {
      LOG(INFO) << "leader of term " << e.term << " is " << Name(e.leader);
      rounds_ = 0;
    }
    leader_ = e.leader;
    leader_term_ = e.term;
  }
  void Log(const raft::VoteGranted& e) {
    if (e.pre_vote && SaidAlready()) return;
    LOG(INFO) << "granted " << (e.pre_vote ? "pre-vote" : "vote") << " to " << Name(e.candidate)
              << " for term " << e.term;
  }
  void Log(const raft::VoteReceived& e) {
    answered_.insert(e.voter);
    if (e.pre_vote && SaidAlready()) return;
    LOG(INFO) << (e.pre_vote ? "pre-vote" : "vote") << (e.granted ? " granted" : " refused")
              << " by " << Name(e.voter) << " for term " << e.term;
  }
  void Log(const raft::SteppedDown& e) {
    LOG(WARNING) << "stepped down as leader at term " << e.term << ": "
                 << (e.why == raft::SteppedDown::Why::kNoQuorum
                         ? "no majority answered within an election timeout"
                         : "another member has a higher term");
  }
  void Log(const raft::Truncated& e) {
    LOG(INFO) << "removed a conflicting end of the log: index " << e.first_removed.index
              << " (term " << e.first_removed.term << ") and after; last is now "
              << e.new_last.index;
  }
  void Log(const PeerRefused&) {}  // the transport counts and says them, beside its own
  void Log(const RefusedByPeer& e) {
    LOG(ERROR)
        << Name(e.peer) << " refuses this member: its data directory is new, but the cluster "
        << "knows " << Name(self_)
        << " by another one, whose promises it may have forgotten. It answers no client. Stop "
           "this member and bring "
           "its old data directory back; replacing a member comes with changes of "
           "membership, which are not served yet";
  }
  void Log(const VotingAllowed& e) {
    LOG(INFO) << (e.caught_up ? "caught up with the leader: this member votes from now on"
                              : "first start: this member votes from now on");
  }
  void Log(const VersionRaised& e) {
    LOG(INFO) << "the cluster version is " << e.version << " now";
  }
  void Log(const WaitingForPeers& e) {
    LOG(INFO) << "first start: waiting for " << e.needed << " more of " << Names(e.missing)
              << " to answer that their data directories are new too, or for a leader; see that "
                 "they run and that their peer_url is right";
  }

  // Asked for votes before, since a leader was last known.
  bool SaidAlready() const { return rounds_ > 1; }

  void Conclude() const {
    std::vector<raft::MemberId> silent;
    for (const auto& [id, name] : names_) {
      if (answered_.count(id) == 0) silent.push_back(id);
    }
    const size_t all = names_.size(), majority = all / 2 + 1;
    const size_t answered = all - silent.size();
    if (answered < majority) {
      LOG(WARNING) << "no majority reachable: " << answered << " of " << all
                   << " members answer; requests fail until " << majority
                   << " do (silent: " << Names(silent) << ")";
    } else {
      LOG(WARNING) << "no leader: " << answered << " of " << all
                   << " members answer, but too few of them would vote for this one; requests fail "
                      "until one is elected";
    }
  }

  const raft::MemberId self_;
  const std::map<raft::MemberId, std::string> names_;
  absl::Time now_;
  raft::MemberId leader_ = raft::kNobody;
  raft::Term leader_term_ = 0;
  raft::Term follower_term_ = 0;

  int rounds_ = 0;                     // of asking for votes, since a leader was last known
  std::set<raft::MemberId> answered_;  // in this round, ourselves among them
  absl::Time next_conclusion_;
  absl::Duration pause_;
};

}  // namespace

LogEvent EventLogger(raft::MemberId self, std::map<raft::MemberId, std::string> names) {
  return Logger(self, std::move(names));
}

}  // namespace raftkv
