// Formats results as etcdctl's `fields`: one line `"Name" : value` for each field, also if it is
// zero. Strings are quoted as in Go. Each row of a list ends with an empty line. Called by Output.
#ifndef RAFTKV_CLIENT_CLI_FIELDS_H_
#define RAFTKV_CLIENT_CLI_FIELDS_H_

#include <string>
#include <vector>

#include "client/cli/rows.h"
#include "client/raftkv.h"

namespace raftkv::client {

std::string FieldsOf(const PutResult& result);
std::string FieldsOf(const RangeResult& result);
std::string FieldsOf(const DeleteResult& result);
std::string FieldsOf(const TxnResult& result);
std::string FieldsOf(const CompactResult& result);
std::string FieldsOf(const LeaseGrantResult& result);
std::string FieldsOf(const LeaseRevokeResult& result);
std::string FieldsOf(const LeaseKeepAliveResult& result);
std::string FieldsOf(const LeaseTimeToLiveResult& result);
std::string FieldsOf(const LeaseListResult& result);
std::string FieldsOf(const WatchBatch& batch);
std::string FieldsOf(const MemberListResult& result);
std::string FieldsOf(const AlarmResult& result);
std::string FieldsOf(const std::vector<EndpointStatus>& rows);
std::string FieldsOf(const std::vector<EndpointHealth>& rows);
std::string FieldsOf(const std::vector<EndpointHash>& rows);
std::string FieldsOf(const std::vector<EndpointDefrag>& rows);
std::string FieldsOf(const BackupStatus& backup);

}  // namespace raftkv::client

#endif  // RAFTKV_CLIENT_CLI_FIELDS_H_
