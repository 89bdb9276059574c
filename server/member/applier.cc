#include "server/member/applier.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace raftkv {

void Applier::Post(CommittedTask task) { queue_.push_back(std::move(task)); }

raft::Index Applier::Run(const ApplyBudget& budget) {
  large_next_ = false;
  size_t reads = 0;
  const raft::Index begin = state_machine_->applied().index;
  for (;;) {
    const size_t applied = state_machine_->applied().index - begin;
    if (reads + applied >= budget.items_max) break;
    reads += RunReads(budget, budget.items_max - reads - applied);
    if (reads + applied >= budget.items_max || HasDueRead() || queue_.empty()) break;
    if (!RunCommitted(budget, budget.items_max - reads - applied)) break;
    if (budget.out_of_time && budget.out_of_time()) break;
  }
  return state_machine_->applied().index;
}

size_t Applier::RunReads(const ApplyBudget& budget, size_t reads_max) {
  size_t reads = 0;
  for (; reads < reads_max && HasDueRead(); ++reads) {
    if (reads > 0 && budget.out_of_time && budget.out_of_time()) break;
    reads_.extract(reads_.begin()).mapped()->Answer(Fate::kApplied);
  }
  return reads;
}

bool Applier::RunCommitted(const ApplyBudget& budget, size_t entries_max) {
  CommittedTask task = std::move(queue_.front());
  queue_.pop_front();
  while (!queue_.empty() && task.entries.size() < entries_max) {
    CommittedTask& next = queue_.front();
    std::move(next.entries.begin(), next.entries.end(), std::back_inserter(task.entries));
    std::move(next.requests.begin(), next.requests.end(), std::back_inserter(task.requests));
    queue_.pop_front();
  }

  const Limits limits{.steps_max = budget.steps_max, .give_up = budget.out_of_time};
  absl::Span<const raft::Entry> entries = task.entries;
  if (parallel_reads_ != nullptr && parallel_reads_->useful()) {
    entries = entries.first(state_machine_->FetchHeads(entries, limits, parallel_reads_));
  }
  const Revision before = state_machine_->revision();
  std::vector<ApplyResult> results = state_machine_->Apply(entries, limits);
  if (const Revision newest = state_machine_->revision(); newest > before) {
    outbox_->ReportRevision(newest);
  }
  const raft::Index first = task.entries.front().id.index;
  auto request = task.requests.begin();
  for (; request != task.requests.end() && request->first < first + results.size(); ++request) {
    Answer(std::move(request->second), std::move(results[request->first - first]));
  }
  const bool done = results.size() == entries.size();
  if (results.size() < task.entries.size()) {
    large_next_ = results.empty();
    task.entries.erase(task.entries.begin(),
                       task.entries.begin() + static_cast<ptrdiff_t>(results.size()));
    task.requests.erase(task.requests.begin(), request);
    queue_.push_front(std::move(task));
  }
  state_machine_->MaybeFlush();
  return done;
}

void Applier::Answer(PendingRequestPtr request, ApplyResult result) {
  if (request->waits_for_compaction() && result.status.ok()) {
    request->AwaitCompaction();
    compactions_.emplace(state_machine_->compacted_revision(),
                         Compaction{std::move(request), std::move(result)});
  } else {
    request->Answer(Fate::kApplied, std::move(result));
  }
}

void Applier::MaybeCompact(int64_t steps_max) {
  if (can_compact()) state_machine_->CompactStep(steps_max);
  while (!compactions_.empty() &&
         compactions_.begin()->first <= state_machine_->compaction_done()) {
    Compaction done = std::move(compactions_.extract(compactions_.begin()).mapped());
    done.request->Answer(Fate::kApplied, std::move(done.result));
  }
}

void Applier::Install(std::unique_ptr<StateMachine> state) {
  for (CommittedTask& task : std::exchange(queue_, {})) task.AnswerUnknown();
  large_next_ = false;
  const Revision before = state_machine_->revision();
  state_machine_->Install(std::move(state));
  if (const Revision newest = state_machine_->revision(); newest > before) {
    outbox_->ReportRevision(newest);
  }
}

void Applier::ForgetAnswered() {
  std::erase_if(reads_, [](const auto& read) { return read.second->answered(); });
  std::erase_if(compactions_, [](const auto& c) { return c.second.request->answered(); });
}

}  // namespace raftkv
