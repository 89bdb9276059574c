#include "server/identity.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "server/join.h"

namespace raftkv {
namespace {

using Known = Members::Member;

bool IsAt(const Known& member, const std::string& peer_url) {
  const auto& urls = member.info.peerurls();
  return std::find(urls.begin(), urls.end(), peer_url) != urls.end();
}

template <typename Predicate>
const Known* FindIf(const Members& members, Predicate matches) {
  for (const auto& [id, member] : members.all()) {
    if (matches(member)) return &member;
  }
  return nullptr;
}

// The warning about a member whose peer URLs in the log differ from those in the file.
std::string Moved(const MemberConfig& given, const Known& known) {
  return absl::StrFormat(
      "the config file has peer_url %s for member %s, and the cluster reaches it at %s: if it has "
      "moved, run raftkv member update %x --peer-urls=%s; else correct the file",
      given.peer_url, given.name, absl::StrJoin(known.info.peerurls(), ","), known.info.id(),
      given.peer_url);
}

// What differs between a member of the file and the members in the log. Empty: nothing.
std::string Difference(const MemberConfig& given, const Members& members) {
  const Known* at =
      FindIf(members, [&](const Known& member) { return IsAt(member, given.peer_url); });
  if (at != nullptr && (at->info.name().empty() || at->info.name() == given.name)) return "";
  if (at != nullptr) {
    return absl::StrCat("the config file calls the member at peer_url ", given.peer_url, " ",
                        given.name, ", and the cluster knows it as ", at->info.name(),
                        ": start it with the new name, or correct the file");
  }
  const Known* named =
      FindIf(members, [&](const Known& member) { return member.info.name() == given.name; });
  if (named != nullptr) return Moved(given, *named);
  const std::string unknown =
      absl::StrCat("the config file has member ", given.name, " at ", given.peer_url);
  if (members.removed(given.id)) {
    return absl::StrCat(unknown, ", which was removed from the cluster: remove it from the file");
  }
  return absl::StrCat(unknown,
                      ", which is not a member of the cluster: remove it from the file, or, if it "
                      "is a new member, run raftkv member add ",
                      given.name, " --peer-urls=", given.peer_url);
}

// The names of members that were added to the file after the first start: without them, the file
// gives the id of the cluster. Empty: no such names are found.
std::vector<std::string> AddedMembers(const Config& given, uint64_t cluster_id) {
  constexpr size_t kMembersMax = 12;  // because all subsets are tried
  const size_t count = given.members.size();
  if (count > kMembersMax) return {};
  for (uint32_t added = 1; added + 1 < uint32_t{1} << count; ++added) {
    std::vector<uint64_t> ids;
    std::vector<std::string> names;
    for (size_t i = 0; i < count; ++i) {
      const MemberConfig& member = given.members[i];
      if ((added >> i & 1) == 0) {
        ids.push_back(member.id);
      } else {
        names.push_back(member.name);
      }
    }
    if (ClusterIdOf(std::move(ids)) == cluster_id) return names;
  }
  return {};
}

// What differs between the peer URLs in the file and those with which this directory was restored.
// Empty: nothing.
std::string DifferenceToRestore(const Config& given, const Members& members) {
  std::vector<std::string> only_file, only_restore;
  for (const MemberConfig& member : given.members) {
    const auto is_there = [&](const Known& known) { return IsAt(known, member.peer_url); };
    if (FindIf(members, is_there) != nullptr) continue;
    only_file.push_back(absl::StrCat(member.name, " at ", member.peer_url));
  }
  for (const auto& [id, known] : members.all()) {
    const bool listed =
        std::any_of(given.members.begin(), given.members.end(),
                    [&](const MemberConfig& member) { return IsAt(known, member.peer_url); });
    if (listed) continue;
    only_restore.push_back(
        absl::StrCat(known.info.name(), " at ", absl::StrJoin(known.info.peerurls(), ",")));
  }
  std::vector<std::string> parts;
  if (!only_file.empty()) {
    parts.push_back(absl::StrCat("only the config file has ", absl::StrJoin(only_file, ", ")));
  }
  if (!only_restore.empty()) {
    parts.push_back(absl::StrCat("only the restore had ", absl::StrJoin(only_restore, ", ")));
  }
  return absl::StrJoin(parts, "; ");
}

// An error if the file was edited between the restore of the directory and the first start. The
// members of the new cluster are those of the restore, and an edit cannot change them any more. A
// change with raftkv member needs a leader, and at this start there may never be one.
absl::Status CheckRestored(const Config& given, const std::string& dir, const Members& members) {
  const std::string difference = DifferenceToRestore(given, members);
  if (difference.empty()) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      dir, ": was restored with other members than the config file has (", difference,
      "). If the cluster has not started since the restore: empty the data_dir of each member, and "
      "run raftkv snapshot restore again with this file; else: start this member with the file of "
      "the restore, and change the members while the cluster runs (raftkv member add, update, "
      "remove)"));
}

}  // namespace

