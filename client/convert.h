// Converts the library's structs to etcd's messages and back. Called by Client for every call, and
// by Op, which stores its operation as a message. Nothing is validated here: the service does that,
// and users know its error texts.
#ifndef RAFTKV_CLIENT_CONVERT_H_
#define RAFTKV_CLIENT_CONVERT_H_

#include <string_view>

#include "client/raftkv.h"
#include "proto/etcd/rpc.pb.h"

namespace raftkv::client {

etcdserverpb::RangeRequest ToProto(const Keys& keys, const ReadOptions& options);
etcdserverpb::PutRequest ToProto(std::string_view key, std::string_view value,
                                 const PutOptions& options);
etcdserverpb::DeleteRangeRequest ToProto(const Keys& keys, const DeleteOptions& options);
etcdserverpb::TxnRequest ToProto(const Transaction& transaction);
etcdserverpb::WatchCreateRequest ToProto(const Keys& keys, const WatchOptions& options);

// Whether neither branch can change anything. Includes nested transactions.
bool OnlyReads(const etcdserverpb::TxnRequest& txn);

// These move keys and values out of the message.
Header FromProto(const etcdserverpb::ResponseHeader& header);
RangeResult FromProto(etcdserverpb::RangeResponse&& response);
PutResult FromProto(etcdserverpb::PutResponse&& response);
DeleteResult FromProto(etcdserverpb::DeleteRangeResponse&& response);
TxnResult FromProto(etcdserverpb::TxnResponse&& response);
CompactResult FromProto(etcdserverpb::CompactionResponse&& response);
LeaseGrantResult FromProto(etcdserverpb::LeaseGrantResponse&& response);
LeaseRevokeResult FromProto(etcdserverpb::LeaseRevokeResponse&& response);
LeaseKeepAliveResult FromProto(etcdserverpb::LeaseKeepAliveResponse&& response);
LeaseTimeToLiveResult FromProto(etcdserverpb::LeaseTimeToLiveResponse&& response);
LeaseListResult FromProto(etcdserverpb::LeaseLeasesResponse&& response);
HashKvResult FromProto(etcdserverpb::HashKVResponse&& response);
StatusResult FromProto(etcdserverpb::StatusResponse&& response);
AlarmResult FromProto(etcdserverpb::AlarmResponse&& response);
MemberListResult FromProto(etcdserverpb::MemberListResponse&& response);
MemberAddResult FromProto(etcdserverpb::MemberAddResponse&& response);
MemberListResult FromProto(etcdserverpb::MemberRemoveResponse&& response);
MemberListResult FromProto(etcdserverpb::MemberUpdateResponse&& response);
MemberListResult FromProto(etcdserverpb::MemberPromoteResponse&& response);
MoveLeaderResult FromProto(etcdserverpb::MoveLeaderResponse&& response);
DefragmentResult FromProto(etcdserverpb::DefragmentResponse&& response);
WatchBatch FromProto(etcdserverpb::WatchResponse&& response);

}  // namespace raftkv::client

#endif  // RAFTKV_CLIENT_CONVERT_H_
