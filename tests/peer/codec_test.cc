#include "gtest/gtest.h"
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
  } else {
    out = Decode(wire);
  }
  if (out.ok()) {
    out->from = message.from;
    out->to = message.to;
  }
  return out;
}

TEST(Codec, RoundTripsEveryField) {
  const Message vote{1, 2, 7, raft::RequestVote{.last = {3, 9}, .pre_vote = true}};
  EXPECT_EQ(*RoundTrip<proto::RequestVoteRequest>(vote, std::get<raft::RequestVote>(vote.body)),
            vote);

  const Message granted{2, 1, 7, raft::RequestVoteReply{.granted = true, .pre_vote = true}};
  EXPECT_EQ(*RoundTrip<proto::RequestVoteResponse>(granted,
                                                   std::get<raft::RequestVoteReply>(granted.body)),
            granted);

  raft::AppendEntries append{.prev = {2, 5}, .entries = {}, .commit = 4, .round = 11};
  append.entries.push_back({{3, 6}, raft::EntryType::kNoOp, {}});
  append.entries.push_back(
      {{7, 7}, raft::EntryType::kCommand, raft::Payload(std::string("a\0b", 3))});
  const Message appended{1, 2, 7, append};
  EXPECT_EQ(*RoundTrip<proto::AppendEntriesRequest>(appended, append), appended);

  const raft::AppendEntriesReply reply{
      .success = false, .match = 0, .rejected_prev = {2, 5}, .hint = {1, 3}, .round = 11};
  const Message replied{2, 1, 7, reply};
  EXPECT_EQ(*RoundTrip<proto::AppendEntriesResponse>(replied, reply), replied);
}

TEST(Codec, RejectsWhatNoMemberWouldSay) {
  auto append = [](auto change) {
    proto::AppendEntriesRequest in;
    in.set_term(3);
    in.set_prev_log_index(5);
    in.set_prev_log_term(2);
    in.add_entries()->set_term(3);
    change(&in);
    return Decode(&in).status().code();
  };
  constexpr auto kOk = absl::StatusCode::kOk;
  constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
  EXPECT_EQ(append([](auto*) {}), kOk);
  EXPECT_EQ(append([](auto* in) { in->set_term(0); }), kInvalid);
  EXPECT_EQ(append([](auto* in) { in->set_prev_log_term(0); }), kInvalid);
  EXPECT_EQ(append([](auto* in) { in->set_prev_log_index(0); }), kInvalid);
  EXPECT_EQ(append([](auto* in) { in->set_prev_log_term(4); }), kInvalid) << "after its own term";
  EXPECT_EQ(append([](auto* in) { in->mutable_entries(0)->set_term(1); }), kInvalid) << "backward";
  EXPECT_EQ(append([](auto* in) { in->mutable_entries(0)->set_term(4); }), kInvalid);
  EXPECT_EQ(
      append([](auto* in) { in->mutable_entries(0)->set_type(static_cast<proto::EntryType>(9)); }),
      kInvalid);
  EXPECT_EQ(append([](auto* in) { in->set_leader_commit(UINT64_MAX); }), kInvalid);

  proto::RequestVoteRequest vote;
  EXPECT_EQ(Decode(vote).status().code(), kInvalid) << "term 0";
  vote.set_term(1);
  EXPECT_EQ(Decode(vote).status().code(), kOk);
  vote.set_last_log_term(1);
  EXPECT_EQ(Decode(vote).status().code(), kInvalid) << "a term without an index";

  proto::AppendEntriesResponse refused;
  refused.set_term(1);
  refused.set_rejected_prev_index(5);
  EXPECT_EQ(Decode(refused).status().code(), kInvalid);
}

}  // namespace
}  // namespace raftkv
