#include "server/member/fault.h"

#include "absl/strings/str_cat.h"

namespace raftkv {

namespace {

constexpr char kReplace[] =
    "An older copy of its data directory was put back, or its disk lost writes. Stop it and "
    "replace it (raftkv member replace); never put an older copy back";

constexpr char kChoose[] =
    "Some member forgot what it had saved, most likely because an older copy of its data directory "
    "was put back, and writes were acknowledged in both histories. Both members have halted, and "
    "neither history is overwritten. Keep all data directories. First find out which member has "
    "which history, whose directory was put back, and when: raftkv endpoint status of all members "
    "says which ones contradict each other, the log of each says whom it followed, and raftkv "
    "endpoint hashkv compares those that still serve. Before you have chosen the history to keep, "
    "do not remove or replace a member, empty a directory, or use --force-new-cluster: README, "
    "\"An older copy was put back\"";

}  // namespace

Fault FaultOf(const raft::Halted& halted) {
  using Why = raft::Halted::Why;
  switch (halted.why) {
    case Why::kConflict:
    case Why::kToldConflict:
      return {Fault::Kind::kConflict, halted.peer, halted.entry};
    case Why::kLostEntries:
      return {Fault::Kind::kLostEntries, halted.peer, halted.entry};
    case Why::kAsked:
      break;
  }
  return {};
}

std::string Describe(const Fault& fault, const std::function<std::string(raft::MemberId)>& name) {
  switch (fault.kind) {
    case Fault::Kind::kNone:
      return "";
    case Fault::Kind::kConflict:
      return absl::StrCat("halted: the log of ", name(fault.peer),
                          " contradicts the log of this member at entry ", fault.entry.index,
                          " (of term ", fault.entry.term, " here). ", kChoose);
    case Fault::Kind::kLostEntries:
      return absl::StrCat("halted: this member acknowledged all entries up to ", fault.entry.index,
                          " to the leader ", name(fault.peer), ", and its log has fewer. ",
                          kReplace);
    case Fault::Kind::kDiverged:
      return absl::StrCat("halted: after entry ", fault.entry.index,
                          " the state of this member is not that of the majority. Its disk, its "
                          "memory or a bug has changed it. Stop it, keep its log file for a bug "
                          "report, and replace it (raftkv member replace)");
    case Fault::Kind::kAllDiverged:
      return absl::StrCat(
          "halted: after entry ", fault.entry.index,
          " the states of the members differ, and no state is that of a majority. "
          "All members have halted. Keep all data directories. First find out which state is "
          "right: the leader's log has the digest of each member, and a member serves again for "
          "some time when it is restarted, so raftkv endpoint hashkv and raftkv get can compare "
          "them. Only then start the member whose state to keep with --force-new-cluster");
    case Fault::Kind::kOlderCopy:
      return absl::StrCat("halted: ", name(fault.peer),
                          " knows that the log of this member was at "
                          "index ",
                          fault.entry.index, " in term ", fault.entry.term,
                          ", and it has not come as far. ", kReplace);
  }
  return "";
}

}  // namespace raftkv
