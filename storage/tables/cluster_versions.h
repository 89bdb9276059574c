#ifndef RAFTKV_STORAGE_TABLES_CLUSTER_VERSIONS_H_
#define RAFTKV_STORAGE_TABLES_CLUSTER_VERSIONS_H_

// The cluster version in force (version.h), raised by SetClusterVersion. It is stored, and enters
// the digest and the hash, only once it was raised above 1, so that a log of version 1 gives the
// same digest and hash as it did before there were cluster versions. See tables.h for the functions
// of a table.

#include <string>

#include "absl/status/status.h"
#include "proto/command.pb.h"
#include "storage/meter.h"
#include "storage/tables/state.h"

namespace raftkv {

class ClusterVersions {
 public:
  explicit ClusterVersions(Shared* shared) : shared_(*shared) {}

  // FailedPrecondition: the store is at a version that this program does not know.
  absl::Status Load();
  // FailedPrecondition: the version is not above the one in force. A version above kNewestVersion
  // must not come here (StateMachine::Apply).
  absl::Status Check(const proto::Command& command, Meter* meter);
  void Apply(const proto::Command& command, proto::CommandResponse* response);
  static absl::Status Hash(const View& view, const State& state, Meter* meter, std::string* out);

 private:
  Shared& shared_;
};

}  // namespace raftkv

#endif  // RAFTKV_STORAGE_TABLES_CLUSTER_VERSIONS_H_
