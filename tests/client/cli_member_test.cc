// The verbs `member` and `move-leader`.
#include <gmock/gmock.h>

#include "tests/client/cli_fixture.h"

namespace raftkv::client {
namespace {

TEST_F(Cli, MemberListInEveryFormat) {
  auto* member = server_.members_response.add_members();
  member->set_id(0x1b9d81eff8815fdc);
  member->set_name("n1");
  member->add_peerurls("http://127.0.0.1:2380");
  member->add_clienturls("http://127.0.0.1:2379");
  server_.members_response.add_members()->set_id(0xff);
  EXPECT_EQ(Out({"member", "list"}),
            "1b9d81eff8815fdc, started, n1, http://127.0.0.1:2380, http://127.0.0.1:2379, false\n"
            "ff, unstarted, , , , false\n");
  EXPECT_EQ(Out({"member", "list", "-w", "json"}),
            R"({"header":{"cluster_id":18446744073709551615,"member_id":14877564116056853345,)"
            R"("raft_term":2},"members":[{"ID":1989889478034022364,"name":"n1",)"
            R"("peerURLs":["http://127.0.0.1:2380"],"clientURLs":["http://127.0.0.1:2379"]},)"
            R"({"ID":255}]})"
            "\n");
  EXPECT_EQ(Out({"-w", "table", "member", "list"}),
            "+------------------+-----------+------+-----------------------+-----------------------"
            "+------------+\n"
            "|        ID        |  STATUS   | NAME |      PEER ADDRS       |     CLIENT ADDRS      "
            "| IS LEARNER |\n"
            "+------------------+-----------+------+-----------------------+-----------------------"
            "+------------+\n"
            "| 1b9d81eff8815fdc |   started |   n1 | http://127.0.0.1:2380 | http://127.0.0.1:2379 "
            "|      false |\n"
            "|               ff | unstarted |      |                       |                       "
            "|      false |\n"
            "+------------------+-----------+------+-----------------------+-----------------------"
            "+------------+\n");
}

// If the leader is known, the table has a column more than etcdctl's.
TEST_F(Cli, MemberListMarksTheLeaderInTheTable) {
  auto* member = server_.members_response.add_members();
  member->set_id(0xce77b9bd24aacb61);
  member->set_name("n1");
  server_.members_response.add_members()->set_id(0xff);
  server_.status_response.set_leader(0xff);
  EXPECT_EQ(Out({"-w", "table", "member", "list"}),
            "+------------------+-----------+------+------------+--------------+------------+------"
            "-----+\n"
            "|        ID        |  STATUS   | NAME | PEER ADDRS | CLIENT ADDRS | IS LEARNER | IS "
            "LEADER |\n"
            "+------------------+-----------+------+------------+--------------+------------+------"
            "-----+\n"
            "| ce77b9bd24aacb61 |   started |   n1 |            |              |      false |     "
            "false |\n"
            "|               ff | unstarted |      |            |              |      false |      "
            "true |\n"
            "+------------------+-----------+------+------------+--------------+------------+------"
            "-----+\n");
  EXPECT_EQ(Out({"member", "list"}),
            "ce77b9bd24aacb61, started, n1, , , false\nff, unstarted, , , , false\n");
}

TEST_F(Cli, MoveLeaderTakesAnIdOrAName) {
  auto* member = server_.members_response.add_members();
  member->set_id(0xce77b9bd24aacb61);
  member->set_name("n1");
  member = server_.members_response.add_members();
  member->set_id(0x1b9d81eff8815fdc);
  member->set_name("n2");
  EXPECT_THAT(Run({"move-leader", "n2"}).err,
              testing::StartsWith("Error: there is no leader now; the cluster has no leader: "));
  server_.status_response.set_leader(0xce77b9bd24aacb61);
  constexpr char kMoved[] = "Leadership transferred from ce77b9bd24aacb61 to 1b9d81eff8815fdc\n";
  EXPECT_EQ(Out({"move-leader", "1b9d81eff8815fdc"}), kMoved);
  EXPECT_EQ(server_.move_leader_request.targetid(), 0x1b9d81eff8815fdcu);
  EXPECT_EQ(Out({"move-leader", "n2"}), kMoved);
  EXPECT_EQ(server_.move_leader_request.targetid(), 0x1b9d81eff8815fdcu);
  EXPECT_EQ(Out({"move-leader", "n2", "-w", "json"}), "{}\n");
  EXPECT_EQ(Out({"move-leader", "ce77b9bd24aacb61"}), "ce77b9bd24aacb61 is the leader already\n");
  EXPECT_EQ(Out({"move-leader", "ce77b9bd24aacb61", "-w", "json"}), "{}\n");
  EXPECT_EQ(server_.move_leader_request.targetid(), 0x1b9d81eff8815fdcu);
  EXPECT_EQ(Run({"move-leader", "7"}).code, kExitBadArguments);

  const Result unknown = Run({"move-leader", "n3"});
  EXPECT_EQ(unknown.code, kExitBadArguments);
  EXPECT_EQ(
      unknown.err,
      "Error: move-leader: \"n3\" is not the ID or name of a member; see raftkv member list\n");
  EXPECT_EQ(Run({"move-leader"}).code, kExitBadArguments);
  EXPECT_EQ(Run({"move-leader", "n2", "-w", "table"}).code, kExitBadFormat);
}

TEST_F(Cli, AMemberWithoutANameIsNamedByItsId) {
  auto* member = server_.members_response.add_members();
  member->set_id(0xce77b9bd24aacb61);
  member->set_name("n1");
  server_.members_response.add_members()->set_id(0x135c);
  for (const std::vector<const char*>& verb :
       {std::vector<const char*>{"member", "promote", "f6"},
        {"member", "remove", "f6"},
        {"member", "update", "f6", "--peer-urls=http://h:1"}}) {
    const Result result = Run(verb);
    EXPECT_EQ(result.code, kExitBadArguments);
    EXPECT_EQ(result.err, "Error: member " + std::string(verb[1]) +
                              ": \"f6\" is not the ID or name of a member; a member that has not "
                              "started has no name yet: use its ID, 135c\n");
  }
}

// Nothing makes names unique: a member tells its name when it starts.
TEST_F(Cli, ANameOfTwoMembersIsNotTakenForOneOfThem) {
  for (const uint64_t id : {0xa1, 0xb2}) {
    auto* member = server_.members_response.add_members();
    member->set_id(id);
    member->set_name("n1");
    member->add_peerurls("http://h:" + std::to_string(id));
  }
  server_.status_response.set_leader(0xa1);
  const std::string why =
      ": 2 members are named n1: use the ID, a1 (http://h:161) or b2 (http://h:178)\n";
  for (const std::vector<const char*>& verb :
       {std::vector<const char*>{"member", "promote", "n1"},
        {"member", "remove", "n1"},
        {"member", "update", "n1", "--peer-urls=http://h:1"},
        {"member", "replace", "n1", "n2", "--peer-urls=http://h:1"}}) {
    const Result result = Run(verb);
    EXPECT_EQ(result.code, kExitBadArguments);
    EXPECT_EQ(result.err, "Error: member " + std::string(verb[1]) + why);
  }
  EXPECT_EQ(Run({"move-leader", "n1"}).err, "Error: move-leader" + why);
}

TEST_F(Cli, AMemberWhoseNameIsTaken) {
  auto* member = server_.members_response.add_members();
  member->set_id(0xa1);
  member->set_name("n1");
  EXPECT_EQ(Run({"member", "add", "n1", "--peer-urls=http://h:1"}).err,
            "Error: member add: there is a member n1 already, with the ID a1; choose another name, "
            "or, if its disk is lost, use raftkv member replace\n");
}

TEST_F(Cli, AMemberThatCannotBeAdded) {
  const std::vector<const char*> add = {"member", "add", "n4", "--peer-urls=http://h:1,h:2"};
  auto* member = server_.members_response.add_members();
  member->set_id(1);
  member->set_name("n1");
  member->add_clienturls("http://" + server_.address());
  member = server_.members_response.add_members();
  member->set_id(2);
  member->set_name("n2");
  member->add_clienturls("http://" + DeadAddress());
  member = server_.members_response.add_members();
  member->set_id(0x135c);
  member->set_islearner(true);
  const auto fails_with = [&](const char* text) {
    server_.member_add_status = {grpc::StatusCode::FAILED_PRECONDITION, text};
    const Result result = Run(add);
    EXPECT_EQ(result.code, kExitFailed);
    return result.err;
  };
  EXPECT_EQ(fails_with("etcdserver: unhealthy cluster"),
            "Error: etcdserver: unhealthy cluster; a voter cannot be added while n2 does not "
            "answer; add it with --learner, or use raftkv member replace\n");
  EXPECT_EQ(fails_with("etcdserver: too many learner members in cluster"),
            "Error: etcdserver: too many learner members in cluster; promote or remove "
            "135c first, or, if it is lost, use raftkv member replace\n");
  EXPECT_EQ(fails_with("etcdserver: given member URLs are invalid"),
            "Error: etcdserver: given member URLs are invalid; \"h:2\" is not a URL; write "
            "\"http://HOST:PORT\", such as \"http://127.0.0.1:2380\"\n");
  EXPECT_EQ(fails_with("etcdserver: Peer URLs already exists"),
            "Error: etcdserver: Peer URLs already exists\n");
}

// The endpoint is not the leader, and the leader has no client URL.
TEST_F(Cli, MoveLeaderNeedsTheLeader) {
  for (const uint64_t id : {1, 2}) server_.members_response.add_members()->set_id(id);
  server_.status_response.set_leader(1);
  const Result result = Run({"move-leader", "2"});
  EXPECT_EQ(result.code, kExitBadArguments);
  EXPECT_EQ(result.err, "Error: the leader is none of " + server_.address() +
                            " and has no client URL; name it with --endpoints\n");
  EXPECT_EQ(server_.move_leader_request.targetid(), 0u);
}

}  // namespace
}  // namespace raftkv::client
