#include "server/events.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace raftkv {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class Events : public testing::Test, private google::LogSink {
 protected:
  Events() { google::AddLogSink(this); }
  ~Events() override { google::RemoveLogSink(this); }

  void send(google::LogSeverity severity, const char*, const char*, int,
            const google::LogMessageTime&, const char* message, size_t length) override {
    lines_.emplace_back(message, length);
    severity_ = severity;
  }

  // Returns the lines that are logged for `event`.
  std::vector<std::string> Logged(const ReplicaEvent& event) {
    lines_.clear();
    log_(event, now_);
    return lines_;
  }

  MonotonicTime now_;
  google::LogSeverity severity_ = google::GLOG_INFO;  // of the last line

 private:
  std::vector<std::string> lines_;
  LogEvent log_ = EventLogger(1, {{1, "n1"}, {2, "n2"}, {3, "n3"}, {4, "n4"}, {5, "n5"}},
                              {"n1", "n4", "n2", "n5"}, "/data/n1");
};

TEST_F(Events, ALostLeaderIsNamedWithItsTerm) {
  EXPECT_THAT(Logged(raft::LeaderChanged{7, 2}), ElementsAre("leader of term 7 is n2"));
  EXPECT_THAT(Logged(raft::LeaderChanged{8, raft::kNobody}),
              ElementsAre("lost leader n2 of term 7"));
  EXPECT_EQ(severity_, google::GLOG_WARNING);
}

TEST_F(Events, APlannedChangeOfLeaderIsNoWarning) {
  Logged(raft::LeaderChanged{7, 2});
  EXPECT_THAT(Logged(raft::LeaderChanged{8, raft::kNobody, /*transfer=*/true}),
              ElementsAre("leader n2 of term 7 transfers its leadership"));
  EXPECT_EQ(severity_, google::GLOG_INFO);
  using Why = raft::SteppedDown::Why;
  EXPECT_THAT(Logged(raft::SteppedDown{8, Why::kTransfer}),
              ElementsAre("stepped down as leader at term 8: transferred leadership"));
  EXPECT_EQ(severity_, google::GLOG_INFO);
  Logged(raft::SteppedDown{8, Why::kHigherTerm});
  EXPECT_EQ(severity_, google::GLOG_WARNING);
}

TEST_F(Events, ALeaderThatStepsDownByItselfSaysWhy) {
  EXPECT_THAT(Logged(LeaderStepsDown{8, absl::Milliseconds(1430)}),
              ElementsAre("stepped down as leader at term 8: this process did not run for 1.4s: is "
                          "the CPU or the disk busy, or was the process stopped?"));
  EXPECT_EQ(severity_, google::GLOG_WARNING);
  EXPECT_THAT(Logged(LeaderStepsDown{8, absl::ZeroDuration()}),
              ElementsAre(HasSubstr("its disk is full, and no other member took over")));
}

TEST_F(Events, EqualNamesAreWarnedOfOnce) {
  proto::ChangeMembers change;
  for (const uint64_t id : {1, 2, 0xb3}) {
    etcdserverpb::Member& info = *change.mutable_begin()->add_members();
    info.set_id(id);
    info.set_name(id == 1 ? "n1" : "n2");
    info.add_peerurls(absl::StrCat("http://h:", id));
  }
  Members members;
  members.Complete(&change);
  members.Apply(change);
  EXPECT_THAT(Logged(MembersChanged{&members}),
              ElementsAre(HasSubstr("2 members are named n2, with the IDs 2, b3: ")));
  EXPECT_EQ(severity_, google::GLOG_WARNING);
  EXPECT_THAT(Logged(MembersChanged{&members}), IsEmpty());
}

// The members no longer contain it.
TEST_F(Events, ARemovedMemberIsToldHowItComesBack) {
  proto::ChangeMembers change;
  change.mutable_begin()->add_members()->set_id(2);
  Members members;
  members.Complete(&change);
  members.Apply(change);
  Logged(MembersChanged{&members});
  EXPECT_THAT(Logged(RemovedFromCluster{}),
              ElementsAre("this member was removed from the cluster, and stops; it cannot use its "
                          "data directory /data/n1 again. If a member is to run here again: raftkv "
                          "member add n1 --peer-urls=URL, then start it with an empty data_dir "
                          "and --join"));
}

TEST_F(Events, NoMajorityIsLoggedOnceThenRarely) {
  EXPECT_THAT(Logged(raft::BecamePreCandidate{3}),
              ElementsAre("no leader heard: asking for pre-votes for term 3"));
  EXPECT_THAT(Logged(raft::VoteReceived{3, 2, true, /*pre_vote=*/true}),
              ElementsAre("pre-vote granted by n2 for term 3"));
  std::vector<absl::Duration> logged_at;
  for (MonotonicTime start = now_; now_ - start < absl::Minutes(5);) {
    now_ += absl::Milliseconds(1500);
    const auto lines = Logged(raft::BecamePreCandidate{3});
    if (!lines.empty()) {
      EXPECT_THAT(lines, ElementsAre("no majority reachable: 2 of 5 members answer; requests fail "
                                     "until 3 do (silent: n4, n5, n3)"));
      logged_at.push_back(now_ - start);
    }
    EXPECT_THAT(Logged(raft::VoteReceived{3, 2, true, /*pre_vote=*/true}), IsEmpty());
    EXPECT_THAT(Logged(raft::VoteGranted{3, 2, /*pre_vote=*/true}), IsEmpty());
  }
  ASSERT_GE(logged_at.size(), 8);
  EXPECT_LE(logged_at.size(), 12) << "a line for each attempt";
  EXPECT_EQ(logged_at[0], absl::Milliseconds(1500));
  EXPECT_GE(logged_at[7] - logged_at[6], absl::Minutes(1));

  // After a leader was known, the next attempts are logged in full again.
  Logged(raft::LeaderChanged{4, 2});
  EXPECT_THAT(Logged(raft::BecamePreCandidate{5}), ElementsAre(HasSubstr("asking for pre-votes")));
  EXPECT_THAT(Logged(raft::VoteGranted{5, 2, /*pre_vote=*/true}),
              ElementsAre(HasSubstr("granted")));
}

