#include "server/member/first_start.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "storage/base/mutant.h"

namespace raftkv {

namespace {

constexpr absl::Duration kHelloInterval = absl::Milliseconds(200);
// If nothing changes, the member reports whom it waits for after kFirstReport, then at intervals.
constexpr absl::Duration kFirstReport = absl::Seconds(2);
constexpr absl::Duration kReportInterval = absl::Minutes(1);

}  // namespace

FirstStart::FirstStart(std::vector<raft::MemberId> peers, bool joins, raft::Index base,
                       LogStore* log, raft::Raft* raft, Outbox* outbox)
    : lost_(log->lost()),
      is_new_(log->last_index() == base && !log->lost()),
      peers_(std::move(peers)),
      joins_(joins),
      restored_(base > 0),
      log_(log),
      raft_(raft),
      outbox_(outbox) {
  const bool may_vote = log_->may_vote() || RAFTKV_MUTANT("votes-before-it-may");
  raft_->SetVoting(may_vote, /*repairs=*/!may_vote && !is_new_);
}

void FirstStart::Turn(MonotonicTime now) {
  now_ = now;
  if (!log_->may_vote()) AskReadIndex();
  if (lost_) NoteRepair();
  if (log_->may_vote() || lost_) return;
  using Why = VotingAllowed::Why;
  if (is_new_ && joins_) return AllowVoting(Why::kJoined);
  if (is_new_ && peers_.empty()) return AllowVoting(Why::kLogsAreEmpty);
  if (CaughtUp()) return AllowVoting(Why::kCaughtUp);
  if (now - last_hello_ < kHelloInterval) return;
  if (last_hello_ == MonotonicTime::InfinitePast()) next_report_ = now + kFirstReport;
  last_hello_ = now;
  for (raft::MemberId peer : peers_) outbox_->Send(peer, Hello{});
  if (now >= next_report_) ReportWaiting();
}

void FirstStart::AskReadIndex() {
  if (raft_->leader() == raft::kNobody || must_reach_.term == raft_->term() || now_ < next_ask_) {
    return;
  }
  next_ask_ = MonotonicTime::InfiniteFuture();  // Raft answers each question
  asked_in_ = raft_->term();
  raft_->ReadIndex(++question_);
}

bool FirstStart::OnReadIndex(const raft::ReadIndexResult& result) {
  if (result.id != question_) return false;
  next_ask_ = now_ + kHelloInterval;
  if (result.index != 0 && raft_->term() == asked_in_) {
    must_reach_ = {raft_->term(), std::max(result.index, result.acknowledged)};
  }
  return true;
}

// A leader has an entry of its own term at its read index. What this member has acknowledged to it
// comes before that, or is of the same term. So if the log has an entry of this term there, it is
// equal to the leader's log (§5.3).
bool FirstStart::CaughtUp() const {
  const auto has = [this](raft::Index index) {
    if (index == 0) return false;
    index = std::max(index, log_->first_index() - 1);
    return index <= log_->last_index() && log_->TermAt(index) == raft_->term();
  };
  if (RAFTKV_MUTANT("late-commit-index-counts") && has(raft_->commit_index())) return true;
  return must_reach_.term == raft_->term() && has(must_reach_.index);
}

void FirstStart::AllowVoting(VotingAllowed::Why why) {
  log_->AllowVoting();  // on disk before the first vote
  raft_->SetVoting(true);
  outbox_->Report(VotingAllowed{why});
}

void FirstStart::NoteRepair() {
  if (!log_->lost() && (CaughtUp() || RAFTKV_MUTANT("votes-at-the-mark"))) {
    log_->AllowVoting();  // on disk before the first vote
    raft_->SetVoting(true);
    outbox_->Report(VotingAllowed{VotingAllowed::Why::kRepaired, *std::exchange(lost_, {})});
  } else if (next_report_ == MonotonicTime::InfinitePast()) {
    next_report_ = now_ + kFirstReport;
  } else if (now_ >= next_report_) {
    next_report_ = now_ + kReportInterval;
    if (raft_->leader() == raft::kNobody) outbox_->Report(WaitingForRepair{*lost_});
  }
}

void FirstStart::OnHelloReply(raft::MemberId from, const HelloReply& reply) {
  if (log_->may_vote() || lost_ || std::find(peers_.begin(), peers_.end(), from) == peers_.end())
    return;
  if (!reply.store_id_rejected) {
    rejected_by_.erase(from);
  } else if (rejected_by_.insert(from).second && rejected_by_.size() == 1) {
    outbox_->Report(RejectedByPeer{from});
  }
  const bool changed =
      reply.log_empty ? said_empty_.insert(from).second : said_empty_.erase(from) > 0;
  if (!changed) return;
  if (is_new_ && said_empty_.size() >= answers_needed()) {
    AllowVoting(VotingAllowed::Why::kLogsAreEmpty);
  } else {
    ReportWaiting();
  }
}

WaitingForPeers FirstStart::waiting_for() const {
  WaitingForPeers waiting;
  if (log_->may_vote() || lost_) return waiting;
  for (raft::MemberId peer : peers_) {
    if (!said_empty_.contains(peer)) waiting.missing.push_back(peer);
  }
  waiting.needed = answers_needed() - said_empty_.size();
  waiting.restored = restored_;
  return waiting;
}

std::string Describe(const WaitingForPeers& waiting, const std::vector<std::string>& names) {
  std::string all = absl::StrJoin(names.begin(), names.end() - 1, ", ");
  absl::StrAppend(&all, all.empty() ? "" : " and ", names.back());
  const char* const like_this = waiting.restored ? "restored from the same backup" : "new";
  if (names.size() == 1) {
    return absl::StrCat("waiting for ", all, ", whose data directory must be ", like_this, ", too");
  }
  if (waiting.needed == names.size()) {
    return absl::StrCat("waiting for ", all, ", whose data directories must be ", like_this,
                        ", too");
  }
  return absl::StrCat("waiting for ", waiting.needed, " of ", all,
                      ", with data directories that are ", like_this, ", too");
}

void FirstStart::ReportWaiting() {
  next_report_ = now_ + kReportInterval;
  if (!rejected_by_.empty() || joins_)
    return;  // RejectedByPeer was reported: waiting does not help
  outbox_->Report(waiting_for());
}

}  // namespace raftkv
