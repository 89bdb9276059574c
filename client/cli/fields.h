// Results as etcdctl's `fields`: a line `"Name" : value` for each field, zero or not, strings
// quoted as Go quotes them; the rows of a list end with an empty line each. Called by Output.
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
std::string FieldsOf(const MemberListResult& result);
std::string FieldsOf(const std::vector<EndpointStatus>& rows);
std::string FieldsOf(const std::vector<EndpointHealth>& rows);
std::string FieldsOf(const std::vector<EndpointHash>& rows);
std::string FieldsOf(const std::vector<EndpointDefrag>& rows);

}  // namespace raftkv::client

#endif  // RAFTKV_CLIENT_CLI_FIELDS_H_
