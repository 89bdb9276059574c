#include "server/raft/membership.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "storage/base/check.h"

namespace raftkv::raft {

Membership::Membership(Configuration configuration) : configuration_(std::move(configuration)) {
  std::merge(configuration_.voters.begin(), configuration_.voters.end(),
             configuration_.learners.begin(), configuration_.learners.end(),
             std::back_inserter(everyone_));
  MemberId previous = kNobody;
  for (MemberId id : everyone_) {
    CHECK_LT(previous, id) << "a configuration must be sorted, without duplicates and without id 0";
    previous = id;
  }
}

bool Membership::IsVoter(MemberId id) const {
  return std::binary_search(configuration_.voters.begin(), configuration_.voters.end(), id);
}

}  // namespace raftkv::raft
