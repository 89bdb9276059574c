#include "server/events.h"

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "config/config.h"
#include "glog/logging.h"

namespace raftkv {

namespace {

constexpr absl::Duration kFirstPause = absl::Seconds(2);
constexpr absl::Duration kLongestPause = absl::Minutes(1);

std::string HumanBytes(uint64_t bytes) {
  constexpr uint64_t kMiB = 1 << 20;
  if (bytes < 10 * kMiB) return absl::StrFormat("%d KiB", bytes >> 10);
  return absl::StrFormat("%d MiB", bytes / kMiB);
}

class Logger {
 public:
  Logger(raft::MemberId self, std::map<raft::MemberId, std::string> names,
         std::vector<std::string> listed, std::string data_dir)
      : self_(self),
        names_(std::move(names)),
        name_(Name(self)),
        listed_(std::move(listed)),
        data_dir_(std::move(data_dir)) {}

  void operator()(const ReplicaEvent& event, MonotonicTime now) {
    now_ = now;
    std::visit([this](const auto& e) { Log(e); }, event);
  }

 private:
  std::string Name(raft::MemberId id) const {
    auto it = names_.find(id);
    return it == names_.end() ? absl::StrFormat("%x", id) : it->second;
  }
  template <typename Ids>
  std::vector<std::string> NameEach(const Ids& ids) const {
    std::vector<std::string> names;
    for (const raft::MemberId id : ids) names.push_back(Name(id));
    SortAsListed(listed_, &names);
    return names;
  }
  template <typename Ids>
  std::string Names(const Ids& ids) const {
    return absl::StrJoin(NameEach(ids), ", ");
  }

