#include "tests/sim/mutants.h"

namespace raftkv::sim {

namespace {

constexpr Mutant kMutants[] = {
    // Terms and votes.
    {"vote-twice-in-a-term", "", "a vote in a term does not exclude another"},
    {"lead-before-vote-saved", "M03",
     "a candidate asks for votes, counts its own and leads before its vote is saved"},
    {"vote-ignores-log", "M59", "votes for candidates whose log is behind"},
    {"longer-log-is-newer", "M60", "votes for the longer log, whatever the term of its last entry",
     5000},
    {"late-votes-count", "M05", "votes of an earlier term count", 3000},
    {"same-term-stepdown-clears-vote", "M04",
     "a candidate that becomes a follower in the same term forgets its vote"},
    {"late-append-lowers-the-term", "M07",
     "an append of an old term takes a follower back to that term"},
    {"vote-saved-before-term", "M02", "term and vote are saved in two writes, the vote first"},
    {"lost-end-not-noticed", "", "a member votes though its log has lost its end"},
    {"mark-follows-a-lost-end", "",
     "a restart forgets how far a log that has lost its end must come"},
    {"votes-at-the-mark", "",
     "a member whose log has lost its end votes when it comes as far as an old mark"},
    {"late-commit-index-counts", "",
     "a member that has lost entries votes when it has what a late append says is committed"},
    {"votes-before-it-may", "M06", "a member with a new data directory votes at once"},
    {"pre-vote-bumps-term", "M27", "asking for pre-votes makes others enter the term"},
    {"vote-while-leader-is-heard", "M24", "a member that hears its leader votes for another"},
    {"fast-campaign-on-old-connection", "",
     "the loss of an older connection of the leader counts, too"},
    {"pre-vote-reply-of-own-term", "M22", "a granted pre-vote names the voter's own term"},
    {"transfer-to-a-member-behind", "",
     "leadership is transferred before the target is up to date"},
    {"propose-during-transfer", "",
     "a leader accepts proposals while it hands its leadership over"},
    {"transfer-does-not-depose", "M25",
     "members that hear their leader ignore the vote request of its successor"},
    {"timeout-now-of-an-old-term", "", "a TimeoutNow of an old term makes a member campaign", 5000},
    {"half-is-a-quorum", "M57", "half of the members are a majority"},
    {"pre-vote-counts-as-contact", "M23",
     "a member that is asked for a pre-vote takes its leader for alive"},
    {"append-does-not-reset-the-timer", "M61", "a follower that hears its leader campaigns"},
    // Membership.
    {"change-before-own-commit", "M30",
     "a leader changes the members before it has committed an entry of its term"},
    {"two-changes-at-once", "", "a leader changes the members while a change is uncommitted"},
    {"learner-campaigns", "M28", "a learner asks for votes"},
    {"learners-count", "M66", "learners count like voters"},
    {"removed-leader-counts-itself", "M67", "a leader counts itself for its own removal"},
    {"configuration-forgotten-at-restart", "M31",
     "a restart does not read the configurations in the log"},
    {"truncation-keeps-the-configuration", "",
     "a configuration stays in force when its entry is removed"},
    {"install-keeps-the-old-configuration", "M34",
     "a member does not learn the configuration of an installed snapshot"},
    // Replication and commit.
    {"reply-before-save", "M14", "votes and acknowledgements are sent before the save"},
    {"saves-are-not-synced", "M16", "the log is written, but not synced"},
    {"count-self-before-save", "M65", "a leader counts its own unsaved entries"},
    {"commit-old-term-by-counting", "M01",
     "entries of an old term are committed by counting (Figure 8)", 5000},
    {"noop-omitted", "M68", "a new leader appends nothing"},
    {"truncate-on-duplicate-append", "M63", "a duplicate append removes what follows it"},
    {"follower-commits-past-proof", "M09",
     "a follower commits entries beyond those that the append proved equal"},
    {"payload-is-lost", "", "a follower stores commands without their contents"},
    {"full-leader-replaces-an-entry", "",
     "a leader with too many uncommitted entries removes its last one for a new one"},
    {"chain-not-compared", "", "logs are matched by index and term alone"},
    {"committed-conflict-ignored", "", "entries of a leader replace committed ones"},
    {"digests-not-compared", "", "the members do not compare the digests of their states"},
    {"window-keeps-what-was-lost", "M29",
     "appends that were lost count as in flight when the leader probes"},
    {"rejection-ignored", "M20", "a leader repeats an append that was rejected"},
    {"truncation-keeps-tail", "", "the log on disk keeps the entries that were truncated"},
    {"saved-commit-index-is-the-last", "M64",
     "the saved commit index is above the committed entries"},
    {"truncation-keeps-the-saved-index", "M15",
     "entries that replaced others count as saved before they are"},
    // Cut logs and snapshots.
    {"cut-beyond-the-flushed-index", "M72", "entries are removed whose effects are not flushed"},
    {"reset-keeps-old-entries", "", "entries above an installed snapshot stay in the log"},
    {"snapshot-acked-before-durable", "", "an install is acknowledged before it is durable"},
    {"snapshot-installed-over-a-newer-log", "M48", "an old snapshot replaces a newer state"},
    {"log-reset-before-the-state-is-replaced", "M52",
     "an install empties the log before the snapshot is named as the state"},
    {"install-hides-the-leases", "M44",
     "a member does not learn the leases of an installed snapshot"},
    {"install-hides-the-sessions", "",
     "a member does not learn the sessions of an installed snapshot"},
    {"digest-is-kept-late", "", "a state keeps an older digest again instead of a new one"},
    {"snapshot-names-the-end-of-the-log", "",
     "a snapshot has the chain hash of the log's last entry, not of its own"},
    {"restored-log-is-not-empty", "",
     "a member that was restored tells the others that it has forgotten nothing"},
    // Reads.
    {"stale-read-after-leader-change", "M36", "a new leader answers reads before it commits"},
    {"read-without-round", "M35", "a leader answers reads without asking a majority", 3000},
    {"late-read-reply-counts", "M37",
     "the reply to an earlier read index request confirms newer reads"},
    {"read-skips-apply-queue", "M38", "a confirmed read does not wait for the state machine"},
    // Apply and answers.
    {"apply-twice-after-restart", "M43", "entries that the state machine holds are applied again"},
    {"applied-index-outside-the-batch", "M41", "data and applied index are written apart"},
    {"applied-term-stays", "", "the state machine saves the index of an entry, but not its term"},
    {"apply-reads-local-state", "M42", "applying depends on what only this member knows"},
    {"unread-heads-count-as-none", "M42", "a head that was not read counts as that of no key"},
    {"large-entry-passed-over", "M17", "an entry that is too large for the loop counts as applied"},
    // Transactions.
    {"compares-see-earlier-writes", "", "nested compares are evaluated after earlier operations"},
    {"txn-reads-the-state-before", "", "a range in a transaction does not see its earlier writes"},
    {"txn-counts-the-state-before", "",
     "a count in a transaction does not see what it created and deleted"},
    {"missing-value-is-empty", "", "a key that does not exist compares as an empty value"},
    {"txn-asks-the-physical-compaction", "",
     "a transaction may read what only this member has not compacted yet"},
    {"rules-of-the-binary", "",
     "entries are judged by the newest rules, not by those of the version in force"},
    {"leftovers-are-charged", "",
     "a walk is rejected because of what only this member has not compacted yet"},
    // Compaction.
    {"compact-asks-the-physical-compaction", "",
     "whether a compaction is rejected depends on this member's physical compaction"},
    {"compaction-goes-too-far", "",
     "physical compaction removes what the next revision made obsolete"},
    {"compaction-keeps-tombstones", "", "physical compaction leaves deletions behind"},
    {"compaction-saves-its-own-revision", "",
     "a crash in a compaction brings an older revision back"},
    {"compaction-cursor-outside-the-batch", "",
     "the position of the compaction is saved before its work"},
    {"compacted-forgotten-at-restart", "", "a restart forgets the compacted revision"},
    {"hash-of-what-is-stored", "", "a hash includes what physical compaction has not removed yet"},
    {"counts-forgotten-at-restart", "", "a restart does not load the counts of keys"},
    {"count-of-the-past-is-of-now", "",
     "a read of a past revision counts the keys of the newest one"},
    {"count-of-a-block-is-of-now", "",
     "a read of a past revision takes the newest count of each block of keys"},
    {"split-forgets-old-keys", "",
     "a block that was split is taken for one without keys at the time of its older ones"},
    // Leases.
    {"renewal-does-not-save-a-lease", "M40",
     "an expiry that was proposed before a renewal takes effect after it"},
    {"lessor-forgets-renewals", "", "a renewal does not start a lease's time anew"},
    {"new-leader-expires-at-once", "",
     "a new leader does not wait for renewals that need a leader"},
    {"new-leader-restarts-leases", "",
     "the time of each lease starts anew when the leader changes"},
    {"leases-expire-early", "", "a leader expires leases when nine tenths of their time are over"},
    {"attached-rows-without-the-batch", "",
     "the end of a lease ignores what the same batch has attached or detached"},
    {"end-of-a-lease-keeps-heads", "",
     "a put does not see that the end of a lease deleted its key"},
    {"digest-skips-leases", "M69", "the digest does not cover leases"},
    // Sessions.
    {"known-number-executed-again", "", "a repeated write of a session is executed again"},
    {"acknowledged-number-executed-again", "",
     "a late copy of a write is executed after the client has acknowledged its answer"},
    {"session-forgets-errors", "", "a write that was answered with an error is executed later"},
    {"sessions-forgotten-at-restart", "", "a restart forgets the answers of sessions"},
    {"sessions-outlive-their-leases", "", "the answers of a session stay when its lease ends"},
    // Alarms.
    {"no-space-denies-revocations", "", "no lease can be revoked while a member is short of space"},
    {"alarms-forgotten-at-restart", "", "a restarted member does not follow the alarms in force"},
    {"alarm-never-ends", "", "a member keeps its alarm when it has space again"},
    {"appends-out-of-space", "", "a member whose disk is full acknowledges what it has not taken"},
    // Watches.
    {"watch-skips-at-the-switch", "M45",
     "a watch that catches up misses what was distributed meanwhile"},
    {"watch-repeats-after-the-switch", "M46", "a watch that has caught up gets events again"},
    {"watch-progress-ahead-of-events", "",
     "progress is sent to a stream that is still catching up"},
    {"watch-without-prev-kv", "", "a watch that catches up gets no previous values"},
    {"watch-hides-the-compaction", "", "a watch from a compacted revision misses events silently"},
    // Answers.
    {"ack-before-apply", "", "a write is acknowledged when it is committed"},
    {"lost-leader-means-not-proposed", "M12",
     "a client is told that a write in flight did not happen when the leader changes"},
    {"propose-twice-after-unknown", "M47", "a proposal of unknown fate is proposed again"},
    {"proposal-of-another-term", "M47",
     "a leader proposes what was meant for the leader of another term", 5000},
    // Bounds.
    {"window-without-bound", "", "a leader sends to a peer that acknowledges nothing"},
    {"requests-without-bound", "", "a member takes any number of requests that wait"},
};

}  // namespace

absl::Span<const Mutant> Mutants() { return kMutants; }

bool NeedsAnOldCopy(std::string_view mutant) {
  return mutant == "chain-not-compared" || mutant == "committed-conflict-ignored";
}

bool NeedsADivergence(std::string_view mutant) {
  return mutant == "digests-not-compared" || mutant == "digest-skips-leases";
}

bool NeedsALongTail(std::string_view mutant) { return mutant == "reset-keeps-old-entries"; }

bool NeedsARestore(std::string_view mutant) { return mutant == "restored-log-is-not-empty"; }

namespace {

// Bugs of changes of the members.
bool ChangesMembers(std::string_view mutant) {
  return mutant == "change-before-own-commit" || mutant == "two-changes-at-once" ||
         mutant == "learners-count" || mutant == "learner-campaigns" ||
         mutant == "removed-leader-counts-itself" ||
         mutant == "configuration-forgotten-at-restart" ||
         mutant == "truncation-keeps-the-configuration" ||
         mutant == "install-keeps-the-old-configuration";
}

bool ConcernsSessions(std::string_view mutant) {
  return mutant == "install-hides-the-sessions" || mutant == "known-number-executed-again" ||
         mutant == "acknowledged-number-executed-again" || mutant == "session-forgets-errors" ||
         mutant == "sessions-forgotten-at-restart" || mutant == "sessions-outlive-their-leases";
}

void AimAtSessions(std::string_view mutant, Profile* profile) {
  Profile& p = *profile;
  p.session = 90 * kPercent;
  p.old_version = 0;
  p.patience = 300 * kMillisecond;  // so that clients repeat writes
  if (mutant == "install-hides-the-sessions") {
    p.tail.entries_max = 2;
    p.tail.step_entries = 1;
    p.tail.held_bytes_max = 0;
    p.snapshot_time = 20 * kMillisecond;
  }
}

void AimAtChanges(std::string_view mutant, Profile* profile) {
  Profile& p = *profile;
  p.members = 3;
  p.spares = 2;
  p.change_every = 300 * kMillisecond;
  p.wipe = 0;
  p.old_version = 0;
  p.crash_every = 1500 * kMillisecond;
  p.down_for = 400 * kMillisecond;
  p.partition_every = kSecond;
  p.partition_for = 700 * kMillisecond;
  if (mutant == "install-keeps-the-old-configuration") {
    p.tail.entries_max = 2;
    p.tail.step_entries = 1;
    p.tail.held_bytes_max = 0;
    p.snapshot_time = 20 * kMillisecond;
  }
}

}  // namespace

void Aim(std::string_view mutant, Profile* profile) {
  Profile& p = *profile;
  if (mutant == "commit-old-term-by-counting" || mutant == "truncation-keeps-tail" ||
      mutant == "longer-log-is-newer") {
    // Figure 8: leaders change within a round trip or two, so that logs diverge.
    p.members = 3;
    p.delay = 60 * kMillisecond;
    p.crash_every = 1200 * kMillisecond;
    p.down_for = 400 * kMillisecond;
    p.partition_every = 800 * kMillisecond;
    p.partition_for = 500 * kMillisecond;
    // The old entry and the new leader's own entry must be in different messages.
    if (mutant == "commit-old-term-by-counting") {
      p.raft.append_entries_max = 1;
      p.raft.inflight_messages_max = 1;
    }
  } else if (mutant == "late-votes-count") {
    // Votes must arrive when their candidate is already a candidate in a later term.
    p.members = 3;
    p.delay = 120 * kMillisecond;
    p.duplication = 80 * kPercent;
    p.loss = 15 * kPercent;
    p.clog_every = 700 * kMillisecond;
    p.crash_every = 3 * kSecond;
  } else if (mutant == "timeout-now-of-an-old-term") {
    // A TimeoutNow must arrive when its leader has been deposed.
    p.transfer_every = 500 * kMillisecond;
    p.delay = 120 * kMillisecond;
    p.clog_every = 700 * kMillisecond;
  } else if (ConcernsSessions(mutant)) {
    AimAtSessions(mutant, profile);
  } else if (ChangesMembers(mutant)) {
    AimAtChanges(mutant, profile);
  } else if (mutant == "count-self-before-save") {
    // One voter, with learners, that crashes between a message and the save.
    p.members = 1;
    p.spares = 2;
    p.change_every = 4 * kSecond;
  } else if (mutant == "lost-end-not-noticed" || mutant == "mark-follows-a-lost-end" ||
             mutant == "votes-at-the-mark" || mutant == "late-commit-index-counts") {
    p.change_every = 0;
    p.members = 3;
    p.spares = 0;
    p.tear_every = 500 * kMillisecond;
    p.crash_every = 1500 * kMillisecond;
    p.down_for = 300 * kMillisecond;
  } else if (mutant == "txn-counts-the-state-before") {
    p.keys = 60;  // enough that some blocks of counts are completely within a range
  } else if (mutant == "read-without-round") {
    // The bug needs a leader that is cut off and whose clock is too slow to notice it in time, and
    // many clients that change members fast, so that some write on one side of the partition while
    // others read on the other side.
    p.clients = 10;
    p.think = 20 * kMillisecond;
    p.patience = 200 * kMillisecond;
    p.pending_max = 1024;
    p.raft.pending_reads_max = 1024;
    p.members = 5;
    p.clock_skew = 60 * kPercent;
    p.delay = 5 * kMillisecond;
    p.crash_every = 4 * kSecond;
    p.down_for = 400 * kMillisecond;
    p.partition_every = kSecond;
    p.partition_for = 1500 * kMillisecond;
  }
}

}  // namespace raftkv::sim
