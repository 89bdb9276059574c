#include "server/member/applier.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace raftkv {

Applier::Applier(StateMachine* state_machine) : state_machine_(state_machine) {}

void Applier::Post(ApplyTask task) { queue_.push_back(std::move(task)); }

raft::Index Applier::Run(size_t steps_max, int64_t visited_keys_max) {
  large_next_ = false;
  bool more = true;
  size_t reads = 0;
  const raft::Index begin = state_machine_->applied().index;
  while (!queue_.empty() && more) {
    const size_t steps = reads + (state_machine_->applied().index - begin);
    if (steps >= steps_max) break;
    if (std::holds_alternative<ReadTask>(queue_.front())) {
      reads += RunReads(steps_max - steps);
      continue;
    }
    auto task = std::get<CommittedTask>(std::move(queue_.front()));
    queue_.pop_front();
    more = RunCommitted(std::move(task), steps_max, visited_keys_max);
  }
  return state_machine_->applied().index;
}

size_t Applier::RunReads(size_t reads_max) {
  std::vector<ReadDone>& dones = std::get<ReadTask>(queue_.front()).dones;
  const size_t reads = std::min(reads_max, dones.size());
  const auto end = dones.begin() + static_cast<ptrdiff_t>(reads);
  for (auto done = dones.begin(); done != end; ++done) (*done)(Fate::kApplied);
  dones.erase(dones.begin(), end);
  if (dones.empty()) queue_.pop_front();
  return reads;
}

bool Applier::RunCommitted(CommittedTask task, size_t entries_max, int64_t visited_keys_max) {
  // Committed tasks that wait behind each other become one batch.
  while (!queue_.empty() && task.entries.size() < entries_max) {
    auto* next = std::get_if<CommittedTask>(&queue_.front());
    if (next == nullptr) break;
    std::move(next->entries.begin(), next->entries.end(), std::back_inserter(task.entries));
    std::move(next->dones.begin(), next->dones.end(), std::back_inserter(task.dones));
    queue_.pop_front();
  }

  std::vector<ApplyResult> results =
      state_machine_->Apply(task.entries, {.steps_max = visited_keys_max});
  const raft::Index first = task.entries.front().id.index;
  auto done = task.dones.begin();
  for (; done != task.dones.end() && done->first < first + results.size(); ++done) {
    done->second(Fate::kApplied, std::move(results[done->first - first]));
  }
  const bool all = results.size() == task.entries.size();
  if (!all) {
    large_next_ = results.empty();
    task.entries.erase(task.entries.begin(),
                       task.entries.begin() + static_cast<ptrdiff_t>(results.size()));
    task.dones.erase(task.dones.begin(), done);
    queue_.push_front(std::move(task));
  }
  state_machine_->MaybeFlush();
  return all;
}

void Applier::MaybeCompact(absl::Time now, int64_t events_max) {
  if (can_compact()) state_machine_->CompactStep(events_max);
  while (!when_compacted_.empty() &&
         when_compacted_.begin()->first <= state_machine_->compaction_done()) {
    when_compacted_.extract(when_compacted_.begin()).mapped().done(Fate::kApplied);
  }
  if (now >= next_deadline_) EndWaiting(now);
}

void Applier::EndWaiting(absl::Time now) {
  next_deadline_ = absl::InfiniteFuture();
  for (auto it = when_compacted_.begin(); it != when_compacted_.end();) {
    Waiting& waiting = it->second;
    if (waiting.deadline > now) {
      next_deadline_ = std::min(next_deadline_, waiting.deadline);
      ++it;
    } else {
      waiting.done(Fate::kUnknownTimedOut);
      it = when_compacted_.erase(it);
    }
  }
}

void Applier::WhenCompacted(Revision revision, absl::Time deadline, ReadDone done) {
  when_compacted_.emplace(revision, Waiting{deadline, std::move(done)});
  next_deadline_ = std::min(next_deadline_, deadline);
}

void Applier::StopWaiting() {
  for (auto& [revision, waiting] : when_compacted_) waiting.done(Fate::kStopped);
  when_compacted_.clear();
}

}  // namespace raftkv
