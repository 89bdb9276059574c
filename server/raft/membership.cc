#include "server/raft/membership.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "storage/base/check.h"
#include "storage/base/mutant.h"

namespace raftkv::raft {

Membership::Membership(Index index, Configuration configuration) {
  all_.push_back({index, std::move(configuration)});
  OnChanged();
}

bool Membership::IsVoter(MemberId id) const {
  return std::binary_search(voters().begin(), voters().end(), id);
}

void Membership::Append(Index index, Configuration configuration) {
  CHECK_GT(index, all_.back().index);
  all_.push_back({index, std::move(configuration)});
  OnChanged();
}

bool Membership::TruncateFrom(Index index) {
  if (RAFTKV_MUTANT("truncation-keeps-the-configuration")) {
    all_.back().index = std::min(all_.back().index, index - 1);
    return false;
  }
  bool changed = false;
  while (all_.back().index >= index) {
    CHECK_GT(all_.size(), 1u) << "a committed configuration was removed";
    all_.pop_back();
    changed = true;
  }
  if (changed) OnChanged();
  return changed;
}

bool Membership::Reset(Index index, Configuration configuration) {
  if (RAFTKV_MUTANT("install-keeps-the-old-configuration")) configuration = current();
  const bool changed = configuration != current();
  all_.clear();
  all_.push_back({index, std::move(configuration)});
  OnChanged();
  return changed;
}

bool Membership::MayBeVoter(MemberId id) const {
  return std::any_of(all_.begin(), all_.end(), [id](const Item& item) {
    return std::binary_search(item.configuration.voters.begin(), item.configuration.voters.end(),
                              id);
  });
}

size_t Membership::NumberAfter(Index index) const {
  return std::count_if(all_.begin(), all_.end(),
                       [index](const Item& item) { return item.index > index; });
}

void Membership::Commit(Index index) {
  size_t replaced = 0;
  while (replaced + 1 < all_.size() && all_[replaced + 1].index <= index) ++replaced;
  all_.erase(all_.begin(), all_.begin() + static_cast<std::ptrdiff_t>(replaced));
}

bool Membership::IsSingleChange(const Configuration& next) const {
  std::vector<MemberId> changed;
  std::set_symmetric_difference(voters().begin(), voters().end(), next.voters.begin(),
                                next.voters.end(), std::back_inserter(changed));
  return changed.size() <= 1 && !next.voters.empty();
}

void Membership::OnChanged() {
  everyone_.clear();
  std::merge(current().voters.begin(), current().voters.end(), current().learners.begin(),
             current().learners.end(), std::back_inserter(everyone_));
  MemberId previous = kNobody;
  for (MemberId id : everyone_) {
    CHECK_LT(previous, id) << "a configuration must be sorted, without duplicates and without id 0";
    previous = id;
  }
}

}  // namespace raftkv::raft
