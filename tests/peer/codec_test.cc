#include "gtest/gtest.h"
#include "proto/command.pb.h"
#include "server/peer/raft_codec.h"

namespace raftkv {
namespace {

using raft::Message;

// Encodes, sends over the wire, decodes.
template <typename Wire, typename Body>
absl::StatusOr<Message> RoundTrip(const Message& message, const Body& body) {
  Wire wire;
  EXPECT_TRUE(wire.ParseFromString(Encode(message, body).SerializeAsString()));
  absl::StatusOr<Message> out;
  if constexpr (std::is_same_v<Wire, proto::AppendEntriesRequest>) {
    out = Decode(&wire);
  } else if constexpr (requires { wire.read_index(); }) {
    out = Decode(wire.read_index());
  } else {
    out = Decode(wire);
  }
  if (out.ok()) {
    out->from = message.from;
    out->to = message.to;
  }
  return out;
}

// An encoded put of a client of `member`.
std::string PutOf(raft::MemberId member) {
  proto::Command command;
  command.mutable_origin()->set_member_id(member);
  command.mutable_put()->set_key("k");
  return command.SerializeAsString();
}

// An encoded configuration: voters 1 and 2, learner 3.
proto::Command ConfigurationCommand() {
  proto::Command command;
  command.mutable_origin()->set_member_id(1);
  proto::ChangeMembers& change = *command.mutable_change_members();
  change.mutable_add()->set_id(3);
  change.add_voters(1);
  change.add_voters(2);
  change.add_learners(3);
  return command;
}

TEST(Codec, RoundTripsEveryFieldOfRaft) {
  const Message vote{1, 2, 7, raft::RequestVote{.last = {3, 9}, .pre_vote = true}};
  EXPECT_EQ(*RoundTrip<proto::RequestVoteRequest>(vote, std::get<raft::RequestVote>(vote.body)),
            vote);

  const Message campaign{1, 2, 7, raft::RequestVote{.last = {3, 9}, .leadership_transfer = true}};
  EXPECT_EQ(
      *RoundTrip<proto::RequestVoteRequest>(campaign, std::get<raft::RequestVote>(campaign.body)),
      campaign);
  const Message timeout_now{1, 2, 7, raft::TimeoutNow{}};
  EXPECT_EQ(*RoundTrip<proto::TimeoutNowRequest>(timeout_now, raft::TimeoutNow{}), timeout_now);

  const Message granted{2, 1, 7, raft::RequestVoteReply{.granted = true, .pre_vote = true}};
  EXPECT_EQ(*RoundTrip<proto::RequestVoteResponse>(granted,
                                                   std::get<raft::RequestVoteReply>(granted.body)),
            granted);

  raft::AppendEntries append{.prev = {2, 5},
                             .entries = {},
                             .commit = 4,
                             .round = 11,
                             .prev_chain = UINT64_MAX,
                             .acknowledged = 3};
  append.entries.push_back({{3, 6}, raft::EntryType::kNoOp, {}});
  append.entries.push_back({{7, 7}, raft::EntryType::kCommand, raft::Payload(PutOf(1))});
  append.entries.push_back({{7, 8},
                            raft::EntryType::kConfiguration,
                            raft::Payload(ConfigurationCommand().SerializeAsString())});
  const Message appended{1, 2, 7, append};
  EXPECT_EQ(*RoundTrip<proto::AppendEntriesRequest>(appended, append), appended);

  const raft::AppendEntriesReply reply{
      .rejected_prev = {2, 5}, .hint = {1, 3}, .round = 11, .out_of_space = true, .repairs = true};
  const Message replied{2, 1, 7, reply};
  EXPECT_EQ(*RoundTrip<proto::AppendEntriesResponse>(replied, reply), replied);
  const raft::AppendEntriesReply conflict{
      .rejected_prev = {2, 5}, .hint = {2, 5}, .conflict = {2, 5}, .conflict_chain = UINT64_MAX};
  const Message contradicted{2, 1, 7, conflict};
  EXPECT_EQ(*RoundTrip<proto::AppendEntriesResponse>(contradicted, conflict), contradicted);

  const raft::ReadIndexRequest ask{.id = 9};
  const Message asked{1, 2, 7, ask};
  EXPECT_EQ(*RoundTrip<proto::ForwardRequest>(asked, ask), asked);
  const raft::ReadIndexReply index{.id = 9, .index = 12};
  const Message answered{2, 1, 7, index};
  EXPECT_EQ(*RoundTrip<proto::ForwardResponse>(answered, index), answered);
}

TEST(Codec, RoundTripsWhatIsNoPartOfRaft) {
  proto::ForwardRequest::Propose propose;
  const std::string put = PutOf(1);
  Encode(ForwardedProposal{.number = 5, .payload = raft::Payload(put), .term = 3}, &propose);
  const absl::StatusOr<ForwardedProposal> proposal = Decode(/*origin=*/1, &propose);
  ASSERT_TRUE(proposal.ok()) << proposal.status();
  EXPECT_EQ(proposal->number, 5);
  EXPECT_EQ(proposal->payload.view(), put);
  EXPECT_EQ(proposal->term, 3);

  const auto try_again =
      Decode(Encode(ForwardedProposalReply{.number = 5, .boot_id = 8, .try_again = true, .term = 3})
                 .declined());
  ASSERT_TRUE(try_again.ok());
  EXPECT_EQ(try_again->term, 3);
  EXPECT_EQ(try_again->boot_id, 8);
  EXPECT_TRUE(try_again->try_again);
  const ForwardedProposalReply declined{.number = 5, .not_understood = true};
  const auto declined_again = Decode(Encode(declined).declined());
  ASSERT_TRUE(declined_again.ok());
  EXPECT_EQ(declined_again->number, 5);
  EXPECT_TRUE(declined_again->not_understood);
  EXPECT_FALSE(declined_again->too_many_requests);
  EXPECT_TRUE(declined_again->rejected.ok());
  const absl::Status why = absl::NotFoundError("member not found");
  const auto rejected =
      Decode(Encode(ForwardedProposalReply{.number = 5, .rejected = why}).declined());
  ASSERT_TRUE(rejected.ok());
  EXPECT_EQ(rejected->rejected, why);

  for (const HelloReply& hello :
       {HelloReply{.log_empty = true}, HelloReply{.store_id_rejected = true},
        HelloReply{.removed = true}, HelloReply{.forgotten = {3, 9}}, HelloReply{}}) {
    const auto again = Decode(Encode(hello));
    ASSERT_TRUE(again.ok());
    EXPECT_EQ(again->log_empty, hello.log_empty);
    EXPECT_EQ(again->store_id_rejected, hello.store_id_rejected);
    EXPECT_EQ(again->removed, hello.removed);
    EXPECT_EQ(again->forgotten, hello.forgotten);
  }

  const auto digests = DecodeDigests(Encode(DigestReport{{{1000, 7}, {2000, UINT64_MAX}}}));
  ASSERT_TRUE(digests.ok());
  EXPECT_EQ(digests->digests, (std::deque<StateDigest>{{1000, 7}, {2000, UINT64_MAX}}));
  for (const std::optional<uint64_t> majority : {std::optional<uint64_t>(0), {}}) {
    const auto diverged = Decode(Encode(Diverged{2000, majority}).diverged());
    ASSERT_TRUE(diverged.ok());
    EXPECT_EQ(diverged->index, 2000u);
    EXPECT_EQ(diverged->majority, majority);
  }
}

constexpr auto kOk = absl::StatusCode::kOk;
constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

// The result of Decode for `valid` after `change`.
template <typename Wire, typename Change>
absl::StatusCode After(Wire valid, Change change) {
  change(&valid);
  if constexpr (std::is_same_v<Wire, proto::AppendEntriesRequest>) {
    return Decode(&valid).status().code();
  } else if constexpr (std::is_same_v<Wire, proto::ForwardRequest::Propose>) {
    return Decode(/*origin=*/1, &valid).status().code();
  } else {
    return Decode(valid).status().code();
  }
}

// An encoded field of a message.
std::string Field(int tag, const std::string& bytes) {
  std::string field(1, static_cast<char>(tag));
  size_t left = bytes.size();
  for (; left > 0x7f; left >>= 7) field.push_back(static_cast<char>((left & 0x7f) | 0x80));
  return field + static_cast<char>(left) + bytes;
}

TEST(Codec, RejectsImplausibleAppends) {
  proto::AppendEntriesRequest valid;
  valid.set_term(3);
  valid.set_prev_log_index(5);
  valid.set_prev_log_term(2);
  valid.add_entries()->set_term(3);
  const auto after = [&](auto change) { return After(valid, change); };
  EXPECT_EQ(after([](auto*) {}), kOk);
  EXPECT_EQ(after([](auto* in) { in->set_term(0); }), kInvalid);
  EXPECT_EQ(after([](auto* in) { in->set_term(kPlausibleMax); }), kOk);
  EXPECT_EQ(after([](auto* in) { in->set_term(kPlausibleMax + 1); }), kInvalid);
  EXPECT_EQ(after([](auto* in) { in->set_prev_log_term(0); }), kInvalid);
  EXPECT_EQ(after([](auto* in) { in->set_prev_log_index(0); }), kInvalid);
  EXPECT_EQ(after([](auto* in) { in->set_prev_log_index(UINT64_MAX); }), kInvalid);
  EXPECT_EQ(after([](auto* in) { in->set_prev_log_term(4); }), kInvalid) << "after its own term";
  EXPECT_EQ(after([](auto* in) { in->mutable_entries(0)->set_term(1); }), kInvalid) << "backward";
  EXPECT_EQ(after([](auto* in) { in->mutable_entries(0)->set_term(4); }), kInvalid);
  EXPECT_EQ(
      after([](auto* in) { in->mutable_entries(0)->set_type(static_cast<proto::EntryType>(9)); }),
      kInvalid);
  EXPECT_EQ(after([](auto* in) { in->set_leader_commit(UINT64_MAX); }), kInvalid);
  EXPECT_EQ(after([](auto* in) { in->set_round(UINT64_MAX); }), kInvalid);
}

// An entry that is not a command must not reach the log, because it could never be applied.
TEST(Codec, RejectsEntriesThatAreNoCommands) {
  proto::AppendEntriesRequest valid;
  valid.set_term(3);
  for (int i = 0; i < 2; ++i) {
    valid.add_entries()->set_term(3);
    valid.mutable_entries(i)->set_type(proto::COMMAND);
    valid.mutable_entries(i)->set_payload(PutOf(1));
  }
  const auto last_with = [&](const std::string& payload) {
    return After(valid, [&](auto* in) { in->mutable_entries(1)->set_payload(payload); });
  };
  const std::string put = PutOf(1);
  EXPECT_EQ(last_with(put), kOk);
  EXPECT_EQ(last_with("no command"), kInvalid);
  EXPECT_EQ(last_with(put.substr(0, put.size() - 1)), kInvalid) << "cut off";
  std::string nested;
  for (int i = 0; i < 1000; ++i) nested = Field(0x12, Field(0x22, nested));  // success: request_txn
  EXPECT_EQ(last_with(Field(0x22, nested)), kInvalid) << "deeper than any command";
  // A command of a newer version is saved. The member stops with a message when it applies it.
  EXPECT_EQ(last_with(std::string("\xfa\x07\x00", 3)), kOk) << "the empty field 127";
  EXPECT_EQ(last_with(""), kOk) << "no operation";
  EXPECT_EQ(After(valid, [](auto* in) { in->mutable_entries(1)->set_type(proto::NO_OP); }), kOk);
}

TEST(Codec, RejectsEntriesThatAreNoConfigurations) {
  proto::AppendEntriesRequest valid;
  valid.set_term(3);
  valid.add_entries()->set_term(3);
  valid.mutable_entries(0)->set_type(proto::CONFIGURATION);
  const auto with = [&](auto change) {
    proto::Command command = ConfigurationCommand();
    change(command.mutable_change_members());
    return After(
        valid, [&](auto* in) { in->mutable_entries(0)->set_payload(command.SerializeAsString()); });
  };
  EXPECT_EQ(with([](auto*) {}), kOk);
  EXPECT_EQ(with([](auto* c) { c->clear_voters(); }), kInvalid) << "nobody could lead";
  EXPECT_EQ(with([](auto* c) { c->add_voters(2); }), kInvalid) << "twice";
  EXPECT_EQ(with([](auto* c) { c->set_voters(0, 0); }), kInvalid) << "no id";
  EXPECT_EQ(with([](auto* c) { c->set_voters(0, 9); }), kInvalid) << "not sorted";
  EXPECT_EQ(with([](auto* c) { c->set_learners(0, 2); }), kInvalid) << "voter and learner";
  const auto as = [&](proto::EntryType type, const std::string& payload) {
    return After(valid, [&](auto* in) {
      in->mutable_entries(0)->set_type(type);
      in->mutable_entries(0)->set_payload(payload);
    });
  };
  EXPECT_EQ(as(proto::CONFIGURATION, PutOf(1)), kInvalid);
  EXPECT_EQ(as(proto::CONFIGURATION, "no command"), kInvalid);
  EXPECT_EQ(as(proto::COMMAND, ConfigurationCommand().SerializeAsString()), kInvalid)
      << "the core would not learn it";
}

TEST(Codec, RejectsMessagesOfVeryManyItems) {
  proto::AppendEntriesRequest append;
  append.set_term(3);
  for (int i = 0; i < kItemsOfMessageMax; ++i) append.add_entries()->set_term(3);
  EXPECT_EQ(After(append, [](auto*) {}), kOk);
  EXPECT_EQ(After(append, [](auto* in) { in->add_entries()->set_term(3); }), kInvalid);
}

TEST(Codec, RejectsImplausibleAnswersToAppends) {
  proto::AppendEntriesResponse valid;
  valid.set_term(1);
  const auto after = [&](auto change) { return After(valid, change); };
  EXPECT_EQ(after([](auto*) {}), kOk);
  EXPECT_EQ(after([](auto* in) { in->set_rejected_prev_index(5); }), kInvalid) << "without a term";
  EXPECT_EQ(after([](auto* in) { in->set_hint_term(5); }), kInvalid) << "without an index";
  EXPECT_EQ(after([](auto* in) { in->set_success(true); }), kOk);
  EXPECT_EQ(after([](auto* in) {
              in->set_success(true);
              in->set_term(0);
            }),
            kInvalid);
  EXPECT_EQ(after([](auto* in) { in->set_term(UINT64_MAX); }), kInvalid);
  EXPECT_EQ(after([](auto* in) { in->set_match_index(UINT64_MAX); }), kInvalid);
  EXPECT_EQ(after([](auto* in) { in->set_round(UINT64_MAX); }), kInvalid);
}

TEST(Codec, RejectsImplausibleVotes) {
  proto::RequestVoteRequest valid;
  valid.set_term(1);
  const auto after = [&](auto change) { return After(valid, change); };
  EXPECT_EQ(after([](auto*) {}), kOk);
  EXPECT_EQ(after([](auto* in) { in->set_term(0); }), kInvalid);
  EXPECT_EQ(after([](auto* in) { in->set_term(UINT64_MAX); }), kInvalid);
  EXPECT_EQ(after([](auto* in) { in->set_last_log_term(1); }), kInvalid) << "without an index";
  EXPECT_EQ(after([](auto* in) { in->set_last_log_index(1); }), kInvalid) << "without a term";
  EXPECT_EQ(after([](auto* in) {
              in->set_last_log_term(1);
              in->set_last_log_index(UINT64_MAX);
            }),
            kInvalid);

  EXPECT_EQ(after([](auto* in) { in->set_leadership_transfer(true); }), kOk);
  EXPECT_EQ(after([](auto* in) {
              in->set_leadership_transfer(true);
              in->set_pre_vote(true);
            }),
            kInvalid);

  proto::TimeoutNowRequest timeout_now;
  timeout_now.set_term(1);
  EXPECT_EQ(After(timeout_now, [](auto*) {}), kOk);
  EXPECT_EQ(After(timeout_now, [](auto* in) { in->set_term(0); }), kInvalid);
  EXPECT_EQ(After(timeout_now, [](auto* in) { in->set_term(UINT64_MAX); }), kInvalid);

  const proto::RequestVoteResponse denied;
  EXPECT_EQ(After(denied, [](auto*) {}), kOk) << "a new member has no term";
  EXPECT_EQ(After(denied, [](auto* in) { in->set_term(UINT64_MAX); }), kInvalid);
  EXPECT_EQ(After(denied, [](auto* in) { in->set_vote_granted(true); }), kInvalid) << "term 0";
}

TEST(Codec, RejectsImplausibleReadIndexes) {
  proto::ForwardRequest::ReadIndex ask;
  ask.set_term(1);
  ask.set_id(1);
  EXPECT_EQ(After(ask, [](auto*) {}), kOk);
  EXPECT_EQ(After(ask, [](auto* in) { in->set_term(0); }), kInvalid);
  EXPECT_EQ(After(ask, [](auto* in) { in->set_term(kPlausibleMax); }), kOk);
  EXPECT_EQ(After(ask, [](auto* in) { in->set_term(kPlausibleMax + 1); }), kInvalid);
  EXPECT_EQ(After(ask, [](auto* in) { in->set_term(UINT64_MAX); }), kInvalid);
  EXPECT_EQ(After(ask, [](auto* in) { in->set_id(UINT64_MAX); }), kOk) << "a random number";

  proto::ForwardResponse::ReadIndex answer;
  answer.set_term(1);
  EXPECT_EQ(After(answer, [](auto*) {}), kOk) << "index 0: declined";
  EXPECT_EQ(After(answer, [](auto* in) { in->set_term(0); }), kInvalid);
  EXPECT_EQ(After(answer, [](auto* in) { in->set_term(UINT64_MAX); }), kInvalid);
  EXPECT_EQ(After(answer, [](auto* in) { in->set_index(UINT64_MAX); }), kInvalid);
  EXPECT_EQ(After(answer, [](auto* in) { in->set_id(UINT64_MAX); }), kOk) << "a random number";
}

TEST(Codec, RejectsProposalsThatNotEveryMemberCouldApply) {
  proto::ForwardRequest::Propose valid;
  valid.set_number(1);
  valid.set_command(PutOf(1));
  const auto after = [&](auto change) { return After(valid, change); };
  EXPECT_EQ(after([](auto*) {}), kOk);
  EXPECT_EQ(after([](auto* in) { in->set_number(UINT64_MAX); }), kInvalid);
  EXPECT_EQ(after([](auto* in) { in->set_term(UINT64_MAX); }), kInvalid);
  EXPECT_EQ(after([](auto* in) { in->set_command("no command"); }), kInvalid);
  EXPECT_EQ(after([](auto* in) { in->set_command(PutOf(2)); }), kInvalid) << "another origin";
  proto::Command command;
  command.mutable_origin()->set_member_id(1);
  EXPECT_EQ(after([&](auto* in) { in->set_command(command.SerializeAsString()); }), kInvalid);
  command.mutable_record_store_id();
  EXPECT_EQ(after([&](auto* in) { in->set_command(command.SerializeAsString()); }), kInvalid);
  command.mutable_expire_leases();
  EXPECT_EQ(after([&](auto* in) { in->set_command(command.SerializeAsString()); }), kInvalid)
      << "only a leader proposes it";
  command.mutable_bump_revision()->set_by(1);
  EXPECT_EQ(after([&](auto* in) { in->set_command(command.SerializeAsString()); }), kInvalid)
      << "nobody proposes it";
  command.mutable_renew_leases();
  EXPECT_EQ(after([&](auto* in) { in->set_command(command.SerializeAsString()); }), kOk);
  command.mutable_change_alarm();
  EXPECT_EQ(after([&](auto* in) { in->set_command(command.SerializeAsString()); }), kOk);

  const auto change = [&](auto set) {
    proto::Command changed;
    changed.mutable_origin()->set_member_id(1);
    set(changed.mutable_change_members());
    return after([&](auto* in) { in->set_command(changed.SerializeAsString()); });
  };
  EXPECT_EQ(change([](auto* c) { c->set_remove(5); }), kOk);
  EXPECT_EQ(change([](auto* c) { c->mutable_publish()->set_id(1); }), kOk);
  EXPECT_EQ(change([](auto* c) { c->mutable_publish()->set_id(2); }), kInvalid) << "another member";
  EXPECT_EQ(change([](auto* c) { c->mutable_begin(); }), kInvalid);
  EXPECT_EQ(change([](auto* c) { c->set_count(5); }), kInvalid);
  EXPECT_EQ(change([](auto* c) {
              c->set_remove(5);
              c->add_voters(1);
            }),
            kInvalid)
      << "the leader computes the configuration";

  proto::ForwardRequest::Propose newer = valid;
  FieldVersions() = {{"etcdserverpb.PutRequest.key", 2}};
  EXPECT_EQ(Decode(/*origin=*/1, &newer)->needs, 2) << "the leader decides whether it is in force";
  FieldVersions().clear();
}

TEST(Codec, RejectsMalformedDeclines) {
  const proto::ForwardResponse::Declined declined;
  EXPECT_EQ(After(declined, [](auto*) {}), kOk);
  EXPECT_EQ(After(declined, [](auto* in) { in->set_number(UINT64_MAX); }), kInvalid);
  EXPECT_EQ(After(declined,
                  [](auto* in) {
                    in->set_too_many_requests(true);
                    in->set_not_understood(true);
                  }),
            kInvalid);
  EXPECT_EQ(After(declined,
                  [](auto* in) {
                    in->set_too_many_requests(true);
                    in->set_try_again(true);
                  }),
            kInvalid);
  EXPECT_EQ(After(declined, [](auto* in) { in->set_status_code(5); }), kOk);
  EXPECT_EQ(After(declined, [](auto* in) { in->set_status_code(17); }), kInvalid);
  EXPECT_EQ(After(declined,
                  [](auto* in) {
                    in->set_status_code(5);
                    in->set_status_text(std::string(1000, 'x'));
                  }),
            kInvalid);
}

TEST(Codec, RejectsImplausibleSnapshots) {
  SnapshotManifest manifest;
  manifest.base = {{3, 9}, 12345};
  manifest.digest = 7;
  manifest.files = {{"CURRENT", 16}, {"000012.sst", 1000}};
  const proto::InstallSnapshotRequest offer = Encode(/*term=*/4, manifest);
  const absl::StatusOr<SnapshotOffer> decoded = Decode(offer);
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  EXPECT_EQ(decoded->term, 4u);
  EXPECT_EQ(decoded->manifest.base, manifest.base);
  EXPECT_EQ(decoded->manifest.digest, 7u);
  EXPECT_EQ(decoded->manifest.bytes(), 1016u);
  const auto after = [&](auto change) {
    proto::InstallSnapshotRequest in = offer;
    change(&in);
    return Decode(in).status().code();
  };
  EXPECT_EQ(after([](auto* in) { in->set_term(2); }), kInvalid) << "older than the last entry";
  EXPECT_EQ(after([](auto* in) { in->set_term(UINT64_MAX); }), kInvalid);
  EXPECT_EQ(after([](auto* in) { in->set_last_included_index(0); }), kInvalid);
  EXPECT_EQ(after([](auto* in) { in->set_last_included_index(UINT64_MAX); }), kInvalid);
  EXPECT_EQ(after([](auto* in) { in->set_last_included_term(0); }), kInvalid);
  EXPECT_EQ(after([](auto* in) { in->mutable_files(1)->set_name("../x.sst"); }), kInvalid);
  EXPECT_EQ(after([](auto* in) { in->mutable_files(1)->set_name("CURRENT"); }), kInvalid);
  EXPECT_EQ(after([](auto* in) { in->mutable_files(1)->set_size(UINT64_MAX); }), kInvalid);
  EXPECT_EQ(after([](auto* in) { in->clear_files(); }), kInvalid);
}

TEST(Codec, RejectsImplausibleDigests) {
  proto::ForwardRequest report;
  for (size_t i = 0; i <= kDigestsKept; ++i) report.add_digests();
  EXPECT_EQ(DecodeDigests(report).status().code(), kInvalid);
  report.clear_digests();
  report.add_digests()->set_index(UINT64_MAX);
  EXPECT_EQ(DecodeDigests(report).status().code(), kInvalid);
  proto::ForwardResponse::Diverged diverged;
  EXPECT_EQ(After(diverged, [](auto* in) { in->set_index(UINT64_MAX); }), kInvalid);
}

TEST(Codec, RejectsImplausibleConflicts) {
  const proto::AppendEntriesResponse none;
  EXPECT_EQ(After(none, [](auto* in) { in->set_conflict_index(7); }), kInvalid) << "without a term";
  const auto set = [](proto::AppendEntriesResponse* in) {
    in->set_conflict_index(7);
    in->set_conflict_term(1);
  };
  EXPECT_EQ(After(none, [&](auto* in) { set(in); }), kOk);
  EXPECT_EQ(After(none,
                  [&](auto* in) {
                    set(in);
                    in->set_term(1);
                    in->set_success(true);
                  }),
            kInvalid);
  EXPECT_EQ(After(none, [](auto* in) { in->set_conflict_index(UINT64_MAX); }), kInvalid);
}

TEST(Codec, RejectsAHelloAnswerThatContradictsItself) {
  proto::HelloResponse answer;
  answer.set_log_empty(true);
  EXPECT_EQ(After(answer, [](auto*) {}), kOk);
  EXPECT_EQ(After(answer, [](auto* in) { in->set_store_id_rejected(true); }), kInvalid);
  EXPECT_EQ(After(answer, [](auto* in) { in->set_removed(true); }), kInvalid);
  EXPECT_EQ(After(answer, [](auto* in) { in->set_forgotten_term(1); }), kInvalid);
  EXPECT_EQ(After(answer, [](auto* in) { in->set_forgotten_index(1); }), kInvalid);
}

}  // namespace
}  // namespace raftkv
