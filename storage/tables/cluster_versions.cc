#include "storage/tables/cluster_versions.h"

#include <optional>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "storage/base/checksum.h"

namespace raftkv {

absl::Status ClusterVersionTable::Load() {
  const std::string begin = kKey;
  return shared_.engine->Scan(
      begin, begin + '\0', [this](std::string_view, std::string_view value) {
        if (value.size() != 8) {
          return absl::DataLossError("state machine: the cluster version is damaged");
        }
        const ClusterVersion version = Fixed64(value.data());
        if (version > shared_.newest_version) {
          return absl::FailedPreconditionError(absl::StrCat(
              "state machine: the cluster version is ", version,
              ", but this raftkv-server knows versions up to ", shared_.newest_version,
              ": run a newer raftkv-server on this data directory; nothing was changed"));
        }
        shared_.state.cluster_version = version;
        return absl::OkStatus();
      });
}

absl::Status ClusterVersionTable::Check(const proto::Command& command, Meter*) {
  const ClusterVersion version = command.set_cluster_version().version();
  if (version > shared_.state.cluster_version) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("the cluster version is already ", shared_.state.cluster_version));
}

void ClusterVersionTable::Apply(const proto::Command& command, proto::CommandResponse*) {
  const ClusterVersion version = command.set_cluster_version().version();
  CHECK_LE(version, shared_.newest_version);
  State& state = shared_.state;
  state.cluster_version = version;
  std::string record;
  PutFixed64(&record, version);
  shared_.batch.Put(kKey, record);
  state.digest = HashMix(state.digest, version);
}

absl::Status ClusterVersionTable::Hash(const View&, const State& state, Meter*, std::string* out) {
  if (state.cluster_version > kFirstVersion) PutFixed64(out, state.cluster_version);
  return absl::OkStatus();
}

}  // namespace raftkv