TEST_F(Events, AMajorityThatAnswersButDoesNotElect) {
  Logged(raft::BecamePreCandidate{3});
  for (raft::MemberId voter : {2, 3})
    Logged(raft::VoteReceived{3, voter, false, /*pre_vote=*/true});
  now_ += absl::Seconds(1);
  EXPECT_THAT(Logged(raft::BecamePreCandidate{3}),
              ElementsAre(HasSubstr("no leader: 3 of 5 members answer, but too few")));
}

TEST_F(Events, ARealVoteIsAlwaysLogged) {
  for (int i = 0; i < 3; ++i) Logged(raft::BecamePreCandidate{3});
  EXPECT_THAT(Logged(raft::BecameCandidate{3}), ElementsAre("became candidate at term 3"));
  EXPECT_THAT(Logged(raft::VoteGranted{3, 2}), ElementsAre("granted vote to n2 for term 3"));
  EXPECT_THAT(Logged(raft::VoteReceived{3, 2, true}), ElementsAre("vote granted by n2 for term 3"));
}

TEST_F(Events, FirstStartAndRejectionNameTheMembers) {
  EXPECT_THAT(Logged(WaitingForPeers{{2}, 1}),
              ElementsAre(AllOf(HasSubstr("first start with the data directory /data/n1: waiting "
                                          "for n2, whose data directory must be new, too, or"),
                                HasSubstr("started from another directory?"),
                                HasSubstr("to join a running cluster, stop it, remove the"))));
  EXPECT_THAT(
      Logged(WaitingForPeers{{2}, 1, /*restored=*/true}),
      ElementsAre("first start after a restore, with the data directory /data/n1: waiting for n2, "
                  "whose data directory must be restored from the same backup, too; check that "
                  "these members run, and that each was restored with the same flags"));
  EXPECT_THAT(Logged(WaitingForPeers{{2, 3, 4}, 3}),
              ElementsAre(HasSubstr("waiting for n4, n2 and n3, whose data directories must")))
      << "in the order of the file";
  EXPECT_THAT(Logged(WaitingForPeers{{2, 4}, 1}),
              ElementsAre(HasSubstr("waiting for 1 of n4 and n2, with data directories that are "
                                    "new, too")));
  EXPECT_THAT(Logged(VotingAllowed{VotingAllowed::Why::kJoined}),
              ElementsAre("first start: this member has joined the cluster; it votes once it has "
                          "caught up, a learner once it is promoted"));
  EXPECT_THAT(Logged(RejectedByPeer{3}),
              ElementsAre(AllOf(HasSubstr("n3 rejects this member: its data directory /data/n1"),
                                HasSubstr("started from another working directory"),
                                HasSubstr("start it with its old data directory"))));
}

TEST_F(Events, AHaltSaysWhatHappenedAndWhatToDo) {
  EXPECT_THAT(Logged(raft::Halted{raft::Halted::Why::kConflict, 2, {3, 9}}), ElementsAre())
      << "a Fault follows";
  EXPECT_THAT(Logged(Fault{Fault::Kind::kConflict, 2, {3, 9}}),
              ElementsAre(AllOf(HasSubstr("this member has halted: the log of n2 contradicts the "
                                          "log of this member at entry 9 (of term 3 here)"),
                                HasSubstr("Keep all data directories. First find out which member "
                                          "has which history"),
                                HasSubstr("raftkv endpoint status of all members"),
                                HasSubstr("do not remove or replace a member"))));
  EXPECT_THAT(Logged(Fault{Fault::Kind::kLostEntries, 2, {0, 9}}),
              ElementsAre(AllOf(HasSubstr("acknowledged all entries up to 9 to the leader n2"),
                                HasSubstr("raftkv member replace"))));
  EXPECT_THAT(
      Logged(Fault{Fault::Kind::kOlderCopy, 2, {3, 9}}),
      ElementsAre(HasSubstr("n2 knows that the log of this member was at index 9 in term 3")));
  EXPECT_THAT(Logged(raft::PeerLostEntries{3, 9, 4}),
              ElementsAre(HasSubstr("n3 acknowledged all entries up to 9, and its log ends at 4")));
  EXPECT_THAT(Logged(Divergence{1000, {{1, 7}, {2, 8}, {3, 8}}, 8}),
              ElementsAre(HasSubstr("differ after entry 1000: n1 0000000000000007, n2 ")));
  EXPECT_THAT(Logged(Fault{Fault::Kind::kDiverged, 2, {0, 1000}}),
              ElementsAre(HasSubstr("halted: after entry 1000 the state of this member is not")));
}

}  // namespace
}  // namespace raftkv
