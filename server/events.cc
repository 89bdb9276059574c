#include "server/events.h"

#include <utility>
#include <vector>

#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "glog/logging.h"

namespace raftkv {

namespace {

class Logger {
 public:
  explicit Logger(std::map<raft::MemberId, std::string> names) : names_(std::move(names)) {}

  void operator()(const ReplicaEvent& event) const {
    std::visit([this](const auto& e) { Log(e); }, event);
  }

 private:
  std::string Name(raft::MemberId id) const {
    auto it = names_.find(id);
    return it == names_.end() ? absl::StrFormat("%x", id) : it->second;
  }

  void Log(const raft::Event& event) const {
    std::visit([this](const auto& e) { Log(e); }, event);
  }
  void Log(const raft::BecameFollower& e) const {
    if (e.leader == raft::kNobody) {
      LOG(INFO) << "became follower at term " << e.term;
    } else {
      LOG(INFO) << "became follower of " << Name(e.leader) << " at term " << e.term;
    }
  }
  void Log(const raft::BecamePreCandidate& e) const {
    LOG(INFO) << "no leader heard: asking who would vote for term " << e.term;
  }
  void Log(const raft::BecameCandidate& e) const {
    LOG(INFO) << "became candidate at term " << e.term;
  }
  void Log(const raft::BecameLeader& e) const {
    std::vector<std::string> votes;
    for (raft::MemberId id : e.votes) votes.push_back(Name(id));
    LOG(INFO) << "became leader at term " << e.term << " with the votes of "
              << absl::StrJoin(votes, ", ") << "; last index " << e.last_index;
  }
  void Log(const raft::LeaderChanged& e) const {
    if (e.leader == raft::kNobody) {
      LOG(WARNING) << "lost leader at term " << e.term;
    } else {
      LOG(INFO) << "leader of term " << e.term << " is " << Name(e.leader);
    }
  }
  void Log(const raft::VoteGranted& e) const {
    LOG(INFO) << "granted " << (e.pre_vote ? "pre-vote" : "vote") << " to " << Name(e.candidate)
              << " for term " << e.term;
  }
  void Log(const raft::VoteReceived& e) const {
    LOG(INFO) << (e.pre_vote ? "pre-vote" : "vote") << (e.granted ? " granted" : " refused")
              << " by " << Name(e.voter) << " for term " << e.term;
  }
  void Log(const raft::SteppedDown& e) const {
    LOG(WARNING) << "stepped down as leader at term " << e.term << ": "
                 << (e.why == raft::SteppedDown::Why::kNoQuorum
                         ? "no majority answered within an election timeout"
                         : "another member has a higher term");
  }
  void Log(const raft::Truncated& e) const {
    LOG(INFO) << "removed a conflicting end of the log: index " << e.first_removed.index
              << " (term " << e.first_removed.term << ") and after; last is now "
              << e.new_last.index;
  }
  void Log(const PeerRefused& e) const {
    LOG(ERROR)
        << "refusing " << Name(e.peer)
        << ": it answers from another data directory than the one this cluster knows, and may "
           "have forgotten its promises. Bring its old directory back, or remove the member "
           "and add it anew";
  }
  void Log(const VotingAllowed& e) const {
    LOG(INFO) << (e.caught_up ? "caught up with the leader: this member votes from now on"
                              : "first start: this member votes from now on");
  }
  void Log(const WaitingForPeers& e) const {
    LOG(INFO)
        << "first start: " << e.answered << " of " << e.needed
        << " other members answered that they are empty too; waiting for more, or for a leader";
  }

  const std::map<raft::MemberId, std::string> names_;
};

}  // namespace

std::function<void(const ReplicaEvent&)> EventLogger(std::map<raft::MemberId, std::string> names) {
  return Logger(std::move(names));
}

}  // namespace raftkv
