#include "server/peer/raft_codec.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "proto/parse_command.h"
#include "storage/rules/members.h"

namespace raftkv {

namespace {

constexpr uint32_t kStatusCodeMax = 16;  // of gRPC
constexpr size_t kStatusTextMax = 256;

absl::Status Malformed(const char* what) {
  return absl::InvalidArgumentError(absl::StrCat("malformed peer message: ", what));
}

bool Plausible(std::initializer_list<uint64_t> numbers) {
  for (uint64_t n : numbers) {
    if (n > kPlausibleMax) return false;
  }
  return true;
}

// {0, 0} is the position before the log. An entry has both an index and a term.
bool IsEntryId(uint64_t term, uint64_t index) { return (term == 0) == (index == 0); }

// Whether a client or any member may propose the command. False: only a leader proposes it, or
// nobody. A command that is not named here does not compile (-Werror=switch).
bool MayBeForwarded(const proto::Command& command) {
  switch (command.op_case()) {
    case proto::Command::kPut:
    case proto::Command::kDeleteRange:
    case proto::Command::kTxn:
    case proto::Command::kCompaction:
    case proto::Command::kLeaseGrant:
    case proto::Command::kLeaseRevoke:
    case proto::Command::kRenewLeases:
    case proto::Command::kChangeAlarm:
      return true;
    case proto::Command::kChangeMembers: {
      const proto::ChangeMembers& change = command.change_members();
      return !change.has_begin() && !change.has_count() && change.voters().empty() &&
             change.learners().empty();
    }
    case proto::Command::kRecordStoreId:
    case proto::Command::kSetClusterVersion:
    case proto::Command::kExpireLeases:
    case proto::Command::kBumpRevision:
    case proto::Command::OP_NOT_SET:
      break;
  }
  return false;
}

}  // namespace

proto::RequestVoteRequest Encode(const raft::Message& from, const raft::RequestVote& body) {
  proto::RequestVoteRequest out;
  out.set_term(from.term);
  out.set_candidate_id(from.from);
  out.set_last_log_index(body.last.index);
  out.set_last_log_term(body.last.term);
  out.set_pre_vote(body.pre_vote);
  out.set_leadership_transfer(body.leadership_transfer);
  return out;
}

proto::RequestVoteResponse Encode(const raft::Message& from, const raft::RequestVoteReply& body) {
  proto::RequestVoteResponse out;
  out.set_term(from.term);
  out.set_vote_granted(body.granted);
  out.set_pre_vote(body.pre_vote);
  return out;
}

proto::TimeoutNowRequest Encode(const raft::Message& from, const raft::TimeoutNow& /*body*/) {
  proto::TimeoutNowRequest out;
  out.set_term(from.term);
  out.set_leader_id(from.from);
  return out;
}

proto::AppendEntriesRequest Encode(const raft::Message& from, const raft::AppendEntries& body) {
  proto::AppendEntriesRequest out;
  out.set_term(from.term);
  out.set_leader_id(from.from);
  out.set_prev_log_index(body.prev.index);
  out.set_prev_log_term(body.prev.term);
  out.set_leader_commit(body.commit);
  out.set_round(body.round);
  out.set_prev_chain_hash(body.prev_chain);
  out.set_acknowledged(body.acknowledged);
  out.mutable_entries()->Reserve(static_cast<int>(body.entries.size()));
  for (const raft::Entry& entry : body.entries) {
    proto::Entry* e = out.add_entries();
    e->set_term(entry.id.term);
    e->set_type(static_cast<proto::EntryType>(entry.type));
    e->set_payload(entry.payload.view().data(), entry.payload.size());
  }
  return out;
}

proto::AppendEntriesResponse Encode(const raft::Message& from,
                                    const raft::AppendEntriesReply& body) {
  proto::AppendEntriesResponse out;
  out.set_term(from.term);
  out.set_success(body.success);
  out.set_match_index(body.match);
  out.set_rejected_prev_index(body.rejected_prev.index);
  out.set_rejected_prev_term(body.rejected_prev.term);
  out.set_hint_index(body.hint.index);
  out.set_hint_term(body.hint.term);
  out.set_round(body.round);
  out.set_conflict_index(body.conflict.index);
  out.set_conflict_term(body.conflict.term);
  out.set_conflict_chain_hash(body.conflict_chain);
  out.set_out_of_space(body.out_of_space);
  out.set_repairs(body.repairs);
  return out;
}

proto::ForwardRequest Encode(const raft::Message& from, const raft::ReadIndexRequest& body) {
  proto::ForwardRequest out;
  out.mutable_read_index()->set_id(body.id);
  out.mutable_read_index()->set_term(from.term);
  return out;
}

proto::ForwardResponse Encode(const raft::Message& from, const raft::ReadIndexReply& body) {
  proto::ForwardResponse out;
  out.mutable_read_index()->set_id(body.id);
  out.mutable_read_index()->set_index(body.index);
  out.mutable_read_index()->set_acknowledged(body.acknowledged);
  out.mutable_read_index()->set_term(from.term);
  return out;
}

void Encode(const ForwardedProposal& body, proto::ForwardRequest::Propose* out) {
  out->set_number(body.number);
  out->set_command(body.payload.view().data(), body.payload.size());
  out->set_term(body.term);
}

proto::ForwardResponse Encode(const ForwardedProposalReply& body) {
  proto::ForwardResponse out;
  out.mutable_declined()->set_number(body.number);
  out.mutable_declined()->set_too_many_requests(body.too_many_requests);
  out.mutable_declined()->set_boot_id(body.boot_id);
  out.mutable_declined()->set_try_again(body.try_again);
  out.mutable_declined()->set_not_understood(body.not_understood);
  out.mutable_declined()->set_term(body.term);
  if (!body.rejected.ok()) {
    out.mutable_declined()->set_status_code(static_cast<uint32_t>(body.rejected.code()));
    out.mutable_declined()->set_status_text(std::string(body.rejected.message()));
  }
  return out;
}

proto::ForwardRequest Encode(const DigestReport& body) {
  proto::ForwardRequest out;
  for (const StateDigest& d : body.digests) {
    proto::ForwardRequest::Digest* digest = out.add_digests();
    digest->set_index(d.index);
    digest->set_digest(d.digest);
  }
  return out;
}

proto::ForwardResponse Encode(const Diverged& body) {
  proto::ForwardResponse out;
  out.mutable_diverged()->set_index(body.index);
  if (body.majority) out.mutable_diverged()->set_majority(*body.majority);
  return out;
}

proto::HelloResponse Encode(const HelloReply& body) {
  proto::HelloResponse out;
  out.set_log_empty(body.log_empty);
  out.set_store_id_rejected(body.store_id_rejected);
  out.set_removed(body.removed);
  out.set_forgotten_term(body.forgotten.term);
  out.set_forgotten_index(body.forgotten.index);
  return out;
}

absl::StatusOr<raft::Message> Decode(const proto::RequestVoteRequest& in) {
  if (!Plausible({in.term(), in.last_log_index(), in.last_log_term()}))
    return Malformed("vote numbers");
  if (in.term() == 0) return Malformed("a vote for term 0");
  if (!IsEntryId(in.last_log_term(), in.last_log_index())) return Malformed("last log entry");
  // A member that was asked to campaign needs no pre-votes.
  if (in.pre_vote() && in.leadership_transfer()) return Malformed("a pre-vote for a transfer");
  raft::Message out;
  out.term = in.term();
  out.body = raft::RequestVote{.last = {in.last_log_term(), in.last_log_index()},
                               .pre_vote = in.pre_vote(),
                               .leadership_transfer = in.leadership_transfer()};
  return out;
}

absl::StatusOr<raft::Message> Decode(const proto::RequestVoteResponse& in) {
  if (!Plausible({in.term()})) return Malformed("vote numbers");
  // A member that has seen no term yet can only deny its vote.
  if (in.vote_granted() && in.term() == 0) return Malformed("a vote granted for term 0");
  raft::Message out;
  out.term = in.term();
  out.body = raft::RequestVoteReply{.granted = in.vote_granted(), .pre_vote = in.pre_vote()};
  return out;
}

absl::StatusOr<raft::Message> Decode(const proto::TimeoutNowRequest& in) {
  if (!Plausible({in.term()})) return Malformed("the term of a transfer");
  if (in.term() == 0) return Malformed("a transfer in term 0");
  raft::Message out;
  out.term = in.term();
  out.body = raft::TimeoutNow{};
  return out;
}

absl::StatusOr<raft::Message> Decode(proto::AppendEntriesRequest* in) {
  if (!Plausible({in->term(), in->prev_log_index(), in->prev_log_term(), in->leader_commit(),
                  in->round(), in->acknowledged()})) {
    return Malformed("append numbers");
  }
  if (!IsEntryId(in->prev_log_term(), in->prev_log_index())) return Malformed("previous entry");
  if (in->term() == 0 || in->prev_log_term() > in->term()) return Malformed("append term");
  if (in->entries_size() > kItemsOfMessageMax) return Malformed("too many entries");

  raft::AppendEntries body;
  body.prev = {in->prev_log_term(), in->prev_log_index()};
  body.commit = in->leader_commit();
  body.round = in->round();
  body.prev_chain = in->prev_chain_hash();
  body.acknowledged = in->acknowledged();
  body.entries.reserve(in->entries_size());
  raft::EntryId last = body.prev;
  proto::Command command;  // one for all entries, because it keeps its memory
  for (proto::Entry& e : *in->mutable_entries()) {
    if (e.term() < last.term || e.term() > in->term() || e.term() == 0) {
      return Malformed("terms that go backward");
    }
    if (e.type() < proto::NO_OP || e.type() > proto::CONFIGURATION) return Malformed("entry type");
    if (e.type() == proto::COMMAND && !ParseCommand(e.payload(), &command)) {
      return Malformed("an entry that is no command");
    }
    if (e.type() == proto::COMMAND && command.has_change_members()) {
      return Malformed("a change of the members that is no configuration");
    }
    raft::Configuration configuration;
    if (e.type() == proto::CONFIGURATION && !ParseConfiguration(e.payload(), &configuration)) {
      return Malformed("an entry that is no configuration");
    }
    last = {e.term(), last.index + 1};
    body.entries.push_back({.id = last,
                            .type = static_cast<raft::EntryType>(e.type()),
                            .payload = raft::Payload(std::move(*e.mutable_payload()))});
  }
  raft::Message out;
  out.term = in->term();
  out.body = std::move(body);
  return out;
}

absl::StatusOr<raft::Message> Decode(const proto::AppendEntriesResponse& in) {
  if (!Plausible({in.term(), in.match_index(), in.rejected_prev_index(), in.rejected_prev_term(),
                  in.hint_index(), in.hint_term(), in.round(), in.conflict_index(),
                  in.conflict_term()})) {
    return Malformed("append answer numbers");
  }
  if (in.success() && in.term() == 0) return Malformed("entries appended in term 0");
  if (!in.success() && (!IsEntryId(in.rejected_prev_term(), in.rejected_prev_index()) ||
                        !IsEntryId(in.hint_term(), in.hint_index()))) {
    return Malformed("rejected entry or hint");
  }
  if (!IsEntryId(in.conflict_term(), in.conflict_index()) ||
      (in.success() && in.conflict_index() != 0)) {
    return Malformed("contradicting entry");
  }
  raft::Message out;
  out.term = in.term();
  out.body =
      raft::AppendEntriesReply{.success = in.success(),
                               .match = in.match_index(),
                               .rejected_prev = {in.rejected_prev_term(), in.rejected_prev_index()},
                               .hint = {in.hint_term(), in.hint_index()},
                               .round = in.round(),
                               .conflict = {in.conflict_term(), in.conflict_index()},
                               .conflict_chain = in.conflict_chain_hash(),
                               .out_of_space = in.out_of_space(),
                               .repairs = in.repairs()};
  return out;
}

absl::StatusOr<raft::Message> Decode(const proto::ForwardRequest::ReadIndex& in) {
  if (!Plausible({in.term()})) return Malformed("read-index numbers");  // the id is a random number
  if (in.term() == 0) return Malformed("a read index asked for in term 0");
  raft::Message out;
  out.term = in.term();
  out.body = raft::ReadIndexRequest{.id = in.id()};
  return out;
}

absl::StatusOr<raft::Message> Decode(const proto::ForwardResponse::ReadIndex& in) {
  if (!Plausible({in.term(), in.index(), in.acknowledged()})) {
    return Malformed("read-index answer numbers");
  }
  if (in.term() == 0) return Malformed("a read index of term 0");
  raft::Message out;
  out.term = in.term();
  out.body =
      raft::ReadIndexReply{.id = in.id(), .index = in.index(), .acknowledged = in.acknowledged()};
  return out;
}

absl::StatusOr<ForwardedProposal> Decode(raft::MemberId origin,
                                         proto::ForwardRequest::Propose* in) {
  if (!Plausible({in->number(), in->term()})) return Malformed("number or term of a proposal");
  proto::Command command;
  if (!ParseCommand(in->command(), &command)) return Malformed("a proposal that is no command");
  if (command.origin().member_id() != origin) return Malformed("a proposal of another origin");
  const size_t size = command.ByteSizeLong();
  command.DiscardUnknownFields();
  if (command.ByteSizeLong() != size) return Malformed("a command with unknown fields");
  const ClusterVersion needs = Needs(command);
  if (needs > kNewestVersion) return Malformed("an unknown command");
  if (!MayBeForwarded(command)) return Malformed("a command that no client proposes");
  const proto::ChangeMembers& change = command.change_members();
  if (change.has_publish() && change.publish().id() != origin) {
    return Malformed("the name of another member");
  }
  return ForwardedProposal{.number = in->number(),
                           .payload = raft::Payload(std::move(*in->mutable_command())),
                           .needs = needs,
                           .changes_members = command.has_change_members(),
                           .term = in->term()};
}

absl::StatusOr<ForwardedProposalReply> Decode(const proto::ForwardResponse::Declined& in) {
  if (!Plausible({in.number(), in.term()})) {
    return Malformed("number or term of a declined proposal");
  }
  const bool rejected = in.status_code() != 0;
  if (in.too_many_requests() + in.try_again() + in.not_understood() + rejected > 1) {
    return Malformed("two reasons of a declined proposal");
  }
  if (in.status_code() > kStatusCodeMax || in.status_text().size() > kStatusTextMax) {
    return Malformed("status of a declined proposal");
  }
  return ForwardedProposalReply{
      .number = in.number(),
      .too_many_requests = in.too_many_requests(),
      .boot_id = in.boot_id(),
      .try_again = in.try_again(),
      .not_understood = in.not_understood(),
      .rejected = {static_cast<absl::StatusCode>(in.status_code()), in.status_text()},
      .term = in.term()};
}

absl::StatusOr<DigestReport> DecodeDigests(const proto::ForwardRequest& in) {
  if (in.digests_size() > static_cast<int>(kDigestsKept)) return Malformed("too many digests");
  DigestReport out;
  for (const auto& d : in.digests()) {
    if (!Plausible({d.index()})) return Malformed("index of a digest");
    out.digests.push_back({d.index(), d.digest()});
  }
  return out;
}

absl::StatusOr<Diverged> Decode(const proto::ForwardResponse::Diverged& in) {
  if (!Plausible({in.index()})) return Malformed("index of a digest");
  Diverged out{.index = in.index(), .majority = {}};
  if (in.has_majority()) out.majority = in.majority();
  return out;
}

absl::StatusOr<HelloReply> Decode(const proto::HelloResponse& in) {
  // "My log is empty" helps the receiver to get the permission to vote. A peer that rejects the
  // member's data directory must not give that answer as well.
  const bool forgotten = in.forgotten_term() > 0 || in.forgotten_index() > 0;
  if (in.log_empty() && (in.store_id_rejected() || in.removed() || forgotten)) {
    return Malformed("a rejection that also says that the log is empty");
  }
  if (!Plausible({in.forgotten_term(), in.forgotten_index()})) return Malformed("hello numbers");
  return HelloReply{.log_empty = in.log_empty(),
                    .store_id_rejected = in.store_id_rejected(),
                    .removed = in.removed(),
                    .forgotten = {in.forgotten_term(), in.forgotten_index()}};
}

proto::InstallSnapshotRequest Encode(raft::Term term, const SnapshotManifest& manifest) {
  proto::InstallSnapshotRequest out;
  out.set_term(term);
  out.set_last_included_index(manifest.base.id.index);
  out.set_last_included_term(manifest.base.id.term);
  out.set_chain_hash(manifest.base.chain_hash);
  out.set_digest(manifest.digest);
  for (const SnapshotManifest::File& file : manifest.files) {
    proto::InstallSnapshotRequest::File* f = out.add_files();
    f->set_name(file.name);
    f->set_size(file.size);
  }
  return out;
}

absl::StatusOr<SnapshotOffer> Decode(const proto::InstallSnapshotRequest& in) {
  if (!Plausible({in.term(), in.last_included_index(), in.last_included_term()})) {
    return Malformed("snapshot numbers");
  }
  if (in.last_included_index() == 0 || in.last_included_term() == 0 ||
      in.last_included_term() > in.term()) {
    return Malformed("last entry of a snapshot");
  }
  SnapshotOffer out;
  out.term = in.term();
  out.manifest.base = {{in.last_included_term(), in.last_included_index()}, in.chain_hash()};
  out.manifest.digest = in.digest();
  for (const auto& file : in.files()) out.manifest.files.push_back({file.name(), file.size()});
  if (!CheckManifest(out.manifest).ok()) return Malformed("files of a snapshot");
  return out;
}

}  // namespace raftkv
