// What members of different clusters tell each other about their config files.

#include "server/peer/member_lists.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/peer/node.h"
#include "tests/server/log_lines.h"

namespace raftkv {
namespace {

proto::HelloRequest Listed(const std::string& name, const std::string& cluster_name,
                           const std::vector<std::string>& members) {
  proto::HelloRequest listed;
  listed.set_name(name);
  listed.set_cluster_name(cluster_name);
  for (const std::string& member : members) {
    listed.add_members()->set_name(member);
    listed.mutable_members()->rbegin()->set_peer_url("http://" + member + ":2380");
  }
  return listed;
}

// Who has the wrong config file is told what differs. A Hello of the first release lacks the list.
TEST(MemberLists, AMemberWithAnotherListOfMembersIsToldWhatDiffers) {
  PeersOptions options;
  options.listed = Listed("n1", "demo", {"n1", "n2", "n3"});
  Node node(1, kNobodyThere, options);
  uint64_t reached = 0;  // by the log of n2
  const auto answer = [&](proto::HelloRequest request) {
    *request.mutable_peer() = Who(kCluster + 1, 2, 1, std::string(16, 's'));
    request.mutable_peer()->set_reached_index(reached);
    return SayHello(&node, request).error_message();
  };
  EXPECT_THAT(answer({}), testing::StartsWith("the member lists differ: if "));
  const std::string differs =
      "the member lists differ (only the config file of n1 has n1 at http://n1:2380; only the "
      "config file of n2 has n4 at http://n4:2380): ";
  EXPECT_EQ(answer(Listed("n2", "demo", {"n2", "n3", "n4"})),
            differs +
                "correct the wrong config file, empty the data_dir of its member, and start "
                "that member again")
      << "both are new";
  reached = 7;
  EXPECT_THAT(answer(Listed("n2", "demo", {"n2", "n3", "n4"})),
              testing::StartsWith(differs + "if one of the two is to join"));
  EXPECT_THAT(answer(Listed("n2", "other", {"n1", "n2", "n3"})),
              testing::StartsWith("the member lists differ (the cluster is named \"demo\" in the "
                                  "config file of n1, and \"other\" in that of n2): "));
  proto::HelloRequest restored = Listed("n2", "demo", {"n1", "n2", "n3"});
  restored.set_restored_from("token");
  EXPECT_THAT(answer(restored),
              testing::StartsWith("the member lists differ (n2 was restored from a backup, and the "
                                  "other one was not): "));
  // Nothing that a stranger sends makes the line long or breaks it.
  EXPECT_LT(answer(Listed(std::string(1 << 20, '\n'), "demo",
                          std::vector<std::string>(60, std::string(1000, '\n'))))
                .size(),
            4000);
}

// Both ends of a connection reject each other for the same reason, so one line suffices.
TEST(MemberLists, EachEndLogsTheDifferenceOnce) {
  PeersOptions options;
  options.listed = Listed("n1", "demo", {"n1", "n2"});
  Node one(1, kNobodyThere, options);
  options.listed = Listed("n2", "demo", {"n2", "n3"});
  options.cluster_id = kCluster + 1;
  Node two(2, {1, "n1", one.address}, options);
  one.peers.SetPeers({{2, "n2", two.address}});
  LogLines log;
  const auto ask = [&](Node& from, Node& to, raft::MemberId id, raft::MemberId other) {
    return Eventually({&one, &two}, [&] {
      from.peers.Send({{.id = id}, other, Hello{}});
      return to.peers.rejections().of(Rejections::Reason::kCluster) >= 3;
    });
  };
  ASSERT_TRUE(ask(one, two, 1, 2));
  ASSERT_TRUE(ask(two, one, 2, 1));
  int lines = 0;
  const std::string text = log.text();
  for (size_t at = 0; (at = text.find("the member lists differ", at)) != std::string::npos; ++at) {
    ++lines;
  }
  EXPECT_EQ(lines, 2) << text;
}

// They were removed while they were away.
TEST(MemberLists, EachRemovedMemberThatAsksIsLoggedOnceWithItsName) {
  Node node(1, kNobodyThere);
  LogLines log;
  for (int i = 0; i < 3; ++i) {
    for (const raft::MemberId removed : {7, 8}) {
      proto::HelloRequest hello = Listed(absl::StrCat("n", removed), "demo", {});
      *hello.mutable_peer() = Who(kCluster, removed, 1, std::string(16, 's'));
      EXPECT_TRUE(SayHello(&node, hello, {.removed = true}).ok());
      node.peers.OnPeerRejected({removed, PeerRejected::Why::kRemoved});
    }
  }
  EXPECT_EQ(node.peers.rejections().of(Rejections::Reason::kRemoved), 6);
  for (const char* name : {"n7", "n8"}) {
    const std::string line = absl::StrCat("a message of ", name, ": it was removed");
    const size_t first = log.text().find(line);
    ASSERT_NE(first, std::string::npos) << log.text();
    EXPECT_EQ(log.text().find(line, first + 1), std::string::npos) << log.text();
  }
}

}  // namespace
}  // namespace raftkv
