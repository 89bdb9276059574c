#include "tests/sim/old_copy.h"

#include <algorithm>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "tests/member/cluster.h"
#include "tests/sim/rng.h"

namespace raftkv::sim {

namespace {

using raft::MemberId;

class OldCopies {
 public:
  OldCopies(uint64_t seed, Marks* marks, Verdict* verdict)
      : rng_(Mix(seed, 7)),
        size_(rng_.Chance(70 * kPercent) ? 3 : 5),
        cluster_(size_),
        marks_(marks),
        verdict_(verdict) {}

  void Run() {
    cluster_.Run(absl::Seconds(5));
    victim_ = Someone();
    Write(Below(5));
    TakeCopy();
    if (rng_.Chance(60 * kPercent)) {
      MakeTwoHistories();
    } else {
      for (int i = 0; i < 15; ++i) Step();
      PutCopyBack();
      for (int i = 0; i < 15; ++i) Step();
    }
    cluster_.Heal();
    for (MemberId id = 1; id <= size_; ++id) {
      if (!up(id)) Start(id);
    }
    cluster_.Run(absl::Seconds(20));
    // Two leaders of one term begin with equal first entries: a later entry shows the
    // contradiction.
    Write(1);
    cluster_.Run(absl::Seconds(10));
    Check();
  }

 private:
  int Below(int n) { return static_cast<int>(rng_.Below(n)); }
  MemberId Someone() { return 1 + rng_.Below(size_); }
  bool up(MemberId id) { return cluster_[id].member != nullptr; }

  void Write(int count) {
    for (int i = 0; i < count; ++i) {
      const MemberId at = cluster_.leader() != raft::kNobody ? cluster_.leader() : Someone();
      if (!up(at)) continue;
      cluster_.Put(at, "k" + std::to_string(++writes_), "v");
      cluster_.Run(absl::Milliseconds(20));
    }
  }

  void Wait() { cluster_.Run(absl::Milliseconds(rng_.Between(10, 4000))); }

  void Down(MemberId id) {
    if (!up(id)) return;
    rng_.Chance(50 * kPercent) ? cluster_.Stop(id) : cluster_.Crash(id);
  }

  // The member need not keep an entry that it does not know to be committed after its start.
  void Start(MemberId id) {
    cluster_.Start(id);
    auto& committed = cluster_[id].committed;
    committed.erase(committed.upper_bound(cluster_[id].raft().commit_index()), committed.end());
  }

  void TakeCopy() {
    Down(victim_);
    copy_ = cluster_.Copy(victim_);
    Start(victim_);
    if (rng_.Chance(80 * kPercent)) cluster_.Run(absl::Seconds(2));
  }

  void PutCopyBack() {
    Down(victim_);
    if (rng_.Chance(50 * kPercent)) Wait();
    cluster_.PutBack(victim_, copy_);
  }

  // The example of decision 0017: first a majority without `behind` acknowledges writes. Then
  // `behind` acknowledges writes, together with the victim, which runs on the old copy.
  void MakeTwoHistories() {
    std::vector<MemberId> behind;  // with the victim they are a majority
    for (MemberId id = 1; id <= size_; ++id) {
      if (id != victim_ && behind.size() < size_ / 2) behind.push_back(id);
    }
    for (MemberId id : behind) Down(id);
    Wait();
    cluster_.Run(absl::Seconds(4));
    Write(1 + Below(8));
    if (rng_.Chance(50 * kPercent)) Wait();
    for (MemberId id = 1; id <= size_; ++id) Down(id);
    cluster_.PutBack(victim_, copy_);
    for (MemberId id : behind) Start(id);
    cluster_.Run(absl::Seconds(5));
    for (int i = Below(3); i > 0; --i) {
      if (cluster_.leader() != raft::kNobody) cluster_.Transfer(cluster_.leader(), Someone());
      cluster_.Run(absl::Seconds(1));
    }
    Write(Below(12));
    if (rng_.Chance(30 * kPercent)) {
      for (MemberId id : behind) Down(id);
    }
  }

