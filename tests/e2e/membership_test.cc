// Changes of the members with real processes, while clients write: a member joins, is promoted, the
// leader leaves, and a member whose disk was lost is replaced.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "tests/e2e/cluster.h"
#include "tests/e2e/traffic.h"
#include "tests/e2e/writers.h"

namespace raftkv::e2e {
namespace {

using etcdserverpb::MemberAddRequest;
using etcdserverpb::MemberPromoteRequest;
using etcdserverpb::MemberRemoveRequest;
using Stub = etcdserverpb::Cluster::Stub;
using testing::HasSubstr;

constexpr absl::Duration kWaitMax = absl::Seconds(30);
constexpr int kMembershipClients = 8;

// Members n1 to n3, and n4, which joins.
class Membership : public testing::Test {
 protected:
  void SetUp() override {
    if (ProductUnderTest() == Product::kEtcd) GTEST_SKIP() << "it joins with other flags";
    for (int i = 0; i < 3; ++i) cluster_.Start(i);
    ASSERT_GE(cluster_.WaitForLeader(), 0);
  }

  template <typename Request, typename Response>
  grpc::Status Ask(int member,
                   grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                   const Request& request) {
    Connection& connection = cluster_.connection(member);
    return Call(connection, *connection.cluster, method, request).status;
  }
  // Repeats the request until it succeeds, as an operator does: the members are in the log once all
  // have announced that they know it, and a learner is promoted once it has caught up.
  template <typename Request, typename Response>
  testing::AssertionResult Succeeds(int member,
                                    grpc::Status (Stub::*method)(grpc::ClientContext*,
                                                                 const Request&, Response*),
                                    const Request& request) {
    grpc::Status status;
    if (Eventually(kWaitMax, [&] { return (status = Ask(member, method, request)).ok(); })) {
      return testing::AssertionSuccess();
    }
    return testing::AssertionFailure() << status.error_message();
  }
  MemberAddRequest Learner(int member) const {
    MemberAddRequest add;
    add.add_peerurls("http://" + cluster_.peer_address(member));
    add.set_islearner(true);
    return add;
  }
  // The id of the only learner that member 1 knows. 0: there is none.
  uint64_t LearnerId() {
    const auto list = Call(cluster_.connection(1), *cluster_.connection(1).cluster,
                           &Stub::MemberList, etcdserverpb::MemberListRequest());
    for (const etcdserverpb::Member& member : list.response.members()) {
      if (member.islearner()) return member.id();
    }
    return 0;
  }
  // The lines about what happens in the cluster have the names of the members, not the ids.
  void ExpectNames(const std::string& log) {
    std::vector<std::string> ids;
    for (int member = 0; member < cluster_.size(); ++member) {
      const uint64_t id = IdOf(member);
      ASSERT_NE(id, 0) << member << " does not answer";
      ids.push_back(absl::StrFormat("%x", id));
    }
    for (const absl::string_view line : absl::StrSplit(log, '\n')) {
      if (absl::StrContains(line, " of cluster ")) continue;  // the line about the start
      for (const std::string& id : ids) EXPECT_FALSE(absl::StrContains(line, id)) << line;
    }
  }
  // The member, whose process has ended, does not start again, and the check says the same.
  void ExpectRemoved(int member) {
    Command check = cluster_.ServerCommand(member);
    check.argv.push_back("--check-config");
    const Finished checked = RunToEnd(check);
    EXPECT_EQ(checked.exit_code, 2) << checked.out;
    EXPECT_THAT(checked.err, HasSubstr("was removed from cluster"));
    cluster_.Start(member);
    EXPECT_EQ(cluster_.process(member).Wait(kWaitMax), 2);
    EXPECT_THAT(cluster_.log(member), HasSubstr(checked.err)) << "the start says the same";
  }
  uint64_t IdOf(int member) { return cluster_.Status(member).response.header().member_id(); }

