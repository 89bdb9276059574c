#ifndef RAFTKV_STORAGE_TABLES_CLUSTER_VERSIONS_H_
#define RAFTKV_STORAGE_TABLES_CLUSTER_VERSIONS_H_

// The cluster version in force (rules/version.h). The command SetClusterVersion raises it. A
// version of 1 is not stored, and the digest and the hash do not include it, so that a log of
// version 1 gives the same digest and hash as in the first release, which had no cluster versions.
// tables.h explains the functions of a table.

#include <string>

#include "absl/status/status.h"
#include "proto/command.pb.h"
#include "storage/rules/meter.h"
#include "storage/tables/state.h"

namespace raftkv {

class ClusterVersionTable {
 public:
  static constexpr char kKey[] = "V";  // the cluster version, once it was raised

  explicit ClusterVersionTable(Shared* shared) : shared_(*shared) {}

  // FailedPrecondition: the store is at a version that this program does not know.
  absl::Status Load();
  // FailedPrecondition: the version is not above the one in force. StateMachine::Apply has stopped
  // before an entry with a version that this program does not know.
  absl::Status Check(const proto::Command& command, Meter* meter);
  void Apply(const proto::Command& command, proto::CommandResponse* response);
  static absl::Status Hash(const View& view, const State& state, Meter* meter, std::string* out);

 private:
  Shared& shared_;
};

}  // namespace raftkv

#endif  // RAFTKV_STORAGE_TABLES_CLUSTER_VERSIONS_H_