absl::StatusOr<bool> SetIds(Config* config, MemberConfig* self, bool join) {
  const auto identity = ReadIdentity(self->data_dir);
  if (!identity.ok()) return identity.status();
  if (identity->has_value()) {
    const Identity& known = **identity;
    if (known.restored) DeriveIds(config, known.restored->token);
    const bool same = known.member_name == self->name || known.member_id == self->id;
    if (known.cluster_name == config->cluster_name && same) {
      config->cluster_id = known.cluster_id;
      self->id = known.member_id;
    }
    return known.joined;  // if it is another member's directory, opening it fails
  }
  if (!join) return false;
  const absl::StatusOr<JoinedCluster> joined = AskCluster(*config, *self);
  if (!joined.ok()) return joined.status();
  config->cluster_id = joined->cluster_id;
  self->id = joined->member_id;
  config->joined_names = joined->names;
  return true;
}

std::vector<std::string> Differences(const Config& given, size_t self, raft::MemberId id,
                                     const Members& members) {
  std::vector<std::string> differences;
  const Known* own = members.Find(id);
  if (own == nullptr) return differences;  // its entry has not arrived yet, or it was removed
  for (size_t i = 0; i < given.members.size(); ++i) {
    const MemberConfig& member = given.members[i];
    std::string difference;
    if (i != self) {
      difference = Difference(member, members);
    } else if (!IsAt(*own, member.peer_url)) {  // its name may differ: it will publish the new name
      difference = Moved(member, *own);
    }
    if (!difference.empty()) differences.push_back(std::move(difference));
  }
  return differences;
}

std::string WhatWasEdited(const Config& given, size_t self, const Identity& identity) {
  const MemberConfig& member = given.members[self];
  const std::vector<std::string> added = AddedMembers(given, identity.cluster_id);
  if (!added.empty()) {
    return absl::StrCat("member ", absl::StrJoin(added, ", "),
                        " was added to the config file; remove it there, and add it once the "
                        "cluster runs: raftkv member add");
  }
  if (member.id != identity.member_id) {
    return absl::StrCat("the peer_url of member ", member.name,
                        " was changed in the config file; restore it, and change it once the "
                        "cluster runs: raftkv member update");
  }
  std::vector<std::string> others;
  for (const MemberConfig& other : given.members) {
    if (&other != &member) others.push_back(other.name);
  }
  return absl::StrCat("the peer_url of another member (", absl::StrJoin(others, ", "),
                      ") was changed in the config file, or a member was removed from it; restore "
                      "the file, and change the members once the cluster runs: raftkv member "
                      "update, member remove");
}

absl::Status CheckMembers(const Config& given, size_t self, const KnownMembers& known,
                          std::vector<std::string>* warnings) {
  const Identity& identity = known.identity;
  const std::string& dir = known.dir;
  if (known.members.known()) {
    if (identity.restored && known.last_index == identity.restored->base.index) {
      return CheckRestored(given, dir, known.members);
    }
    for (std::string& difference : Differences(given, self, identity.member_id, known.members)) {
      warnings->push_back(std::move(difference));
    }
    return absl::OkStatus();
  }
  if (identity.joined || given.cluster_id == identity.cluster_id) return absl::OkStatus();
  const std::string edited = WhatWasEdited(given, self, identity);
  if (!known.last_index) {
    warnings->push_back(
        absl::StrCat(dir, ": ", edited,
                     ". A start ends with this error, unless the log has the members already"));
    return absl::OkStatus();
  }
  // A new directory is as good as an empty one: the first start does not trust it (0003).
  return absl::FailedPreconditionError(absl::StrCat(
      dir, ": the log of this cluster does not have its members yet, and ", edited,
      *known.last_index == 0
          ? absl::StrCat("; or, if the file was wrong before and is right now, remove ", dir,
                         ", which has no entries, and start again")
          : ""));
}

}  // namespace raftkv