  Cluster cluster_{{.size = 3, .joining = 1, .election_timeout = absl::Milliseconds(500)}};
};

TEST_F(Membership, AMemberJoinsAndTheLeaderLeaves) {
  Writers writers(cluster_.client_addresses(), kMembershipClients);
  ASSERT_TRUE(Succeeds(1, &Stub::MemberAdd, Learner(3)));
  // The learner was added by mistake. After its removal it can be added again at once, with a new
  // id.
  MemberRemoveRequest mistake;
  mistake.set_id(LearnerId());
  ASSERT_TRUE(Succeeds(1, &Stub::MemberRemove, mistake));
  const grpc::Status added = Ask(1, &Stub::MemberAdd, Learner(3));
  ASSERT_TRUE(added.ok()) << added.error_message();
  EXPECT_NE(LearnerId(), mistake.id());
  MemberAddRequest again = Learner(3);
  again.add_peerurls("http://127.0.0.1:1");  // for another id
  EXPECT_EQ(Ask(0, &Stub::MemberAdd, again).error_message(),
            "etcdserver: Peer URLs already exists");
  MemberAddRequest malformed;
  malformed.add_peerurls("n5:2380");
  EXPECT_EQ(Ask(0, &Stub::MemberAdd, malformed).error_message(),
            "etcdserver: given member URLs are invalid");

  cluster_.Start(3);
  ASSERT_TRUE(Eventually(kWaitMax, [&] { return cluster_.Status(3).response.islearner(); }));
  EXPECT_EQ(cluster_.Put(3, "k", "v").status.error_message(),
            "etcdserver: rpc not supported for learner");
  ASSERT_TRUE(
      Eventually(kWaitMax, [&] { return cluster_.Put(0, "k", "read at the learner").ok(); }));
  EXPECT_TRUE(Eventually(kWaitMax, [&] {
    const auto reply = cluster_.Get(3, "k", /*serializable=*/true);
    EXPECT_TRUE(reply.ok()) << reply.status.error_message();
    return reply.response.kvs_size() == 1 && reply.response.kvs(0).value() == "read at the learner";
  }));
  EXPECT_EQ(cluster_.Get(3, "k").status.error_message(),
            "etcdserver: rpc not supported for learner");
  MemberPromoteRequest promote;
  promote.set_id(IdOf(3));
  ASSERT_TRUE(Succeeds(2, &Stub::MemberPromote, promote));
  EXPECT_EQ(Ask(2, &Stub::MemberPromote, promote).error_message(),
            "etcdserver: can only promote a learner member");
  ASSERT_TRUE(Eventually(kWaitMax, [&] { return cluster_.Put(3, "k", "after").ok(); }));
  ASSERT_TRUE(writers.WaitFor(200));
  ExpectNames(cluster_.log(3));

  const int leader = cluster_.WaitForLeader();
  ASSERT_GE(leader, 0);
  MemberRemoveRequest remove;
  remove.set_id(IdOf(leader));
  const grpc::Status removed = Ask((leader + 1) % 3, &Stub::MemberRemove, remove);
  EXPECT_TRUE(removed.ok()) << removed.error_message();
  EXPECT_EQ(cluster_.process(leader).Wait(kWaitMax), 0);
  EXPECT_THAT(cluster_.log(leader), HasSubstr("this member was removed from the cluster"));
  ASSERT_TRUE(writers.WaitFor(200));
  ExpectRemoved(leader);

  writers.Stop();
  EXPECT_TRUE(cluster_.Put(3, "k", "without").ok());
  EXPECT_TRUE(cluster_.MembersAreEqual());
}

// The other members return the new client URL as soon as the member has published it.
TEST_F(Membership, AMemberTellsItsNewClientUrlThroughTheLog) {
  ASSERT_TRUE(Succeeds(0, &Stub::MemberAdd, Learner(3))) << "the members are in the log now";
  const int moved = (cluster_.WaitForLeader() + 1) % 3, other = (moved + 1) % 3;
  ASSERT_EQ(cluster_.Terminate(moved), 0);
  const std::string address = absl::StrCat("127.0.0.1:", FreePorts(1)[0]);
  const std::string file = cluster_.dir() + "/moved.toml";
  WriteFile(file, absl::StrReplaceAll(ReadFile(cluster_.config_path()),
                                      {{cluster_.client_address(moved), address}}));
  Command command = cluster_.ServerCommand(moved);
  *std::find(command.argv.begin(), command.argv.end(), cluster_.config_path()) = file;
  Process process(command, cluster_.dir() + "/moved.log");
  Connection& connection = cluster_.connection(other);
  EXPECT_TRUE(Eventually(kWaitMax, [&] {
    const auto list =
        Call(connection, *connection.cluster, &Stub::MemberList, etcdserverpb::MemberListRequest());
    return absl::StrContains(list.response.ShortDebugString(), "\"http://" + address + "\"");
  })) << ReadFile(cluster_.dir() + "/moved.log");
  process.Signal(SIGTERM);
  EXPECT_EQ(process.Wait(kWaitMax), 0);
}

// A joining member waits half a minute for another member to answer.
TEST(Join, IsEndedBySigterm) {
  if (ProductUnderTest() == Product::kEtcd) GTEST_SKIP() << "it joins with other flags";
  Cluster cluster({.size = 3, .joining = 1});
  cluster.Start(3);
  ASSERT_TRUE(Eventually(
      kWaitMax, [&] { return absl::StrContains(cluster.log(3), "joining: no answer yet"); }));
  EXPECT_EQ(cluster.Terminate(3), 0);
  EXPECT_THAT(cluster.log(3), HasSubstr("stopped during the start"));
}

// Without the flag the member belongs to the cluster that its file describes, which never starts.
TEST_F(Membership, AForgottenJoinIsToldAtTheNextStart) {
  ASSERT_TRUE(Succeeds(1, &Stub::MemberAdd, Learner(3)));
  const Command join = cluster_.ServerCommand(3);
  Command forgot = join;
  const std::string file = cluster_.dir() + "/forgot.toml";
  WriteFile(file, absl::StrReplaceAll(ReadFile(cluster_.joining_config_path()),
                                      {{"state = \"existing\"", ""}}));
  *std::find(forgot.argv.begin(), forgot.argv.end(), cluster_.joining_config_path()) = file;
  {
    Process process(forgot, cluster_.dir() + "/forgot.log");
    ASSERT_TRUE(Eventually(kWaitMax, [&] {
      const std::string log = ReadFile(cluster_.dir() + "/forgot.log");
      return absl::StrContains(log, "first start") &&
             absl::StrContains(log, "empty its data_dir and start it with --join");
    }));
    process.Signal(SIGTERM);
    EXPECT_EQ(process.Wait(kWaitMax), 0);
  }
  const Finished again = RunToEnd(join);
  EXPECT_EQ(again.exit_code, 2);
  EXPECT_THAT(again.err, HasSubstr("was created by a start without --join"));
  EXPECT_THAT(again.err, HasSubstr("remove this directory, then start again with --join"));
  cluster_.Wipe(3);
  cluster_.Start(3);
  EXPECT_TRUE(Eventually(kWaitMax, [&] { return cluster_.Status(3).response.leader() != 0; }));
}

TEST_F(Membership, AMemberWhoseDiskWasLostIsReplaced) {
  const int lost = (cluster_.WaitForLeader() + 1) % 3;
  ASSERT_TRUE(Eventually(kWaitMax, [&] { return cluster_.Put(lost, "k", "v").ok(); }));
  Writers writers(
      {cluster_.client_address((lost + 1) % 3), cluster_.client_address((lost + 2) % 3)},
      kMembershipClients);
  cluster_.Kill(lost);
  cluster_.Wipe(lost);
  cluster_.Start(lost);

  const std::string out = cluster_.dir() + "/replace.txt";
  const auto replace = [&] {
    return Command{.argv = {BuiltProgram("raftkv"), "member", "replace", cluster_.name(lost), "n4",
                            "--peer-urls=http://" + cluster_.peer_address(3), "--endpoints",
                            absl::StrJoin({cluster_.client_address((lost + 1) % 3),
                                           cluster_.client_address((lost + 2) % 3)},
                                          ",")}};
  };
  {
    Process interrupted(replace(), out);
    ASSERT_TRUE(Eventually(kWaitMax, [&] {
      return absl::StrContains(ReadFile(out), "has not started yet");
    })) << ReadFile(out);
  }
  Process again(replace(), out);
  cluster_.Start(3);
  EXPECT_EQ(again.Wait(kWaitMax), 0) << ReadFile(out);
  EXPECT_THAT(ReadFile(out), HasSubstr("is replaced by n4"));
  EXPECT_EQ(cluster_.process(lost).Wait(kWaitMax), 0) << "it is told that it was removed";
  const std::string log = cluster_.log(lost);
  const size_t cause = log.find("this member was removed from the cluster");
  ASSERT_NE(cause, std::string::npos) << log;
  EXPECT_LT(cause, log.find("stopping: ")) << "the cause comes first\n" << log;
  ExpectRemoved(lost);
  ASSERT_TRUE(Eventually(kWaitMax, [&] { return cluster_.Put(3, "k", "after").ok(); }));
  ASSERT_TRUE(writers.WaitFor(200));
  EXPECT_THAT(writers.Stop(), testing::IsEmpty());
  EXPECT_TRUE(cluster_.MembersAreEqual());

  // It has voted and acknowledged writes, so it does not come back with an empty directory.
  ASSERT_EQ(cluster_.Terminate(3), 0);
  cluster_.Wipe(3);
  cluster_.Start(3);
  EXPECT_EQ(cluster_.process(3).Wait(kWaitMax), 2);
  EXPECT_THAT(cluster_.log(3), HasSubstr("has run before"));
}

// It has never started, so it has no name.
TEST_F(Membership, ALearnerThatIsLostIsReplaced) {
  ASSERT_TRUE(Succeeds(1, &Stub::MemberAdd, Learner(3)));
  const uint64_t lost = LearnerId();
  const std::string id = absl::StrFormat("%x", lost);
  const Finished replaced = RunToEnd(
      {.argv = {BuiltProgram("raftkv"), "member", "replace", id, "n5",
                "--peer-urls=http://127.0.0.1:1", "--endpoints", cluster_.client_address(1)}});
  EXPECT_EQ(replaced.exit_code, 0) << replaced.err;
  EXPECT_THAT(replaced.out, HasSubstr("Learner " + id + " is replaced by n5"));
  EXPECT_NE(LearnerId(), lost);
  EXPECT_NE(LearnerId(), 0);
}

// `raftkv member replace` removes the old member only when the new one votes.
TEST_F(Membership, ReplaceRemovesNoMemberBeforeTheNewOneVotes) {
  const auto replace = [&](const std::string& old, const std::string& name, auto... urls) {
    return Command{.argv = {BuiltProgram("raftkv"), "member", "replace", old, name,
                            "--peer-urls=" + absl::StrJoin({std::string(urls)...}, ","),
                            "--endpoints", cluster_.client_address(0)}};
  };
  const std::string url = "http://" + cluster_.peer_address(3), other = "http://127.0.0.1:1";
  const auto error = [&](const Command& command) {
    const Finished finished = RunToEnd(command);
    EXPECT_EQ(finished.exit_code, 128) << finished.err;
    return finished.err;
  };
  EXPECT_THAT(error(replace("n1", "n9", "http://" + cluster_.peer_address(2))),
              HasSubstr("belongs to member n3"));
  for (const char* name : {"n9", "n1"}) {
    EXPECT_THAT(error(replace("n1", name, url, "http://" + cluster_.peer_address(0))),
                HasSubstr("is a peer URL of the old member, n1; give the new one another URL"));
  }
  EXPECT_THAT(error(replace("n1", "n2", url)), HasSubstr("there is a member n2"));
  EXPECT_THAT(error(replace("beef", "n4", url)),
              HasSubstr("\"beef\" is not the ID or name of a member"));

  // The new member was added as a voter, and does not run.
  MemberAddRequest voter = Learner(3);
  voter.set_islearner(false);
  ASSERT_TRUE(Succeeds(1, &Stub::MemberAdd, voter));
  EXPECT_THAT(error(replace("beef", "n4", url)), HasSubstr("\"beef\" is not"));
  EXPECT_THAT(error(replace("n1", "n4", url, other)), HasSubstr("added without the URL " + other));
  const std::string out = cluster_.dir() + "/replace.txt";
  Process replacing(replace("n2", "n4", url), out);
  ASSERT_TRUE(Eventually(kWaitMax, [&] {
    return absl::StrContains(ReadFile(out), "has not started yet");
  })) << ReadFile(out);
  EXPECT_TRUE(cluster_.Running(1));
  cluster_.Start(3);
  EXPECT_EQ(replacing.Wait(kWaitMax), 0) << ReadFile(out);
  EXPECT_THAT(ReadFile(out), HasSubstr("Member n2 is replaced by n4"));
  EXPECT_EQ(cluster_.process(1).Wait(kWaitMax), 0);
  const Finished again = RunToEnd(replace("n2", "n4", url));
  EXPECT_EQ(again.exit_code, 0) << again.err;
  EXPECT_THAT(again.out, HasSubstr("it is replaced already"));

  // A new member with two URLs.
  const std::string two = cluster_.dir() + "/two.txt";
  Process learner(replace("n1", "n5", other, "http://127.0.0.1:2"), two);
  ASSERT_TRUE(Eventually(kWaitMax, [&] {
    return absl::StrContains(ReadFile(two), "n5 has not started yet");
  })) << ReadFile(two);
  const auto list = Call(cluster_.connection(0), *cluster_.connection(0).cluster, &Stub::MemberList,
                         etcdserverpb::MemberListRequest());
  EXPECT_THAT(list.response.ShortDebugString(),
              HasSubstr(R"(peerURLs: "http://127.0.0.1:1" peerURLs: "http://127.0.0.1:2")"));
}

// The first time the request is sent to the leader, the second time to another member. The leader
// transfers its leadership first.
TEST_F(Membership, RemovingTheLeaderFailsNoWrite) {
  Writers writers(
      {cluster_.client_address(0), cluster_.client_address(1), cluster_.client_address(2)},
      2 * kMembershipClients);
  for (const bool itself : {true, false}) {
    ASSERT_TRUE(writers.WaitFor(500));
    const int leader = cluster_.WaitForLeader();
    ASSERT_GE(leader, 0);
    int asked = leader;
    for (int i = 0; i < 3 && !itself; ++i) {
      if (i != leader && cluster_.Running(i)) asked = i;
    }
    writers.TakeLongestGap();
    Finished removed;
    // Exit code 1: the members are not in the log yet, so the command is repeated.
    ASSERT_TRUE(Eventually(kWaitMax, [&] {
      removed =
          RunToEnd({.argv = {BuiltProgram("raftkv"), "member", "remove", cluster_.name(leader),
                             "--endpoints", cluster_.client_address(asked)}});
      return removed.exit_code != 1;
    })) << removed.err;
    EXPECT_EQ(removed.exit_code, 0) << removed.err;
    EXPECT_THAT(removed.out, HasSubstr("removed from cluster"));
    ASSERT_TRUE(writers.WaitFor(500));
    std::cout << "longest gap of acknowledged writes: " << writers.TakeLongestGap() << "\n";
    EXPECT_EQ(cluster_.process(leader).Wait(kWaitMax), 0);
  }
  EXPECT_THAT(writers.Stop(), testing::IsEmpty());
  EXPECT_TRUE(cluster_.MembersAreEqual());
}

// All members are replaced one after the other, the leader first, while clients write and read.
// RAFTKV_SOAK=1: six times, with compactions.
TEST(Replacement, OfAllMembersUnderLoad) {
  if (ProductUnderTest() == Product::kEtcd) GTEST_SKIP() << "etcd has no such command";
  const bool soak = std::getenv("RAFTKV_SOAK") != nullptr;
  Cluster cluster({.size = 3, .joining = 3, .election_timeout = absl::Milliseconds(500)});
  cluster.StartAll();
  ASSERT_GE(cluster.WaitForLeader(), 0);
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(Eventually(
        kWaitMax, [&] { return absl::StrContains(cluster.log(i), "the members that vote are"); }));
  }
  Traffic traffic(&cluster,
                  {.compact_every = soak ? absl::Milliseconds(200) : absl::ZeroDuration()});
  for (int number = 0; number < (soak ? 18 : 3); ++number) {
    ASSERT_TRUE(traffic.WaitForAcknowledged(200, kWaitMax));
    const int leader = cluster.WaitForLeader();
    ASSERT_GE(leader, 0);
    const int first = number / 3 % 2 == 0 ? 0 : 3;  // of those that are replaced in this round
    int old = leader, fresh = first == 0 ? 3 : 0;
    while (old < first || old >= first + 3 || !cluster.Running(old)) old = (old + 1) % 6;
    while (cluster.Running(fresh)) ++fresh;
    cluster.Wipe(fresh);
    std::vector<std::string> endpoints;
    for (int i = 0; i < cluster.size(); ++i) {
      if (cluster.Running(i)) endpoints.push_back(cluster.client_address(i));
    }
    const std::string out = absl::StrCat(cluster.dir(), "/replace", number, ".txt");
    Process replace(
        {.argv = {BuiltProgram("raftkv"), "member", "replace", cluster.name(old),
                  cluster.name(fresh), "--peer-urls=http://" + cluster.peer_address(fresh),
                  "--endpoints", absl::StrJoin(endpoints, ",")}},
        out);
    ASSERT_TRUE(Eventually(kWaitMax, [&] {
      return absl::StrContains(ReadFile(out), "has not started yet");
    })) << ReadFile(out);
    cluster.Join(fresh);
    ASSERT_EQ(replace.Wait(kWaitMax), 0) << ReadFile(out);
    EXPECT_EQ(cluster.process(old).Wait(kWaitMax), 0) << cluster.log(old);
  }
  ASSERT_TRUE(traffic.WaitForAcknowledged(200, kWaitMax));
  traffic.Stop();
  EXPECT_TRUE(cluster.MembersAreEqual());
  EXPECT_THAT(FindViolations(traffic.Collect()), testing::IsEmpty());
}

// A majority is lost for good. The member that is left goes on alone, with all that it has.
TEST_F(Membership, TheLastMemberIsForcedToGoOn) {
  ASSERT_TRUE(Succeeds(0, &Stub::MemberAdd, Learner(3))) << "the members are in the log now";
  ASSERT_TRUE(cluster_.Put(0, "k", "v").ok());
  ASSERT_TRUE(cluster_.MembersAreEqual());
  for (int i = 0; i < 3; ++i) cluster_.Kill(i);
  Command command = cluster_.ServerCommand(0);
  command.argv.push_back("--force-new-cluster");
  const std::string log = cluster_.dir() + "/forced.log";
  Process forced(command, log);
  ASSERT_TRUE(Eventually(kWaitMax, [&] { return cluster_.Put(0, "k2", "alone").ok(); }))
      << ReadFile(log);
  EXPECT_EQ(cluster_.Get(0, "k").response.kvs(0).value(), "v");
  const auto members = Call(cluster_.connection(0), *cluster_.connection(0).cluster,
                            &Stub::MemberList, etcdserverpb::MemberListRequest());
  EXPECT_EQ(members.response.members_size(), 1);
  cluster_.Start(1);
  EXPECT_EQ(cluster_.process(1).Wait(kWaitMax), 0) << "another one is told that it was removed";
}

// It would be a second cluster with the same id.
TEST_F(Membership, ForcingANewClusterIsRejectedWhileTheOthersServe) {
  ASSERT_TRUE(cluster_.Put(0, "k", "v").ok());
  ASSERT_TRUE(cluster_.Terminate(2).has_value());
  ASSERT_TRUE(Eventually(kWaitMax, [&] { return cluster_.Put(0, "k", "v2").ok(); }));
  Command command = cluster_.ServerCommand(2);
  command.argv.push_back("--force-new-cluster");
  const Finished forced = RunToEnd(command);
  EXPECT_EQ(forced.exit_code, 2);
  EXPECT_THAT(forced.err, HasSubstr("the cluster serves without this member: http://"));
  cluster_.Start(2);
  EXPECT_TRUE(cluster_.MembersAreEqual());
  EXPECT_EQ(cluster_.Get(2, "k").response.kvs(0).value(), "v2");
}

// Only directories of removed members are left: of one that the others told, and of one that has
// its removal in its log.
TEST_F(Membership, ARemovedMemberIsForcedToGoOnIfNothingElseIsLeft) {
  ASSERT_TRUE(cluster_.Put(0, "k", "v").ok());
  ASSERT_TRUE(cluster_.MembersAreEqual());
  const int left = cluster_.WaitForLeader(), told = (left + 1) % 3, knows = (left + 2) % 3;
  ASSERT_GE(left, 0);
  const auto remove = [&](uint64_t id) {
    etcdserverpb::MemberRemoveRequest request;
    request.set_id(id);
    return Succeeds(left, &Stub::MemberRemove, request);
  };
  const uint64_t told_id = IdOf(told), knows_id = IdOf(knows);
  cluster_.Kill(told);
  ASSERT_TRUE(remove(told_id));
  cluster_.Start(told);
  EXPECT_EQ(cluster_.process(told).Wait(kWaitMax), 0);
  EXPECT_TRUE(std::filesystem::exists(cluster_.data_dir(told) + "/REMOVED"));
  ASSERT_TRUE(remove(knows_id));
  EXPECT_EQ(cluster_.process(knows).Wait(kWaitMax), 0);
  cluster_.Kill(left);
  for (const int member : {told, knows}) {
    cluster_.Start(member);
    EXPECT_EQ(cluster_.process(member).Wait(kWaitMax), 2);
    EXPECT_THAT(cluster_.log(member),
                HasSubstr("only this directory is left: --force-new-cluster"));
    {
      Command command = cluster_.ServerCommand(member);
      command.argv.push_back("--force-new-cluster");
      const std::string log = absl::StrCat(cluster_.dir(), "/forced", member, ".log");
      Process forced(command, log);
      ASSERT_TRUE(Eventually(kWaitMax, [&] { return cluster_.Put(member, "k2", "alone").ok(); }))
          << ReadFile(log);
      EXPECT_THAT(ReadFile(log), HasSubstr("had been removed from the cluster"));
    }
    // The process was killed: its state on the disk may not have what its log has.
    cluster_.Start(member);
    ASSERT_TRUE(Eventually(kWaitMax, [&] { return cluster_.Put(member, "k3", "again").ok(); }))
        << cluster_.log(member);
    EXPECT_EQ(cluster_.Get(member, "k").response.kvs(0).value(), "v");
    EXPECT_EQ(cluster_.Get(member, "k2").response.kvs(0).value(), "alone");
    const auto members = Call(cluster_.connection(member), *cluster_.connection(member).cluster,
                              &Stub::MemberList, etcdserverpb::MemberListRequest());
    ASSERT_EQ(members.response.members_size(), 1);
    EXPECT_EQ(members.response.members(0).name(), cluster_.name(member));
    EXPECT_EQ(members.response.members(0).peerurls(0), "http://" + cluster_.peer_address(member));
    EXPECT_EQ(cluster_.Terminate(member), 0);
  }
}

}  // namespace
}  // namespace raftkv::e2e
