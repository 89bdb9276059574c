#include "server/peer/member_lists.h"

#include <algorithm>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace raftkv {

namespace {

constexpr size_t kTextMax = 100;  // bytes of a name or URL
constexpr size_t kNamedMax = 5;
constexpr int kComparedMax = 64;

// The members of `all` whose peer URL `other` does not have, for a line.
std::string OnlyIn(const proto::HelloRequest& all, const proto::HelloRequest& other) {
  std::vector<std::string> named;
  for (const proto::ListedMember& member : all.members()) {
    const bool has = std::any_of(other.members().begin(), other.members().end(),
                                 [&](const auto& m) { return m.peer_url() == member.peer_url(); });
    if (has) continue;
    named.push_back(
        absl::StrCat(NameForLine(member.name()), " at ", NameForLine(member.peer_url())));
    if (named.size() == kNamedMax) break;
  }
  if (named.empty()) return "";
  return absl::StrCat("only the config file of ", NameForLine(all.name()), " has ",
                      absl::StrJoin(named, ", "));
}

}  // namespace

std::string NameForLine(const std::string& name) { return absl::CEscape(name.substr(0, kTextMax)); }

std::string DifferenceOfLists(const proto::HelloRequest& here, const proto::HelloRequest& there) {
  if (there.name() < here.name()) return DifferenceOfLists(there, here);
  if (here.members().empty() || there.members().empty()) return "";
  if (there.members_size() > kComparedMax || here.members_size() > kComparedMax) return "";
  std::vector<std::string> differences;
  if (here.cluster_name() != there.cluster_name()) {
    differences.push_back(absl::StrCat("the cluster is named \"", NameForLine(here.cluster_name()),
                                       "\" in the config file of ", NameForLine(here.name()),
                                       ", and \"", NameForLine(there.cluster_name()),
                                       "\" in that of ", NameForLine(there.name())));
  }
  for (std::string only : {OnlyIn(here, there), OnlyIn(there, here)}) {
    if (!only.empty()) differences.push_back(std::move(only));
  }
  if (here.restored_from() != there.restored_from()) {
    const bool both = !here.restored_from().empty() && !there.restored_from().empty();
    const std::string& one = here.restored_from().empty() ? there.name() : here.name();
    differences.push_back(
        both ? "both were restored, but not from the same backup with the same flags"
             : NameForLine(one) + " was restored from a backup, and the other one was not");
  }
  return absl::StrJoin(differences, "; ");
}

}  // namespace raftkv