  void Log(const raft::Event& event) {
    std::visit([this](const auto& e) { Log(e); }, event);
  }
  void Log(const raft::BecameFollower& e) {
    if (e.leader != raft::kNobody) {
      LOG(INFO) << "became follower of " << Name(e.leader) << " at term " << e.term;
    } else if (!IsRepeat() || e.term != follower_term_) {
      LOG(INFO) << "became follower at term " << e.term;
    }
    follower_term_ = e.term;
  }
  void Log(const raft::BecamePreCandidate& e) {
    if (rounds_++ == 0) {
      LOG(INFO) << (e.fast ? "the leader is lost" : "no leader heard")
                << ": asking for pre-votes for term " << e.term;
      next_summary_ = now_;
      pause_ = kFirstPause;
    } else if (now_ >= next_summary_) {
      LogSummary();
      next_summary_ = now_ + pause_;
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
    if (e.leader == raft::kNobody && e.transfer) {
      LOG(INFO) << "leader " << Name(leader_) << " of term " << leader_term_
                << " transfers its leadership";
    } else if (e.leader == raft::kNobody) {
      LOG(WARNING) << "lost leader " << Name(leader_) << " of term " << leader_term_;
    } else {
      LOG(INFO) << "leader of term " << e.term << " is " << Name(e.leader);
      rounds_ = 0;
    }
    leader_ = e.leader;
    leader_term_ = e.term;
  }
  void Log(const raft::VoteGranted& e) {
    if (e.pre_vote && IsRepeat()) return;
    LOG(INFO) << "granted " << (e.pre_vote ? "pre-vote" : "vote") << " to " << Name(e.candidate)
              << " for term " << e.term;
  }
  void Log(const raft::VoteReceived& e) {
    answered_.insert(e.voter);
    if (e.pre_vote && IsRepeat()) return;
    LOG(INFO) << (e.pre_vote ? "pre-vote" : "vote") << (e.granted ? " granted" : " declined")
              << " by " << Name(e.voter) << " for term " << e.term;
  }
  void Log(const raft::SteppedDown& e) {
    using Why = raft::SteppedDown::Why;
    switch (e.why) {
      case Why::kTransfer:
        LOG(INFO) << "stepped down as leader at term " << e.term << ": transferred leadership";
        break;
      case Why::kNoVoter:
        LOG(INFO) << "stepped down as leader at term " << e.term << ": it is no voter any more";
        break;
      case Why::kNoQuorum:
        LOG(WARNING) << "stepped down as leader at term " << e.term
                     << ": no majority answered within an election timeout";
        break;
      case Why::kHigherTerm:
        LOG(WARNING) << "stepped down as leader at term " << e.term
                     << ": another member has a higher term";
        break;
    }
  }
  void Log(const raft::Truncated& e) {
    LOG(INFO) << "removed entries that conflict with the leader's log: from index "
              << e.first_removed.index << " (term " << e.first_removed.term
              << "); the last index is now " << e.new_last.index;
  }
  void Log(const raft::SnapshotNeeded& e) {
    LOG(INFO) << Name(e.peer) << " needs entry " << e.next_index
              << ", which is no longer in this member's log: sending it a snapshot";
  }
  void Log(const raft::SnapshotInstalled& e) {
    LOG(INFO) << "installing a snapshot of the leader: index " << e.last.index << " (term "
              << e.last.term << ")";
  }
  void Log(const raft::ConfigurationChanged& e) {
    if (std::exchange(configuration_, e.configuration) == e.configuration) return;
    LOG(INFO) << "the members that vote are, from entry " << e.index << " on, "
              << Names(e.configuration.voters)
              << (e.configuration.learners.empty() ? "" : "; learners: ")
              << Names(e.configuration.learners);
  }
  void Log(const raft::Halted&) {}  // a Fault follows
  void Log(const Fault& e) {
    LOG(ERROR) << "this member has " << Describe(e, [this](raft::MemberId id) { return Name(id); });
  }
  void Log(const Divergence& e) {
    std::vector<std::string> digests;
    for (const auto& [id, digest] : e.digests) {
      digests.push_back(absl::StrFormat("%s %016x", Name(id), digest));
    }
    LOG(ERROR) << "the states of the members differ after entry " << e.index << ": "
               << absl::StrJoin(digests, ", ")
               << (e.majority ? "; those that differ from the majority halt"
                              : "; none is that of a majority, so all members halt");
  }
  void Log(const raft::PeerLostEntries& e) {
    if (e.repairs) {
      LOG(WARNING) << Name(e.peer) << " lost entries " << e.last + 1 << " to " << e.acknowledged
                   << ", which it had acknowledged; sending them again, and it does not vote "
                      "until it has them";
      return;
    }
    LOG(ERROR) << Name(e.peer) << " acknowledged all entries up to " << e.acknowledged
               << ", and its log ends at " << e.last
               << " now: an older copy of its data directory was put back, or its disk lost "
                  "writes. It is excluded until it is replaced: raftkv member replace";
  }
  void Log(const raft::MessageRejected&) {}  // like the next one
  void Log(const PeerRejected&) {}  // server/peer logs these, together with its own rejections
  void Log(const RejectedByPeer& e) {
    LOG(ERROR) << Name(e.peer) << " rejects this member: its data directory " << data_dir_
               << " is new, but the cluster knows " << Name(self_)
               << " with a different one. So this member may have forgotten votes and acknowledged "
                  "writes, and serves no client. Was it started from another working directory, "
                  "renamed while data_dir was not set, or is a disk not mounted? Stop it and start "
                  "it with its old data directory, or replace the member: raftkv member replace";
  }
  void Log(const VotingAllowed& e) {
    switch (e.why) {
      case VotingAllowed::Why::kLogsAreEmpty:
        LOG(INFO) << "first start: this member may vote now";
        return;
      case VotingAllowed::Why::kJoined:
        LOG(INFO) << "first start: this member has joined the cluster; it votes once it has caught "
                     "up, a learner once it is promoted";
        return;
      case VotingAllowed::Why::kCaughtUp:
        LOG(INFO) << "caught up with the leader: this member may vote now";
        return;
      case VotingAllowed::Why::kRepaired:
        LOG(INFO) << "the log is repaired: the leader has sent again what was lost of entries "
                  << e.lost.first << " to " << e.lost.last.index << "; this member votes again";
    }
  }
  void Log(const WaitingForRepair& e) {
    LOG(WARNING) << "entries " << e.lost.first << " to " << e.lost.last.index
                 << ", which the log of this member has lost, are still missing, and there is no "
                    "leader that could send them. This member does not vote until then, so start "
                    "the other members. If a majority of the members has lost entries or "
                    "directories, restore a backup, or keep one member with --force-new-cluster: "
                    "acknowledged writes that only the others had are lost then";
  }
  void Log(const VersionRaised& e) {
    LOG(INFO) << "the cluster version is " << e.version << " now";
  }
  void Log(const MembersChanged& e) {
    const auto known = std::exchange(names_, {});
    learners_.clear();
    for (const auto& [id, member] : e.members->all()) {
      if (!member.votes) learners_.insert(id);
      const auto old = known.find(id);
      const std::string before = old != known.end() ? old->second : absl::StrFormat("%x", id);
      // A member that has not told its name may be this one.
      names_[id] = !member.info.name().empty() ? member.info.name() : before;
    }
    WarnOfEqualNames();
  }
  // The API permits equal names, as etcd's does: a member tells its name when it starts.
  void WarnOfEqualNames() {
    std::map<std::string, std::set<raft::MemberId>> ids;
    for (const auto& [id, name] : names_) ids[name].insert(id);
    std::erase_if(ids, [](const auto& same) { return same.second.size() == 1; });
    const auto known = std::exchange(equal_names_, std::move(ids));
    for (const auto& [name, same] : equal_names_) {
      const auto before = known.find(name);
      if (before != known.end() && before->second == same) continue;
      const auto print = [](std::string* out, raft::MemberId id) {
        absl::StrAppend(out, absl::Hex(id));
      };
      LOG(WARNING) << same.size() << " members are named " << name << ", with the IDs "
                   << absl::StrJoin(same, ", ", print)
                   << ": start one of them again with another name (-n), and change it in the "
                      "config files, too";
    }
  }
  void Log(const RemovedFromCluster&) {
    LOG(WARNING) << "this member was removed from the cluster, and stops; it cannot use its data "
                    "directory "
                 << data_dir_ << " again. If a member is to run here again: raftkv member add "
                 << name_ << " --peer-urls=URL, then start it with an empty data_dir and --join";
  }
  void Log(const SpaceChanged& e) {
    const SpaceReport& report = e.space->report();
    const std::string free =
        absl::StrFormat("%s: %s of %s are free", data_dir_, HumanBytes(report.free_bytes),
                        HumanBytes(report.volume_bytes));
    switch (e.space->level()) {
      case Space::Level::kEnough:
        LOG(INFO) << free
                  << (e.space->options().quota_bytes == 0
                          ? ""
                          : absl::StrCat(", and the data takes ", HumanBytes(report.state_bytes),
                                         " (storage.quota_backend_bytes: ",
                                         HumanBytes(e.space->options().quota_bytes), ")"))
                  << ": enough space again";
        return;
      case Space::Level::kLow:
        if (e.space->over_quota()) {
          LOG(WARNING) << "the data takes " << HumanBytes(report.state_bytes)
                       << ", more than storage.quota_backend_bytes ("
                       << HumanBytes(e.space->options().quota_bytes)
                       << "): the cluster accepts no puts until keys were deleted, compacted and "
                          "defragmented, or the quota is raised";
          return;
        }
        LOG(WARNING) << free << ", less than " << HumanBytes(e.space->low_bytes())
                     << " (storage.min_free_bytes): the cluster accepts no puts until there is "
                        "more; free space on this volume, or delete keys, compact and defragment";
        return;
      case Space::Level::kFull:
        LOG(ERROR)
            << free << ", less than " << HumanBytes(FullBytes(e.space->low_bytes()))
            << " (a quarter of storage.min_free_bytes): this member no longer writes or leads, "
               "and only answers serializable reads, until there is more";
    }
  }
  void Log(const AlarmsChanged& e) {
    std::vector<std::string> alarms;
    for (const auto& [id, alarm] : e.alarms->all()) {
      alarms.push_back(etcdserverpb::AlarmType_Name(id.type) + " of " + Name(id.member));
    }
    if (alarms.empty()) {
      LOG(INFO) << "there are no alarms any more";
    } else {
      LOG(WARNING) << "alarms: " << absl::StrJoin(alarms, ", ");
    }
  }
  void Log(const CompactionProposed& e) {
    LOG(INFO) << "compacting the history up to revision " << e.revision
              << " (storage.auto_compaction_retention)";
  }
  void Log(const WaitingForPeers& e) {
    if (e.restored) {
      LOG(INFO) << "first start after a restore, with the data directory " << data_dir_ << ": "
                << Describe(e, NameEach(e.missing))
                << "; check that these members run, and that each was restored with the same flags";
      return;
    }
    LOG(INFO) << "first start with the data directory " << data_dir_ << ": "
              << Describe(e, NameEach(e.missing))
              << ", or until a leader sends its log; check that these members run, and that the "
                 "config files of all members have the same peer URLs. If this member has run "
                 "before, was it started from another "
                 "directory? If it is to join a running cluster, stop it, remove the data "
                 "directory, and start it with --join";
  }
  void Log(const LeaderStepsDown& e) {
    if (e.pause == absl::ZeroDuration()) {
      LOG(WARNING) << "stepped down as leader at term " << e.term
                   << ": its disk is full, and no other member took over";
    } else {
      LOG(WARNING) << absl::StrFormat(
          "stepped down as leader at term %d: this process did not run for %.1fs: is the CPU or "
          "the disk busy, or was the process stopped?",
          e.term, absl::ToDoubleSeconds(e.pause));
    }
  }

  // True: this member has asked for votes before since it last knew a leader.
  bool IsRepeat() const { return rounds_ > 1; }

  void LogSummary() const {
    std::vector<raft::MemberId> silent;
    for (const auto& [id, name] : names_) {
      if (answered_.count(id) == 0 && !learners_.contains(id)) silent.push_back(id);
    }
    const size_t all = names_.size() - learners_.size(), majority = all / 2 + 1;
    const size_t answered = all - silent.size();
    if (answered < majority) {
      LOG(WARNING) << "no majority reachable: " << answered << " of " << all
                   << " members answer; requests fail until " << majority
                   << " do (silent: " << Names(silent) << ")";
    } else {
      LOG(WARNING) << "no leader: " << answered << " of " << all
                   << " members answer, but too few of them would vote for this one; requests fail "
                      "until a leader is elected";
    }
  }

  const raft::MemberId self_;
  std::map<raft::MemberId, std::string> names_;
  const std::string name_;  // of this member
  const std::vector<std::string> listed_;
  std::set<raft::MemberId> learners_;
  std::map<std::string, std::set<raft::MemberId>> equal_names_;  // that it has warned of
  raft::Configuration configuration_;  // in force, as far as it was logged
  const std::string data_dir_;
  MonotonicTime now_;
  raft::MemberId leader_ = raft::kNobody;
  raft::Term leader_term_ = 0;
  raft::Term follower_term_ = 0;

  int rounds_ = 0;                     // how often it asked for votes since it last knew a leader
  std::set<raft::MemberId> answered_;  // the members that answered this time, and `self_`
  MonotonicTime next_summary_;
  absl::Duration pause_;
};

}  // namespace

LogEvent EventLogger(raft::MemberId self, std::map<raft::MemberId, std::string> names,
                     std::vector<std::string> listed, std::string data_dir) {
  return Logger(self, std::move(names), std::move(listed), std::move(data_dir));
}

}  // namespace raftkv
