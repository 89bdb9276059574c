#include "server/member/auto_compaction.h"

#include <algorithm>

namespace raftkv {

namespace {

constexpr int kStepsOfInterval = 10;

}  // namespace

absl::Duration AutoCompaction::interval() const {
  return options_.revisions > 0 ? options_.revision_interval
                                : std::min(options_.period, options_.hour);
}

absl::Duration AutoCompaction::step() const {
  return options_.revisions > 0 ? interval() : interval() / kStepsOfInterval;
}

std::optional<proto::Command> AutoCompaction::CommandToCompact(MonotonicTime now, Revision newest,
                                                               bool leads) {
  if (options_.revisions <= 0 && options_.period <= absl::ZeroDuration()) return std::nullopt;
  if (now < next_look_) return std::nullopt;
  next_look_ = now + step();
  if (!begun_) last_ = now;
  const bool first = !std::exchange(begun_, true);
  Revision revision = newest - options_.revisions;
  if (options_.revisions <= 0) {
    const absl::Duration since = now - last_;
    // As in etcd: the first compaction waits for a whole period, later ones for an interval.
    const bool due = !first && since >= (compacted_once_ ? interval() : options_.period);
    const auto steps = static_cast<size_t>(options_.period / step());
    noted_.push_back(newest);
    while (noted_.size() > steps + 1) noted_.pop_front();
    if (!due) return std::nullopt;
    revision = noted_.front();
  }
  if (first || !leads || revision <= 0 || revision == last_revision_) return std::nullopt;
  proto::Command command;
  command.mutable_compaction()->set_revision(revision);
  return command;
}

void AutoCompaction::OnProposed(MonotonicTime now,
                                const etcdserverpb::CompactionRequest& compaction) {
  last_ = now;
  compacted_once_ = true;
  last_revision_ = compaction.revision();
}

}  // namespace raftkv
