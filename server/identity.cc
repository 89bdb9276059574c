#include "server/identity.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "glog/logging.h"
#include "server/join.h"

namespace raftkv {

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
  return true;
}

absl::Status CheckMembers(const Config& given, size_t self, const DataDir& data_dir) {
  const MemberConfig& member = given.members[self];
  const Members& members = data_dir.state->members();
  const Members::Member* known = members.Find(data_dir.identity.member_id);
  if (known != nullptr) {
    const auto& urls = known->info.peerurls();
    if (std::find(urls.begin(), urls.end(), member.peer_url) == urls.end()) {
      LOG(WARNING) << "the cluster knows this member at peer_url "
                   << absl::StrJoin(urls.begin(), urls.end(), ",") << ", and the config file says "
                   << member.peer_url
                   << absl::StrFormat(
                          ": tell the cluster with raftkv member "
                          "update %x --peer-urls=%s",
                          known->info.id(), member.peer_url);
    }
    for (const MemberConfig& other : given.members) {
      const bool found =
          std::any_of(members.all().begin(), members.all().end(), [&](const auto& m) {
            return std::find(m.second.info.peerurls().begin(), m.second.info.peerurls().end(),
                             other.peer_url) != m.second.info.peerurls().end();
          });
      if (found || other.name == member.name) continue;
      LOG(WARNING) << "the config file names member " << other.name << " at " << other.peer_url
                   << ", which is not a member of the cluster: add it with raftkv member add "
                   << other.name << " --peer-urls=" << other.peer_url
                   << ", or remove it from the file";
    }
    return absl::OkStatus();
  }
  if (members.known() || data_dir.identity.joined ||
      given.cluster_id == data_dir.identity.cluster_id) {
    return absl::OkStatus();
  }
  return absl::FailedPreconditionError(absl::StrCat(
      member.data_dir,
      ": this cluster was started with other members or peer URLs, and they are "
      "not in its log yet; restore the config file, and change the members once the cluster runs: "
      "raftkv member add, remove or update"));
}

}  // namespace raftkv
