// Formats results as one line of JSON, with etcd's field names. Fields that are zero are left out.
// Keys and values are in base64; in other strings, bytes that are not UTF-8 are replaced. Called by
// Output.
#ifndef RAFTKV_CLIENT_CLI_JSON_H_
#define RAFTKV_CLIENT_CLI_JSON_H_

#include <string>
#include <vector>

#include "client/cli/rows.h"
#include "client/raftkv.h"

namespace raftkv::client {

std::string JsonOf(const PutResult& result);
std::string JsonOf(const RangeResult& result);
std::string JsonOf(const DeleteResult& result);
std::string JsonOf(const TxnResult& result);
std::string JsonOf(const CompactResult& result);
std::string JsonOf(const LeaseGrantResult& result);
std::string JsonOf(const LeaseRevokeResult& result);
std::string JsonOf(const LeaseKeepAliveResult& result);
std::string JsonOf(const LeaseTimeToLiveResult& result);
std::string JsonOf(const LeaseListResult& result);
std::string JsonOf(const WatchBatch& batch);
std::string JsonOf(const MemberListResult& result);
std::string JsonOf(const MemberAddResult& result);
std::string JsonOf(const AlarmResult& result);
std::string JsonOf(const std::vector<EndpointStatus>& rows);
std::string JsonOf(const std::vector<EndpointHealth>& rows);
std::string JsonOf(const std::vector<EndpointHash>& rows);
std::string JsonOf(const std::vector<EndpointDefrag>& rows);
std::string JsonOf(const BackupStatus& backup);

}  // namespace raftkv::client

#endif  // RAFTKV_CLIENT_CLI_JSON_H_