  void Step() {
    const MemberId id = Someone();
    switch (Below(6)) {
      case 0:
        return up(id) ? Down(id) : Start(id);
      case 1:
        return up(id) ? Wait() : Start(id);
      case 2:
        return cluster_.Cut(id);
      case 3:
        cluster_.Heal();
        return Wait();
      default:
        return Write(1 + Below(4));
    }
  }

  // --- the rules

  const Fault& fault(MemberId id) { return cluster_[id].member->replica().fault(); }

  // Whether the log of `id` has another entry at the index of `entry`. False if it has none there,
  // because it is shorter or was cut.
  bool Contradicts(MemberId id, const raft::Entry& entry) {
    const LogStore& log = *cluster_[id].log;
    const raft::Index index = entry.id.index;
    if (index < log.first_index() || index > log.last_index()) return false;
    return log.Entries(index, index, SIZE_MAX).front() != entry;
  }

  void Check() {
    for (MemberId a = 1; a <= size_; ++a) {
      for (const auto& [index, entry] : cluster_[a].committed) {
        if (index > cluster_[a].log->last_index() || Contradicts(a, entry)) {
          verdict_->Fail("history",
                         absl::StrFormat("n%d lost entry %d, which it had committed", a, index));
        }
        for (MemberId b = 1; b <= size_; ++b) {
          const auto other = cluster_[b].committed.find(index);
          if (other == cluster_[b].committed.end() || other->second == entry) continue;
          if (!fault(a) && !fault(b)) {
            verdict_->Fail("history", absl::StrFormat("n%d and n%d have committed different "
                                                      "entries at index %d; the older copy is "
                                                      "on n%d%s",
                                                      a, b, index, victim_, Faults()));
          }
        }
      }
    }
    const MemberId leader = cluster_.leader();
    if (leader != raft::kNobody) CheckServed(leader);
    for (MemberId id = 1; id <= size_; ++id) Count(id);
  }

  void CheckServed(MemberId leader) {
    const LogStore& log = *cluster_[leader].log;
    if (log.TermAt(cluster_[leader].raft().commit_index()) != cluster_[leader].raft().term()) {
      return;  // it has committed nothing in its term
    }
    for (MemberId id = 1; id <= size_; ++id) {
      for (const auto& [index, entry] : cluster_[id].committed) {
        if (index <= log.last_index() && !Contradicts(leader, entry)) continue;
        verdict_->Fail("served",
                       absl::StrFormat("n%d leads without entry %d, which is committed on n%d; the "
                                       "older copy is on n%d%s",
                                       leader, index, id, victim_, Faults()));
      }
    }
  }

  std::string Faults() {
    std::string text;
    for (MemberId id = 1; id <= size_; ++id) {
      const raft::Raft& raft = cluster_[id].raft();
      absl::StrAppend(&text, "; n", id, " term ", raft.term(), " leader n", raft.leader(), " last ",
                      raft.last_index(), " commit ", raft.commit_index());
      if (!fault(id)) continue;
      absl::StrAppend(
          &text, " halted: ", Describe(fault(id), [](MemberId n) { return absl::StrCat("n", n); }));
    }
    return text;
  }

  void Count(MemberId id) {
    switch (fault(id).kind) {
      case Fault::Kind::kNone:
      case Fault::Kind::kDiverged:
      case Fault::Kind::kAllDiverged:
        return;
      case Fault::Kind::kConflict:
        return marks_->Hit(Mark::kTwoHistoriesFound);
      case Fault::Kind::kLostEntries:
        return marks_->Hit(Mark::kOldCopyFoundByLeader);
      case Fault::Kind::kOlderCopy:
        return marks_->Hit(Mark::kOldCopyRemembered);
    }
  }

  Rng rng_;
  const MemberId size_;
  Cluster cluster_;
  Marks* const marks_;
  Verdict* const verdict_;
  MemberId victim_ = raft::kNobody;
  Cluster::Disks copy_;
  int writes_ = 0;
};

}  // namespace

void RunOldCopies(uint64_t seed, Marks* marks, Verdict* verdict) {
  OldCopies(seed, marks, verdict).Run();
}

}  // namespace raftkv::sim
