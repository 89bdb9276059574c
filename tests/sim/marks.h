#ifndef RAFTKV_TESTS_SIM_MARKS_H_
#define RAFTKV_TESTS_SIM_MARKS_H_

// The "sometimes" marks: rare situations that the seeds of one test, taken together, must meet. If
// a mark stays at zero, the simulator no longer tests that situation, and the test fails. One line
// for each mark; the second column is the text that is printed.

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace raftkv::sim {

#define RAFTKV_SIM_MARKS(X)                                                   \
  X(kVoteSplit, "two candidates in one term")                                 \
  X(kVoteDeclined, "vote declined")                                           \
  X(kPreVoteDeclined, "pre-vote declined")                                    \
  X(kVoteAfterRestart, "vote granted by a restarted member")                  \
  X(kElectionLost, "candidate denied a vote")                                 \
  X(kCheckQuorum, "leader stepped down by CheckQuorum")                       \
  X(kDeposed, "leader deposed by a higher term")                              \
  X(kLeaderStepsDown, "leader stepped down in its own term")                  \
  X(kEarlyWon, "election won early: the leader's connection broke")           \
  X(kEarlyLost, "early round of pre-votes lost")                              \
  X(kEarlyRetried, "early round of pre-votes retried")                        \
  X(kEarlyGivenUp, "early rounds given up for the election timeout")          \
  X(kEarlyHeldOff, "early rounds lost: a majority heard the leader")          \
  X(kOldConnectionLost, "loss of an older connection of the leader ignored")  \
  X(kClosedInOrder, "connection closed cleanly")                              \
  X(kLearnerAdded, "learner added")                                           \
  X(kVoterAdded, "voter added, which does not vote yet")                      \
  X(kVoterCounted, "added voter caught up, and votes")                        \
  X(kPromoted, "learner promoted")                                            \
  X(kSoleVoter, "one voter with two learners")                                \
  X(kSevenVoters, "seven voters, after a change")                             \
  X(kCrashBeforeSave, "sole voter crashed between send and save")             \
  X(kClockPassedEnd, "clocks passed 32 bits of ms or 64 of ns")               \
  X(kMemberRemoved, "member removed")                                         \
  X(kLeaderRemoved, "leader removed")                                         \
  X(kMemberUpdated, "peer URLs of a member changed")                          \
  X(kPublished, "client URLs of a member changed")                            \
  X(kChangeRejected, "change of the members rejected")                        \
  X(kNotInSync, "promotion rejected: the learner is not in sync")             \
  X(kRemovedTold, "removed member told so by another")                        \
  X(kRejoined, "machine joined again, as another member")                     \
  X(kConfigurationTruncated, "uncommitted configuration removed from a log")  \
  X(kConfigurationInherited, "leader with an uncommitted configuration")      \
  X(kTransferred, "leadership transferred")                                   \
  X(kTransferBehind, "transfer to a member that was behind")                  \
  X(kTransferTimedOut, "transfer given up")                                   \
  X(kTransferAskedOfFollower, "transfer requested at a follower")             \
  X(kTransferBadTarget, "transfer to a target that is no other voter")        \
  X(kTransferWon, "election without pre-votes won after TimeoutNow")          \
  X(kTimeoutNowLate, "TimeoutNow of an old term ignored")                     \
  X(kHandedOver, "leader stopped after another had taken over")               \
  X(kLeaderCrashedUncommitted, "leader crashed with uncommitted entries")     \
  X(kUncommittedSurvived, "entry of a crashed leader committed by another")   \
  X(kTruncated, "conflicting suffix removed")                                 \
  X(kTruncatedBehind, "removed a suffix where others had committed already")  \
  X(kOldTermCommitted, "entry of an old term committed by a later leader")    \
  X(kDuplicateAppend, "duplicate append ignored")                             \
  X(kStaleAppend, "append of an older term rejected")                         \
  X(kHeardAReplacedProcess, "message of a process that was replaced ignored") \
  X(kTwoHistoriesFound, "member halted: two histories after an old copy")     \
  X(kOldCopyFoundByLeader, "old copy found by the leader")                    \
  X(kDivergenceFound, "member halted: its state was changed")                 \
  X(kRestored, "backup restored into a new cluster")                          \
  X(kRestoredBumped, "backup restored with a raised revision")                \
  X(kRestoredCrashedEarly, "restored member crashed before it might vote")    \
  X(kLostLeaseFound, "member halted: its state lacked a lease")               \
  X(kOldCopyRemembered, "old copy found by a member that remembers it")       \
  X(kRejectedAppend, "append rejected for a gap or a conflict")               \
  X(kOutOfOrder, "messages overtook each other")                              \
  X(kDuplicated, "message delivered twice")                                   \
  X(kPartitionSymmetric, "symmetric partition")                               \
  X(kPartitionOneWay, "one-way partition")                                    \
  X(kPartitionLeader, "leader cut off")                                       \
  X(kLeadersApart, "two leaders at once, of different terms")                 \
  X(kConnectionLost, "connection broken")                                     \
  X(kCrashInTurn, "crash inside a turn")                                      \
  X(kCrashInSave, "crash right after a save, before its promises left")       \
  X(kCrashInApply, "crash inside an apply")                                   \
  X(kCrashAll, "all members crashed at once")                                 \
  X(kCrashFirstStart, "crash before the member might vote")                   \
  X(kStateLost, "crash lost unflushed state")                                 \
  X(kLogEndLost, "log lost synced entries at its end")                        \
  X(kLostEndApplied, "what a log lost was applied: it continues after that")  \
  X(kLossFoundByLeader, "leader sends again what a member acknowledged")      \
  X(kLostEndRepaired, "log that lost its end repaired by a leader")           \
  X(kCrashRepairing, "crash of a member that repairs its log")                \
  X(kReplayed, "entries replayed after a crash")                              \
  X(kStopDeclined, "proposal declined because the leader was stopping")       \
  X(kStopFinished, "request finished while its member was stopping")          \
  X(kStopDrained, "request ended unfinished by a stop")                       \
  X(kStopped, "orderly stop of a member")                                     \
  X(kPaused, "member paused")                                                 \
  X(kPausedLeader, "leader paused longer than an election timeout")           \
  X(kSaveStalled, "save stalled longer than an election timeout")             \
  X(kReadByLeader, "read answered by the leader")                             \
  X(kReadByFollower, "read answered by a follower")                           \
  X(kRegisterSearched, "order found for overlapping requests of a key")       \
  X(kReadDeclined, "read index request declined")                             \
  X(kReadBeforeOwnTerm, "read at a leader before a commit of its term")       \
  X(kReadWaitedForApply, "read waited for the applier")                       \
  X(kReadTimedOut, "read timed out")                                          \
  X(kForwarded, "forwarded proposal applied")                                 \
  X(kForwardDeclined, "forwarded proposal declined")                          \
  X(kUnsent, "forwarded proposal certainly not sent")                         \
  X(kUnknownLeaderLost, "fate unknown: leader lost")                          \
  X(kUnknownConnection, "fate unknown: connection lost")                      \
  X(kUnknownTimedOut, "fate unknown: timed out")                              \
  X(kUnknownApplied, "proposal of unknown fate applied later")                \
  X(kUnknownNever, "proposal of unknown fate never applied")                  \
  X(kTimedOut, "proposal timed out, certainly not applied")                   \
  X(kTooMany, "proposal rejected: too many requests")                         \
  X(kLargeWaits, "large proposal waited for small ones")                      \
  X(kDeletedNothing, "delete that found nothing")                             \
  X(kTxnSucceeded, "transaction whose compares held")                         \
  X(kTxnFailed, "transaction whose compares did not hold")                    \
  X(kTxnRejected, "transaction rejected for a key, a lease or its shape")     \
  X(kTxnCompacted, "transaction rejected for a revision")                     \
  X(kWalkRejected, "transaction or deletion rejected: it walks too far")      \
  X(kTxnPast, "replicated transaction that read a past revision")             \
  X(kTxnCounted, "count beyond a limit, after changes of the txn")            \
  X(kTxnRead, "transaction that only read")                                   \
  X(kSwapped, "key put on the condition of its mod_revision")                 \
  X(kPutAndDeleted, "key put and deleted in one transaction")                 \
  X(kNotSupported, "request that the cluster version does not have")          \
  X(kLeaseGranted, "lease granted")                                           \
  X(kLeaseRenewed, "lease renewed")                                           \
  X(kLeaseRevoked, "lease revoked, with its keys")                            \
  X(kLeaseExpired, "lease expired")                                           \
  X(kLeaseExpiredLater, "lease expired by a later leader")                    \
  X(kLeaseSaved, "expiry without effect: the lease was renewed before")       \
  X(kLeasesLeft, "expiry that left some of its leases to a later one")        \
  X(kLeaseFull, "put rejected: its lease has too many keys")                  \
  X(kRenewalLost, "renewal that was not applied")                             \
  X(kSessionRepeated, "repeated write that got the first answer")             \
  X(kSessionReduced, "repeated write that got a part of the first answer")    \
  X(kSessionError, "repeated write that got the first error")                 \
  X(kSessionExpired, "write of a session that does not exist")                \
  X(kSessionAcknowledged, "late copy of an acknowledged write rejected")      \
  X(kSessionFull, "write rejected: its session has too many answers")         \
  X(kAlarmChanged, "alarm raised or ended by a client")                       \
  X(kAlarmOfDisk, "alarm raised by a member because of its disk")             \
  X(kNoSpace, "write denied by the alarm NOSPACE")                            \
  X(kCorrupt, "write denied by the alarm CORRUPT")                            \
  X(kOutOfSpace, "member out of space, which takes no entries")               \
  X(kFullLeader, "leader out of space")                                       \
  X(kSpaceBack, "member with space again")                                    \
  X(kCompactedByItself, "compaction that a leader proposed by itself")        \
  X(kCompacted, "compaction acknowledged")                                    \
  X(kCompactRejected, "compaction rejected")                                  \
  X(kReadPast, "past revision read")                                          \
  X(kReadCompacted, "read rejected for a revision")                           \
  X(kCompactionLost, "crash lost an applied compaction")                      \
  X(kCompactSteps, "physical compaction in several steps")                    \
  X(kCrashInCompaction, "crash inside a step of the physical compaction")     \
  X(kCrashCompacting, "crash between steps of the physical compaction")       \
  X(kAsleep, "hash by a member whose compaction is behind")                   \
  X(kLargeEntry, "entry left for a run without a limit of steps")             \
  X(kApplyStalled, "entries applied elsewhere because writes would wait")     \
  X(kTurnBesideApply, "turn while another thread applied")                    \
  X(kFlushDue, "state machine flushed by the member's clock")                 \
  X(kVersionRaised, "cluster version raised after an upgrade under load")     \
  X(kVersionRaisedAtOnce, "cluster version raised without an upgrade")        \
  X(kUpgraded, "member restarted as a newer release")                         \
  X(kClientGone, "write dropped because its client had gone")                 \
  X(kWiped, "wiped member kept from voting")                                  \
  X(kLogCut, "log cut")                                                       \
  X(kStartFromCutLog, "start from a cut log")                                 \
  X(kSnapshotWanted, "follower needs an entry that was cut")                  \
  X(kSnapshotInstalled, "snapshot installed")                                 \
  X(kInstalledUnderWatch, "snapshot installed under watches")                 \
  X(kInstalledUnderLease, "snapshot installed that has leases")               \
  X(kInstalledOverALongerLog, "snapshot installed that ends before the log")  \
  X(kSnapshotDeclined, "snapshot declined or not needed when it arrived")     \
  X(kSnapshotBroken, "sending a snapshot broke off")                          \
  X(kSnapshotGivenUp, "snapshot given up by a leader that was deposed")       \
  X(kCrashInInstall, "crash inside an install")                               \
  X(kInstallResumed, "install finished by the next start")                    \
  X(kCaughtUpBySnapshot, "leader told that its snapshot is installed")        \
  X(kCaughtUpToVote, "member caught up by a leader before it might vote")     \
  X(kWatchCaughtUp, "watch caught up from the store")                         \
  X(kWatchCompacted, "watch cancelled for a compaction")                      \
  X(kWatchResumed, "watch resumed on another stream")                         \
  X(kWatchProgress, "progress of a stream requested and sent")                \
  X(kWatchNotified, "progress of a quiet watch sent")                         \
  X(kWatchFragment, "events of a revision sent in fragments")                 \
  X(kWatchBatch, "events of several revisions in one response")

enum class Mark : uint8_t {
#define RAFTKV_SIM_MARK(name, text) name,
  RAFTKV_SIM_MARKS(RAFTKV_SIM_MARK)
#undef RAFTKV_SIM_MARK
      kCount,
};

inline constexpr size_t kMarkCount = static_cast<size_t>(Mark::kCount);

inline std::string_view MarkText(Mark mark) {
  static constexpr std::string_view kTexts[] = {
#define RAFTKV_SIM_MARK(name, text) text,
      RAFTKV_SIM_MARKS(RAFTKV_SIM_MARK)
#undef RAFTKV_SIM_MARK
  };
  return kTexts[static_cast<size_t>(mark)];
}

class Marks {
 public:
  void Hit(Mark mark) { ++counts_[static_cast<size_t>(mark)]; }
  uint64_t operator[](Mark mark) const { return counts_[static_cast<size_t>(mark)]; }
  void Add(const Marks& other) {
    for (size_t i = 0; i < kMarkCount; ++i) counts_[i] += other.counts_[i];
  }

 private:
  std::array<uint64_t, kMarkCount> counts_ = {};
};

}  // namespace raftkv::sim

#endif  // RAFTKV_TESTS_SIM_MARKS_H_
