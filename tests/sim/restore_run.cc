#include "tests/sim/restore_run.h"

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "tests/member/cluster.h"
#include "tests/sim/rng.h"

namespace raftkv::sim {

namespace {

using raft::MemberId;

constexpr int kKeys = 6;

std::string Key(uint64_t number) { return absl::StrCat("k", number); }

class Restores {
 public:
  Restores(uint64_t seed, Marks* marks, Verdict* verdict)
      : rng_(Mix(seed, 9)),
        old_(rng_.Chance(30 * kPercent) ? 1 : 3, 16384, 128 << 20, {}, /*in_log=*/true),
        new_(0, 16384, 128 << 20,
             rng_.Chance(50 * kPercent) ? LogTail{} : LogTail{.entries_max = 4},
             /*in_log=*/true),
        marks_(marks),
        verdict_(verdict) {}

  void Run() {
    old_.Run(absl::Seconds(5));
    Write(old_, static_cast<int>(rng_.Between(1, 30)));
    old_.Run(absl::Seconds(1));
    TakeBackup();
    Write(old_, static_cast<int>(rng_.Between(0, 10)));

    for (int i = 0, size = static_cast<int>(rng_.Between(1, 5)); i < size; ++i)
      ids_.push_back(11 + i);
    new_.Form(ids_);
    for (MemberId id : ids_) {
      new_.Restore(id, backup_, bump_);
      if (rng_.Chance(50 * kPercent)) new_.Run(absl::Milliseconds(rng_.Between(10, 3000)));
      if (rng_.Chance(30 * kPercent)) Crash(id);
    }
    new_.Run(absl::Seconds(10));
    CheckRestored();
    for (int i = 0; i < 3 && !verdict_->failed(); ++i) {
      Write(new_, static_cast<int>(rng_.Between(1, 12)));
      if (rng_.Chance(50 * kPercent)) Crash(ids_[rng_.Below(ids_.size())]);
      new_.Run(absl::Milliseconds(rng_.Between(100, 3000)));
    }
    new_.Run(absl::Seconds(10));
    if (!verdict_->failed()) CheckEqual();
    if (!verdict_->failed()) marks_->Hit(bump_ > 0 ? Mark::kRestoredBumped : Mark::kRestored);
  }

 private:
  void Crash(MemberId id) {
    if (!new_[id].log->may_vote()) marks_->Hit(Mark::kRestoredCrashedEarly);
    new_.Crash(id);
    new_.Start(id);
  }

  void Write(Cluster& cluster, int count) {
    for (int i = 0; i < count; ++i) {
      if (cluster.leader() != raft::kNobody) {
        cluster.Put(cluster.leader(), Key(rng_.Below(kKeys)), absl::StrCat(++writes_));
      }
      cluster.Run(absl::Milliseconds(20));
    }
  }

  // Takes the backup from a member that may be behind.
  void TakeBackup() {
    const MemberId leader = old_.leader();
    const MemberId id = leader != raft::kNobody && rng_.Chance(50 * kPercent) ? leader : 1;
    backup_ = old_.Backup(id);
    revision_ = old_[id].state->revision();
    members_ = old_[id].state->members().all().size();
    for (int i = 0; i < kKeys; ++i) values_[Key(i)] = Cluster::Value(old_[id], Key(i));
    if (rng_.Chance(50 * kPercent)) bump_ = rng_.Between(1, 1000);
  }

  void CheckRestored() {
    if (new_.leader() == raft::kNobody) {
      return verdict_->Fail("restore", absl::StrFormat("no leader of %d members, which were "
                                                       "restored at revision %d",
                                                       ids_.size(), revision_));
    }
    for (MemberId id : ids_) {
      const StateMachine& state = *new_[id].state;
      if (state.revision() != revision_ + bump_ ||
          (bump_ > 0 && state.compacted_revision() != state.revision())) {
        verdict_->Fail("restore", absl::StrFormat("n%d was restored to revision %d, compacted %d, "
                                                  "from %d",
                                                  id, state.revision(), state.compacted_revision(),
                                                  revision_));
      }
      if (state.members().all().size() != ids_.size()) {
        verdict_->Fail("restore",
                       absl::StrFormat("n%d knows %d members instead of %d; the old "
                                       "cluster had %d",
                                       id, state.members().all().size(), ids_.size(), members_));
      }
      for (const auto& [key, value] : values_) {
        if (Cluster::Value(new_[id], key) == value) continue;
        verdict_->Fail("restore",
                       absl::StrFormat("n%d was restored with another value of %s", id, key));
      }
    }
  }

  void CheckEqual() {
    const auto put = new_.leader() == raft::kNobody ? nullptr : new_.Put(new_.leader(), "k", "end");
    new_.Run(absl::Seconds(2));
    if (put == nullptr || put->fate != Fate::kApplied) {
      return verdict_->Fail("restore", "the new cluster does not serve");
    }
    for (MemberId id : ids_) {
      if (new_[id].state->digest() != new_[ids_[0]].state->digest() ||
          new_[id].member->replica().fault()) {
        verdict_->Fail("restore", absl::StrFormat("n%d differs from the other members", id));
      }
    }
  }

  Rng rng_;
  Cluster old_, new_;
  Marks* const marks_;
  Verdict* const verdict_;
  std::vector<MemberId> ids_;  // of the new cluster
  std::shared_ptr<MemoryDisk> backup_;
  int64_t bump_ = 0;
  // Of the backup.
  Revision revision_ = 0;
  size_t members_ = 0;
  std::map<std::string, std::string> values_;
  int writes_ = 0;
};

}  // namespace

void RunRestore(uint64_t seed, Marks* marks, Verdict* verdict) {
  Restores(seed, marks, verdict).Run();
}

}  // namespace raftkv::sim
