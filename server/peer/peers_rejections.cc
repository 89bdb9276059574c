// The methods of Peers for messages that are rejected: by this member, and by its peers.

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "server/peer/peers.h"

namespace raftkv {

namespace {
constexpr size_t kReasonsMax = 8;  // that are kept, so that none is logged twice in a row
}  // namespace

void Peers::OnRejectedBy(Peer* peer, const absl::Status& status) {
  if (peer->rejections.size() >= kReasonsMax) peer->rejections.clear();
  const std::string why(status.message());
  if (!peer->rejections.insert(why).second) return;
  if (!handshake_.NoteRejectedBy(why)) return;
  LOG(ERROR) << "rejected by " << peer->address.name << " at " << peer->address.address << ": "
             << why;
}

absl::Status Peers::CountMalformed(raft::MemberId from, const absl::Status& status) {
  handshake_.Count(Rejections::Reason::kMalformed,
                   absl::StrCat("a message from ", Find(from)->address.name, ": ", status.message(),
                                "; check that both run compatible versions"));
  return status;
}

void Peers::OnPeerRejected(const PeerRejected& rejected) {
  Peer* peer = Find(rejected.peer);
  const std::string name = peer == nullptr ? "a peer" : peer->address.name;
  switch (rejected.why) {
    case PeerRejected::Why::kStoreId:
      return handshake_.Count(
          Rejections::Reason::kStoreId,
          absl::StrCat(name,
                       ": its data directory is not the one that this cluster knows for it, so it "
                       "may have forgotten votes and acknowledged writes. Start it with its old "
                       "directory, or replace the member (raftkv member replace)"));
    case PeerRejected::Why::kReplaced:
      return handshake_.Count(
          Rejections::Reason::kReplaced,
          absl::StrCat(name,
                       ": a newer process of this member has been heard since. If both run, "
                       "they use copies of one data directory: stop one of them"));
    case PeerRejected::Why::kRemoved:
      return handshake_.Count(
          Rejections::Reason::kRemoved,
          absl::StrCat("a message of ", name,
                       ": it was removed from the cluster while it was away; it is told so, and "
                       "stops. If a member is to run there: raftkv member add, then start it with "
                       "an empty data_dir and --join"));
    case PeerRejected::Why::kOlderCopy: {
      const char* what =
          "its log was longer before: an older copy of its data directory was put back, or its "
          "disk lost writes. Replace this member (raftkv member replace)";
      handshake_.Count(Rejections::Reason::kOlderCopy, absl::StrCat(name, ": ", what));
      if (peer != nullptr) EndStreams(peer, absl::FailedPreconditionError(what));
    }
  }
}

void Peers::OnMessageRejected(raft::MemberId from, const char* why) {
  Peer* peer = Find(from);
  if (peer == nullptr) return;  // every message that is posted comes from a known peer
  const std::string what = absl::StrCat(
      why, ", which contradicts Raft; stop that member, check its version and its data directory");
  handshake_.Count(Rejections::Reason::kImplausible,
                   absl::StrCat("a message from ", peer->address.name, ": ", what));
  EndStreams(peer, absl::InvalidArgumentError(absl::StrCat("a message: ", what)));
}

void Peers::EndStreams(Peer* peer, const absl::Status& status) {
  if (peer->append_in != nullptr) std::exchange(peer->append_in, nullptr)->Finish(status);
  if (peer->heartbeat_in != nullptr) std::exchange(peer->heartbeat_in, nullptr)->Finish(status);
  if (peer->forward_in != nullptr) std::exchange(peer->forward_in, nullptr)->Finish(status);
  EndIncoming(peer, status);
  if (peer->append_out != nullptr) peer->append_out->Reject();
  if (peer->heartbeat_out != nullptr) peer->heartbeat_out->Reject();
  if (peer->forward_out != nullptr) peer->forward_out->Reject();
}

}  // namespace raftkv
