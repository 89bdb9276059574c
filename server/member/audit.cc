#include "server/member/audit.h"

#include <algorithm>

#include "storage/base/mutant.h"

namespace raftkv {

std::optional<Divergence> Audit::Find(const std::vector<raft::MemberId>& voters) {
  if (RAFTKV_MUTANT("digests-not-compared")) return std::nullopt;
  for (auto it = digests_.rbegin(); it != digests_.rend(); ++it) {
    const auto& [index, digests] = *it;
    const bool equal = std::all_of(digests.begin(), digests.end(), [&](const auto& d) {
      return d.second == digests.begin()->second;
    });
    if (equal) continue;
    std::map<uint64_t, size_t> count;  // of voters, by digest
    size_t reported = 0;
    for (const raft::MemberId voter : voters) {
      const auto digest = digests.find(voter);
      if (digest == digests.end()) continue;
      ++reported;
      ++count[digest->second];
    }
    Divergence found{index, digests, {}};
    for (const auto& [digest, votes] : count) {
      if (votes > voters.size() / 2) found.majority = digest;
    }
    if (!found.majority && reported < voters.size()) continue;
    // The caller tells the members that are wrong. Each is compared again when it reports again.
    std::erase_if(it->second, [&](const auto& d) { return found.Wrong(d.first); });
    return found;
  }
  return std::nullopt;
}

}  // namespace raftkv
