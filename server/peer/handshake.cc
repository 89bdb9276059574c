#include "server/peer/handshake.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "server/clock.h"
#include "server/peer/member_lists.h"

namespace raftkv {

namespace {
constexpr size_t kStoreIdBytes = 16;
}  // namespace

proto::Peer Handshake::Introduction(raft::MemberId to) const {
  proto::Peer who;
  who.set_cluster_id(cluster_id_);
  who.set_from(self_.id);
  who.set_to(to);
  who.set_store_id(self_.store_id);
  who.set_newest_cluster_version(self_.newest_version);
  who.set_boot_id(self_.boot_id);
  who.set_reached_term(self_.reached.term);
  who.set_reached_index(self_.reached.index);
  return who;
}

// The sender logs it, too, so it does not say "here".
std::string Handshake::OtherCluster(const proto::Peer& who, const std::string& difference) const {
  const bool both_are_new = self_.reached == raft::Reached{} &&
                            raft::Reached{who.reached_term(), who.reached_index()} == self_.reached;
  if (both_are_new && !difference.empty()) {
    return absl::StrCat("the member lists differ (", difference,
                        "): correct the wrong config file, empty the data_dir of its member, and "
                        "start that member again");
  }
  return absl::StrCat(
      "the member lists differ", difference.empty() ? "" : " (", difference,
      difference.empty() ? "" : ")",
      ": if one of the two is to join a running cluster, empty its data_dir and start it with "
      "--join; if it has lost its data_dir, replace it (raftkv member replace); otherwise compare "
      "the cluster's name and the peer_url of each [[member]] in the config files of the two, and "
      "give every member the file, or the backup, that the cluster was started with");
}

absl::Status Handshake::Check(const proto::Peer& who, const proto::HelloRequest& hello) {
  std::string wrong, both_say;
  Rejections::Reason reason{};
  if (who.cluster_id() != cluster_id_) {
    reason = Rejections::Reason::kCluster;
    const std::string difference = DifferenceOfLists(listed_, hello);
    wrong = OtherCluster(who, difference);
    if (!difference.empty()) both_say = wrong;
  } else if (who.to() != self_.id) {
    reason = Rejections::Reason::kReceiver;
    wrong = absl::StrFormat("this is member %x, not %x: check the peer URLs", self_.id, who.to());
  } else if (who.store_id().size() != kStoreIdBytes) {
    reason = Rejections::Reason::kMalformed;
    wrong = "malformed store id";
  } else if (who.from() == raft::kNobody || who.from() == self_.id) {
    reason = Rejections::Reason::kSender;
    wrong = absl::StrFormat("the sender cannot be member %x", who.from());
  } else if (!peers_.contains(who.from()) && !strangers_.contains(who.from()) &&
             strangers_.size() >= kStrangersMax) {
    reason = Rejections::Reason::kSender;
    wrong = absl::StrFormat("member %x is unknown here, and so are %d other senders", who.from(),
                            strangers_.size());
  }
  if (wrong.empty()) {
    if (!peers_.contains(who.from())) strangers_.insert(who.from());
    return absl::OkStatus();
  }
  const std::string sender =
      hello.name().empty() ? absl::StrFormat("member %x", who.from()) : NameForLine(hello.name());
  Count(reason, absl::StrCat("a peer that calls itself ", sender, ": ", wrong), both_say);
  return absl::FailedPreconditionError(wrong);
}

bool Handshake::CheckAnswer(raft::MemberId to, const proto::Peer& who) {
  if (who.cluster_id() == cluster_id_ && who.from() == to && who.to() == self_.id &&
      who.store_id().size() == kStoreIdBytes) {
    return true;
  }
  const auto known = peers_.find(to);
  if (known == peers_.end()) return false;  // it was removed meanwhile
  const Member& member = known->second;
  Count(
      who.cluster_id() == cluster_id_ ? Rejections::Reason::kSender : Rejections::Reason::kCluster,
      absl::StrCat("an answer from ", member.address, ": it is not ", member.name,
                   " of this cluster; check the peer URLs"));
  return false;
}

bool Handshake::NoteRejectedBy(const std::string& why) {
  return rejections_.NoteRejectedBy(why, MonotonicNow());
}

void Handshake::Count(Rejections::Reason reason, const std::string& what, const std::string& why) {
  rejections_.Count(reason, what, why, MonotonicNow());
}

}  // namespace raftkv
