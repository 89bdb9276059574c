// What members of different clusters tell each other about their config files.

#include "server/peer/member_lists.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/peer/node.h"

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
  const auto answer = [&](proto::HelloRequest request) {
    *request.mutable_peer() = Who(kCluster + 1, 2, 1, std::string(16, 's'));
    return SayHello(&node, request).error_message();
  };
  EXPECT_THAT(answer({}), testing::StartsWith("the member lists differ: if "));
  EXPECT_THAT(answer(Listed("n2", "demo", {"n2", "n3", "n4"})),
              testing::StartsWith("the member lists differ (only the config file of n1 has n1 at "
                                  "http://n1:2380; only the config file of n2 has n4 at "
                                  "http://n4:2380): "));
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

}  // namespace
}  // namespace raftkv
