#ifndef RAFTKV_SERVER_PEER_RAFT_CODEC_H_
#define RAFTKV_SERVER_PEER_RAFT_CODEC_H_

// Translates between the member's plain messages and protobuf. Everything that arrives from a peer
// passes a Decode, which rejects what no correct member sends (InvalidArgument, naming the field):
// a term, index or number that is implausible, or fields that contradict each other. So the core
// may CHECK its invariants. handshake.h checks who sent a message (proto::Peer).

#include <string>

#include "absl/status/statusor.h"
#include "proto/raft.pb.h"
#include "server/member/transport.h"
#include "server/raft/message.h"
#include "storage/data_dir/snapshot_files.h"

namespace raftkv {

// The largest term, index, round and proposal number that is accepted. No real log comes near it,
// and arithmetic on such numbers never overflows.
inline constexpr uint64_t kPlausibleMax = uint64_t{1} << 62;
// The largest number of entries, and of forwarded proposals, in one message that is accepted: far
// more than a member sends (raft::Config::append_entries_max; kForwardedTogetherBytes in peers.cc).
// Handling so many takes the loop some milliseconds.
inline constexpr int kItemsOfMessageMax = 1 << 14;

proto::RequestVoteRequest Encode(const raft::Message& from, const raft::RequestVote& body);
proto::RequestVoteResponse Encode(const raft::Message& from, const raft::RequestVoteReply& body);
proto::TimeoutNowRequest Encode(const raft::Message& from, const raft::TimeoutNow& body);
proto::AppendEntriesRequest Encode(const raft::Message& from, const raft::AppendEntries& body);
proto::AppendEntriesResponse Encode(const raft::Message& from,
                                    const raft::AppendEntriesReply& body);
proto::ForwardRequest Encode(const raft::Message& from, const raft::ReadIndexRequest& body);
proto::ForwardResponse Encode(const raft::Message& from, const raft::ReadIndexReply& body);
// Writes into a request that may hold other proposals.
void Encode(const ForwardedProposal& body, proto::ForwardRequest::Propose* out);
proto::ForwardResponse Encode(const ForwardedProposalReply& body);
proto::ForwardRequest Encode(const DigestReport& body);
proto::ForwardResponse Encode(const Diverged& body);
proto::HelloResponse Encode(const HelloReply& body);
// The first request of a snapshot.
proto::InstallSnapshotRequest Encode(raft::Term term, const SnapshotManifest& manifest);

// The caller fills in `from` and `to` of a raft::Message. Requests that carry payloads are emptied:
// the payloads move into the result. The payload of a command must be an encoded Command, which may
// be one of a newer version: every saved entry must be applied, or recognized as unknown, now and
// at each start.
absl::StatusOr<raft::Message> Decode(const proto::RequestVoteRequest& in);
absl::StatusOr<raft::Message> Decode(const proto::RequestVoteResponse& in);
absl::StatusOr<raft::Message> Decode(const proto::TimeoutNowRequest& in);
absl::StatusOr<raft::Message> Decode(proto::AppendEntriesRequest* in);
absl::StatusOr<raft::Message> Decode(const proto::AppendEntriesResponse& in);
absl::StatusOr<raft::Message> Decode(const proto::ForwardRequest::ReadIndex& in);
absl::StatusOr<raft::Message> Decode(const proto::ForwardResponse::ReadIndex& in);
// `origin` is the sender, which must be the origin of the command. A command that this program does
// not know is rejected, because every member must always be able to apply what is in the log.
absl::StatusOr<ForwardedProposal> Decode(raft::MemberId origin, proto::ForwardRequest::Propose* in);
absl::StatusOr<ForwardedProposalReply> Decode(const proto::ForwardResponse::Declined& in);
// The request must have digests.
absl::StatusOr<DigestReport> DecodeDigests(const proto::ForwardRequest& in);
absl::StatusOr<Diverged> Decode(const proto::ForwardResponse::Diverged& in);
absl::StatusOr<HelloReply> Decode(const proto::HelloResponse& in);
struct SnapshotOffer {
  raft::Term term = 0;
  SnapshotManifest manifest;
};
absl::StatusOr<SnapshotOffer> Decode(const proto::InstallSnapshotRequest& in);

}  // namespace raftkv

#endif  // RAFTKV_SERVER_PEER_RAFT_CODEC_H_
