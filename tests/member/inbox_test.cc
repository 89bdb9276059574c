#include "server/member/inbox.h"

#include <optional>
#include <string>

#include "gtest/gtest.h"

namespace raftkv {
namespace {

ProposeRequest Put(size_t bytes, std::optional<Fate>* fate = nullptr) {
  return {std::string(bytes, 'x'), [fate](Fate f, ApplyResult) {
            if (fate != nullptr) *fate = f;
          }};
}

PeerMessage Append(size_t bytes) {
  raft::AppendEntries append;
  append.entries.push_back(
      {{1, 1}, raft::EntryType::kCommand, raft::Payload(std::string(bytes, 'x'))});
  return {{.id = 1}, 2, raft::Message{1, 2, 1, std::move(append)}};
}

TEST(Inbox, AMebibyteIsEnoughForATurn) {
  Inbox inbox;
  inbox.Post(Put(Inbox::kTurnBytes / 2));
  EXPECT_FALSE(inbox.enough());
  inbox.Post(Append(Inbox::kTurnBytes / 2));
  EXPECT_TRUE(inbox.enough());
  EXPECT_EQ(inbox.Take().size(), 2);
  EXPECT_TRUE(inbox.empty());
  EXPECT_FALSE(inbox.enough());
}

TEST(Inbox, ManySmallItemsAreEnoughForATurn) {
  Inbox inbox;
  for (size_t i = 0; i < Inbox::kTurnItems; ++i) {
    EXPECT_FALSE(inbox.enough());
    inbox.Post(Put(1));
  }
  EXPECT_TRUE(inbox.enough());
}

TEST(Inbox, BeyondItsBytesClientsAreRejectedAndPeersDropped) {
  Inbox inbox;
  std::optional<Fate> put, read;
  inbox.Post(Put(Inbox::kBytesMax - 1000));
  inbox.Post(Put(1001, &put));
  EXPECT_EQ(put, Fate::kTooManyRequests);
  inbox.Post(Append(1001));
  inbox.Post(
      PeerMessage{{.id = 1}, 2, ForwardedProposal{1, raft::Payload(std::string(1001, 'x'))}});
  inbox.Post(ReadRequest{[&read](Fate fate) { read = fate; }});
  EXPECT_EQ(read, std::nullopt) << "it fits";
  EXPECT_EQ(inbox.Take().size(), 2);
}

TEST(Inbox, BeyondItsItemsOnlyReportsOfTheTransportPass) {
  Inbox inbox;
  for (size_t i = 0; i < Inbox::kItemsMax; ++i) inbox.Post(Put(1));
  std::optional<Fate> read;
  inbox.Post(ReadRequest{[&read](Fate fate) { read = fate; }});
  EXPECT_EQ(read, Fate::kTooManyRequests);
  inbox.Post(PeerMessage{{.id = 1}, 2, Hello{}});
  inbox.Post(ForwardLost{1, {7}});
  inbox.Post(ForwardQueueFull{2, 8});
  inbox.Post(AppendLost{1});
  EXPECT_EQ(inbox.Take().size(), Inbox::kItemsMax + 3);
}

TEST(Inbox, OneItemAlwaysPasses) {
  Inbox inbox;
  inbox.Post(Append(Inbox::kBytesMax + 1));
  EXPECT_EQ(inbox.Take().size(), 1);
}

}  // namespace
}  // namespace raftkv
