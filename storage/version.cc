#include "storage/version.h"

namespace raftkv {

ClusterVersion Needs(const proto::Command& command) {
  switch (command.op_case()) {
    case proto::Command::kPut:
    case proto::Command::kDeleteRange:
    case proto::Command::kTxn:
    case proto::Command::kCompaction:
    case proto::Command::kRecordStoreId:
    // Raising the version is how version 2 begins, so it must be possible at version 1. A leader
    // proposes it only when every member has announced that it knows the new version.
    case proto::Command::kSetClusterVersion:
      return 1;
    case proto::Command::kLeaseGrant:
    case proto::Command::kLeaseRevoke:
    case proto::Command::kRenewLeases:
    case proto::Command::kExpireLeases:
      return 3;
    case proto::Command::OP_NOT_SET:
      break;
  }
  return kNewestVersion + 1;
}

}  // namespace raftkv
