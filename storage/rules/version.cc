#include "storage/rules/version.h"

#include <google/protobuf/message.h>

#include <algorithm>

namespace raftkv {

namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

ClusterVersion OperationNeeds(const proto::Command& command) {
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
    case proto::Command::kChangeMembers:
    case proto::Command::kChangeAlarm:
    case proto::Command::kBumpRevision:
      return 3;
    case proto::Command::OP_NOT_SET:
      break;
  }
  return kNewestVersion + 1;
}

// Messages nest no deeper than the parser allowed (proto/parse_command.h).
ClusterVersion FieldsNeed(const Message& message) {
  ClusterVersion needs = kFirstVersion;
  const Reflection& reflection = *message.GetReflection();
  std::vector<const FieldDescriptor*> fields;  // the fields that are set
  reflection.ListFields(message, &fields);
  for (const FieldDescriptor* field : fields) {
    for (const FieldVersion& row : FieldVersions()) {
      if (row.field == field->full_name()) needs = std::max(needs, row.version);
    }
    if (field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) continue;
    if (!field->is_repeated()) {
      needs = std::max(needs, FieldsNeed(reflection.GetMessage(message, field)));
      continue;
    }
    for (int i = 0; i < reflection.FieldSize(message, field); ++i) {
      needs = std::max(needs, FieldsNeed(reflection.GetRepeatedMessage(message, field, i)));
    }
  }
  return needs;
}

}  // namespace

std::vector<FieldVersion>& FieldVersions() {
  static auto* const fields = new std::vector<FieldVersion>{};  // no version has added one yet
  return *fields;
}

ClusterVersion Needs(const proto::Command& command) {
  ClusterVersion needs = OperationNeeds(command);
  // Not a row of FieldVersions: a walk over all fields would slow down every write.
  if (command.has_session()) needs = std::max(needs, kSessionsVersion);
  return FieldVersions().empty() ? needs : std::max(needs, FieldsNeed(command));
}

}  // namespace raftkv
