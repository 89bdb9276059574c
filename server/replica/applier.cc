#include "server/replica/applier.h"

#include <utility>

#include "glog/logging.h"

namespace raftkv {

Applier::Applier(StateMachine* state_machine) : state_machine_(state_machine) {}

void Applier::Post(ApplyTask task) { queue_.push_back(std::move(task)); }

raft::Index Applier::Run(size_t entries_max) {
  size_t applied = 0;
  while (!queue_.empty() && applied < entries_max) {
    ApplyTask task = std::move(queue_.front());
    queue_.pop_front();
    if (auto* read = std::get_if<ReadTask>(&task)) {
      for (ReadDone& done : read->dones) done(Fate::kApplied);
      continue;
    }

    // Committed tasks that wait behind each other become one batch.
    CommittedTask committed = std::move(std::get<CommittedTask>(task));
    while (!queue_.empty() && committed.entries.size() < entries_max) {
      auto* next = std::get_if<CommittedTask>(&queue_.front());
      if (next == nullptr) break;
      std::move(next->entries.begin(), next->entries.end(), std::back_inserter(committed.entries));
      std::move(next->dones.begin(), next->dones.end(), std::back_inserter(committed.dones));
      queue_.pop_front();
    }

    std::vector<ApplyResult> results = state_machine_->Apply(committed.entries);
    CHECK_EQ(results.size(), committed.entries.size());
    applied += results.size();
    const raft::Index first = committed.entries.front().id.index;
    for (auto& [index, done] : committed.dones) {
      done(Fate::kApplied, std::move(results[index - first]));
    }
    state_machine_->MaybeFlush();
  }
  return state_machine_->applied().index;
}

}  // namespace raftkv
