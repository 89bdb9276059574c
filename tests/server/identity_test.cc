#include "server/identity.h"

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace raftkv {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

MemberConfig MemberAt(const std::string& name, int port) {
  MemberConfig member;
  member.name = name;
  member.peer_url = absl::StrCat("http://h:", port);
  member.client_url = absl::StrCat("http://h:", port + 1000);
  member.data_dir = name;
  member.id = MemberIdOf(member.peer_url, "demo");
  return member;
}

// Members n1 to n3 at ports 1 to 3, in the log and in the file of the first start.
class IdentityTest : public testing::Test {
 protected:
  IdentityTest() {
    file_.cluster_name = "demo";
    proto::ChangeMembers change;
    std::vector<uint64_t> ids;
    for (int i = 1; i <= 3; ++i) {
      const MemberConfig member = MemberAt(absl::StrCat("n", i), i);
      file_.members.push_back(member);
      ids.push_back(member.id);
      etcdserverpb::Member& info = *change.mutable_begin()->add_members();
      info.set_id(member.id);
      info.set_name(member.name);
      info.add_peerurls(member.peer_url);
    }
    identity_.cluster_id = ClusterIdOf(ids);
    identity_.member_id = file_.members[0].id;
    members_.Complete(&change);
    members_.Apply(change);
  }

  std::vector<std::string> Differ() const {
    return Differences(file_, 0, identity_.member_id, members_);
  }
  std::string Edited() const { return WhatWasEdited(file_, 0, identity_); }

  const std::string dir_ = "/data/n1";
  Config file_;
  Identity identity_;
  Members members_;
};

TEST_F(IdentityTest, TheSameFileDiffersInNothing) { EXPECT_THAT(Differ(), IsEmpty()); }

TEST_F(IdentityTest, AnotherPort) {
  file_.members[0] = MemberAt("n1", 7);
  file_.members[1] = MemberAt("n2", 8);
  const auto moved = [&](int i, const char* from, const char* to) {
    return absl::StrCat(
        "the config file has peer_url ", to, " for member n", i + 1,
        ", and the cluster reaches it at ", from, ": if it has moved, run raftkv member update ",
        absl::Hex(MemberIdOf(from, "demo")), " --peer-urls=", to, "; else correct the file");
  };
  EXPECT_THAT(Differ(), ElementsAre(moved(0, "http://h:1", "http://h:7"),
                                    moved(1, "http://h:2", "http://h:8")));
}

TEST_F(IdentityTest, AnotherName) {
  file_.members[0].name = "first";
  EXPECT_THAT(Differ(), IsEmpty()) << "it tells the cluster its new name";
  file_.members[1].name = "second";
  EXPECT_THAT(Differ(),
              ElementsAre(AllOf(HasSubstr("calls the member at peer_url http://h:2 second"),
                                HasSubstr("the cluster knows it as n2"))));
}

TEST_F(IdentityTest, AnAddedMember) {
  file_.members.push_back(MemberAt("n4", 4));
  EXPECT_THAT(Differ(), ElementsAre("the config file has member n4 at http://h:4, which is not a "
                                    "member of the cluster: remove it from the file, or, if it is "
                                    "a new member, run raftkv member add n4 "
                                    "--peer-urls=http://h:4"));
}

// A removed member must not be added again: its directory cannot be used again.
TEST_F(IdentityTest, ARemovedMember) {
  proto::ChangeMembers change;
  change.set_remove(file_.members[1].id);
  members_.Complete(&change);
  members_.Apply(change);
  EXPECT_THAT(Differ(),
              ElementsAre("the config file has member n2 at http://h:2, which was removed "
                          "from the cluster: remove it from the file"));
}

TEST_F(IdentityTest, AMemberThatTheLogDoesNotKnowYet) {
  EXPECT_THAT(Differences(file_, 0, /*id=*/7, members_), IsEmpty());
}

// The log does not have the members yet.
TEST_F(IdentityTest, WhatWasEditedFollowsFromTheIds) {
  const Config before = file_;
  file_.members.push_back(MemberAt("n4", 4));
  file_.members.push_back(MemberAt("n5", 5));
  EXPECT_THAT(Edited(), AllOf(HasSubstr("member n4, n5 was added"), HasSubstr("member add")));
  file_ = before;
  file_.members[0] = MemberAt("n1", 7);
  EXPECT_THAT(Edited(), AllOf(HasSubstr("the peer_url of member n1 was"), HasSubstr("update")));
  file_ = before;
  file_.members[1] = MemberAt("n2", 7);
  EXPECT_THAT(Edited(), AllOf(HasSubstr("another member (n2, n3)"), HasSubstr("restore")));
}

// The log does not have the members yet. A start and a check say the same, except if a running
// member uses the log: then a check cannot know whether it has them.
TEST_F(IdentityTest, AnEditBeforeTheLogHasTheMembersIsAnError) {
  members_ = Members();
  std::vector<std::string> warnings;
  const auto check = [&](std::optional<raft::Index> last_index) {
    return CheckMembers(file_, 0, {dir_, identity_, members_, last_index}, &warnings);
  };
  file_.cluster_id = identity_.cluster_id;
  EXPECT_TRUE(check(0).ok());
  file_.members[1] = MemberAt("n2", 7);
  file_.cluster_id = 7;
  EXPECT_THAT(std::string(check(5).message()),
              AllOf(HasSubstr("another member (n2, n3)"), Not(HasSubstr("no entries"))));
  EXPECT_THAT(std::string(check(0).message()), HasSubstr("/data/n1, which has no entries"));
  EXPECT_THAT(warnings, IsEmpty());
  EXPECT_TRUE(check(std::nullopt).ok());
  EXPECT_THAT(warnings, ElementsAre(AllOf(HasSubstr("another member (n2, n3)"),
                                          HasSubstr("A start ends with this error"))));
}

// The first start after a restore: only a leader could change the members, and there is none.
TEST_F(IdentityTest, AnEditBetweenARestoreAndTheFirstStartIsAnError) {
  identity_.restored = {.token = "t", .base = {.term = 2, .index = 7}};
  std::vector<std::string> warnings;
  const auto check = [&](std::optional<raft::Index> last_index) {
    return std::string(
        CheckMembers(file_, 0, {dir_, identity_, members_, last_index}, &warnings).message());
  };
  file_.members[0].name = "first";
  EXPECT_EQ(check(7), "") << "a name may change";
  const Config before = file_;
  file_.members.push_back(MemberAt("n4", 4));
  EXPECT_THAT(check(7),
              AllOf(HasSubstr("/data/n1: was restored with other members than the config file "
                              "has (only the config file has n4 at http://h:4). If"),
                    HasSubstr("raftkv snapshot restore again"),
                    HasSubstr("start this member with the file of the restore")));
  file_ = before;
  file_.members[1] = MemberAt("n2", 8);
  EXPECT_THAT(check(7), HasSubstr("(only the config file has n2 at http://h:8; only the restore "
                                  "had n2 at http://h:2)."));
  file_.members.erase(file_.members.begin() + 1);
  EXPECT_THAT(check(7), HasSubstr("(only the restore had n2 at http://h:2)."));
  EXPECT_THAT(warnings, IsEmpty());
  file_.members[1] = MemberAt("n3", 9);
  EXPECT_EQ(check(8), "") << "it has started since";
  EXPECT_EQ(check(std::nullopt), "") << "it runs";
  EXPECT_THAT(warnings, ElementsAre(HasSubstr("member update"), HasSubstr("member update")));
}

}  // namespace
}  // namespace raftkv
