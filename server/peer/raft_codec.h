#ifndef RAFTKV_SERVER_PEER_RAFT_CODEC_H_
#define RAFTKV_SERVER_PEER_RAFT_CODEC_H_

// The customs house between the core's plain messages and protobuf: the only file that knows both
// worlds. Decoding rejects what is malformed (InvalidArgument, naming the field), so that inside
// the core a CHECK is honest. Who sent a message to whom (proto::Peer) is the transport's business.

#include <string>

#include "absl/status/statusor.h"
#include "proto/raft.pb.h"
#include "server/raft/message.h"

namespace raftkv {

proto::RequestVoteRequest Encode(const raft::Message& from, const raft::RequestVote& body);
proto::RequestVoteResponse Encode(const raft::Message& from, const raft::RequestVoteReply& body);
proto::AppendEntriesRequest Encode(const raft::Message& from, const raft::AppendEntries& body);
proto::AppendEntriesResponse Encode(const raft::Message& from,
                                    const raft::AppendEntriesReply& body);

// `from` and `to` of the result are the caller's to fill in. AppendEntriesRequest is emptied: its
// payloads move into the entries.
absl::StatusOr<raft::Message> Decode(const proto::RequestVoteRequest& in);
absl::StatusOr<raft::Message> Decode(const proto::RequestVoteResponse& in);
absl::StatusOr<raft::Message> Decode(proto::AppendEntriesRequest* in);
absl::StatusOr<raft::Message> Decode(const proto::AppendEntriesResponse& in);

}  // namespace raftkv

#endif  // RAFTKV_SERVER_PEER_RAFT_CODEC_H_
