#include "tests/raft/describe.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace raftkv::raft {
namespace {

std::string Name(MemberId id) { return id == kNobody ? "nobody" : std::to_string(id); }

struct BodyText {
  std::string operator()(const RequestVote& m) const {
    return absl::StrCat(m.pre_vote ? "PreVote" : "RequestVote", " last=", Describe(m.last),
                        m.leadership_transfer ? " transfer" : "");
  }
  std::string operator()(const RequestVoteReply& m) const {
    return absl::StrCat(m.pre_vote ? "PreVoteReply " : "RequestVoteReply ",
                        m.granted ? "granted" : "declined");
  }
  std::string operator()(const AppendEntries& m) const {
    return absl::StrCat("AppendEntries prev=", Describe(m.prev), " commit=", m.commit,
                        " round=", m.round, m.entries.empty() ? "" : " ", Describe(m.entries));
  }
  std::string operator()(const AppendEntriesReply& m) const {
    const char* const space = m.out_of_space ? " out of space" : "";
    if (m.success) {
      return absl::StrCat("AppendEntriesReply match=", m.match, " round=", m.round, space);
    }
    return absl::StrCat("AppendEntriesReply lacks ", Describe(m.rejected_prev),
                        " hint=", Describe(m.hint), " round=", m.round,
                        m.conflict == EntryId{} ? "" : " conflict=" + Describe(m.conflict), space,
                        m.repairs ? " repairs" : "");
  }
  // The id is random, so a transcript must not contain it.
  std::string operator()(const ReadIndexRequest&) const { return "ReadIndexRequest"; }
  std::string operator()(const ReadIndexReply& m) const {
    return absl::StrCat("ReadIndexReply index=", m.index);
  }
  std::string operator()(const InstallSnapshot& m) const {
    return absl::StrCat("InstallSnapshot ", Describe(m.meta.last));
  }
  std::string operator()(const TimeoutNow&) const { return "TimeoutNow"; }
};

struct EventText {
  std::string operator()(const BecameFollower& e) const {
    return absl::StrCat("became follower in term ", e.term);
  }
  std::string operator()(const BecamePreCandidate& e) const {
    return absl::StrCat("became pre-candidate", e.fast ? " early" : "", ", would campaign in term ",
                        e.term);
  }
  std::string operator()(const BecameCandidate& e) const {
    return absl::StrCat("became candidate in term ", e.term);
  }
  std::string operator()(const BecameLeader& e) const {
    return absl::StrCat("became leader in term ", e.term, ", elected by ",
                        absl::StrJoin(e.votes, " "), ", last index ", e.last_index);
  }
  std::string operator()(const LeaderChanged& e) const {
    return absl::StrCat("leader is ", Name(e.leader), " in term ", e.term);
  }
  std::string operator()(const VoteGranted& e) const {
    return absl::StrCat(e.pre_vote ? "would vote" : "votes", " for ", Name(e.candidate),
                        " in term ", e.term);
  }
  std::string operator()(const VoteReceived& e) const {
    return absl::StrCat(e.pre_vote ? "pre-vote of " : "vote of ", Name(e.voter),
                        e.granted ? " granted" : " declined");
  }
  std::string operator()(const SteppedDown& e) const {
    switch (e.why) {
      case SteppedDown::Why::kHigherTerm:
        return "steps down: higher term";
      case SteppedDown::Why::kTransfer:
        return "steps down: transfers its leadership";
      case SteppedDown::Why::kNoQuorum:
        return "steps down: no quorum";
      case SteppedDown::Why::kNoVoter:
        return "steps down: no voter any more";
    }
    return "steps down";
  }
  std::string operator()(const Truncated& e) const {
    return absl::StrCat("truncates from ", Describe(e.first_removed), " to ", Describe(e.new_last));
  }
  std::string operator()(const SnapshotNeeded& e) const {
    return absl::StrCat(Name(e.peer), " needs a snapshot instead of entry ", e.next_index);
  }
  std::string operator()(const SnapshotInstalled& e) const {
    return absl::StrCat("installs a snapshot up to ", Describe(e.last));
  }
  std::string operator()(const ConfigurationChanged& e) const {
    std::string text = absl::StrCat("configuration of ", e.index, ": ",
                                    absl::StrJoin(e.configuration.voters, " "));
    if (!e.configuration.learners.empty()) {
      absl::StrAppend(&text, ", learning ", absl::StrJoin(e.configuration.learners, " "));
    }
    return text;
  }
  std::string operator()(const Halted& e) const {
    switch (e.why) {
      case Halted::Why::kConflict:
        return absl::StrCat("halts: the log of ", e.peer, " contradicts ", Describe(e.entry));
      case Halted::Why::kToldConflict:
        return absl::StrCat("halts: ", e.peer, " contradicts ", Describe(e.entry));
      case Halted::Why::kLostEntries:
        return absl::StrCat("halts: ", e.peer, " has its acknowledgement of ", e.entry.index);
      case Halted::Why::kAsked:
        break;
    }
    return "halts";
  }
  std::string operator()(const PeerLostEntries& e) const {
    return absl::StrCat(e.peer, " acknowledged ", e.acknowledged, " and now ends at ", e.last,
                        e.repairs ? ", and repairs its log" : "");
  }
  std::string operator()(const MessageRejected& e) const {
    return absl::StrCat("rejects a message of ", Name(e.from), ": ", e.why);
  }
};

}  // namespace

std::string Describe(EntryId id) { return absl::StrCat(id.term, "/", id.index); }

std::string Describe(const Entry& entry) {
  switch (entry.type) {
    case EntryType::kNoOp:
      return absl::StrCat(Describe(entry.id), ":no-op");
    case EntryType::kCommand:
      break;
    case EntryType::kConfiguration:
      return absl::StrCat(Describe(entry.id), ":members=", std::string(entry.payload.view()));
  }
  return absl::StrCat(Describe(entry.id), ":", std::string(entry.payload.view()));
}

std::string Describe(const std::vector<Entry>& entries) {
  if (entries.empty()) return "";
  return absl::StrCat(
      "[",
      absl::StrJoin(entries, " ",
                    [](std::string* out, const Entry& entry) { out->append(Describe(entry)); }),
      "]");
}

std::string Describe(const Message& message) {
  return absl::StrCat(message.from, "->", message.to, " term ", message.term, " ",
                      std::visit(BodyText(), message.body));
}

std::string Describe(const Event& event) { return std::visit(EventText(), event); }

std::string Describe(const ReadIndexResult& result) {
  if (result.index == 0) return absl::StrCat("read ", result.id, " declined");
  return absl::StrCat("read ", result.id, " at index ", result.index);
}

std::string Describe(const Status& status) {
  std::string text = absl::StrCat(status.id, ": ", std::string(RoleName(status.role)), " term ",
                                  status.term, " vote ", Name(status.voted_for), " leader ",
                                  Name(status.leader), " commit ", status.commit_index, " applied ",
                                  status.applied_index, " last ", status.last_index);
  for (const auto& [id, peer] : status.peers) {
    absl::StrAppend(&text, "\n   ", id, " match ", peer.match_index, " next ", peer.next_index,
                    " in flight ", peer.inflight_messages, peer.recently_active ? "" : " silent");
  }
  return text;
}

}  // namespace raftkv::raft
