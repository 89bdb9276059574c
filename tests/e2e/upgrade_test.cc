// A rolling upgrade with real processes, and the commands of docs/upgrading.md. One program acts
// as both releases. With RAFTKV_TEST_NEWEST_VERSION=1 it announces, and applies, only the rules of
// the first release. RAFTKV_TEST_NEW_FIELD names a field, which the program treats as if version 2
// had added it. It is set for both releases, because the codec of both is that of this program.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "storage/rules/version.h"
#include "tests/e2e/traffic.h"

namespace raftkv::e2e {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

const std::string kRaised = absl::StrCat("the cluster version is ", kNewestVersion, " now");
constexpr int kBadInput = 2;

using Environment = std::map<std::string, std::string>;

Environment NewRelease() { return {{"RAFTKV_TEST_NEW_FIELD", "etcdserverpb.PutRequest.prev_kv"}}; }
Environment OldRelease() {
  Environment environment = NewRelease();
  environment["RAFTKV_TEST_NEWEST_VERSION"] = "1";
  return environment;
}

// A put with the field.
grpc::Status PutWithField(Connection& connection) {
  etcdserverpb::PutRequest request;
  request.set_key("field");
  request.set_prev_kv(true);
  etcdserverpb::PutResponse response;
  return connection.kv->Put(MakeContext().get(), request, &response);
}

// The commands of the page. HOST:2379 stands for one member.
std::vector<std::string> CommandsOfThePage() {
  std::vector<std::string> commands;
  const std::string page = ReadFile(RAFTKV_SOURCE_DIR "/docs/upgrading.md");
  for (absl::string_view line : absl::StrSplit(page, '\n')) {
    line = absl::StripAsciiWhitespace(line);
    if (absl::StartsWith(line, "raftkv ")) commands.emplace_back(line);
  }
  return commands;
}

// Runs them after `member` was started, until each succeeds.
void RunCommandsOfThePage(Cluster& cluster, int member) {
  for (const std::string& text : CommandsOfThePage()) {
    Command command;
    command.argv = absl::StrSplit(
        absl::StrReplaceAll(text, {{"HOST:2379", cluster.client_address(member)}}), ' ');
    command.argv[0] = BuiltProgram("raftkv");
    command.environment = {{"RAFTKV_ENDPOINTS", absl::StrJoin(cluster.client_addresses(), ",")}};
    Finished finished;
    EXPECT_TRUE(Eventually(absl::Seconds(20),
                           [&] {
                             finished = RunToEnd(command);
                             return finished.exit_code == 0;
                           }))
        << text << "\n"
        << finished.out << finished.err;
  }
}

// Stops the member and starts it as another release, as the page says.
void Replace(Cluster& cluster, int member, const Environment& release) {
  EXPECT_EQ(cluster.Terminate(member), 0);
  cluster.Start(member, release);
  RunCommandsOfThePage(cluster, member);
}

// What `endpoint status` shows: the cluster version, and what the member knows.
void ExpectVersions(Cluster& cluster, int member, uint64_t cluster_version, uint64_t known) {
  const auto status = cluster.Status(member);
  EXPECT_EQ(status.response.serverversion(), "0.1.0") << status.status.error_message();
  EXPECT_EQ(status.response.clusterversion(), cluster_version);
  EXPECT_EQ(status.response.newestclusterversion(), known);
}

TEST(Upgrade, ThePageHasCommands) { EXPECT_GE(CommandsOfThePage().size(), 3u); }

TEST(Upgrade, TheClusterVersionRisesOnceTheLastMemberIsUpgradedUnderLoad) {
  if (ProductUnderTest() == Product::kEtcd) GTEST_SKIP() << "about raftkv-server";
  Cluster cluster({});
  for (int i = 0; i < cluster.size(); ++i) cluster.Start(i, OldRelease());
  ASSERT_GE(cluster.WaitForLeader(), 0);
  Traffic traffic(&cluster, TrafficOptions{});
  ASSERT_TRUE(traffic.WaitForAcknowledged(300, absl::Seconds(20)));
  for (int i = 0; i < cluster.size(); ++i) {
    for (int other = 0; other < cluster.size(); ++other) {
      EXPECT_THAT(cluster.log(other), Not(HasSubstr(kRaised))) << "some are of the old release";
    }
    const grpc::Status early = PutWithField(cluster.connection(i));
    EXPECT_EQ(early.error_code(), grpc::StatusCode::UNIMPLEMENTED);
    EXPECT_EQ(early.error_message(),
              "etcdserver: the cluster version is 1, this needs 2: upgrade all members");
    ExpectVersions(cluster, i, 1, 1);
    Replace(cluster, i, NewRelease());
    if (i == 0) {  // there is a way back as long as a member is of the old release
      ExpectVersions(cluster, i, 1, kNewestVersion);
      Replace(cluster, i, OldRelease());
      ExpectVersions(cluster, i, 1, 1);
      Replace(cluster, i, NewRelease());
    }
    ASSERT_GE(cluster.WaitForLeader(), 0);
    ASSERT_TRUE(traffic.WaitForAcknowledged(300, absl::Seconds(20)));
  }
  for (int i = 0; i < cluster.size(); ++i) {
    EXPECT_TRUE(Eventually(absl::Seconds(20), [&] {
      return cluster.log(i).find(kRaised) != std::string::npos;
    })) << cluster.name(i);
  }
  ASSERT_TRUE(traffic.WaitForAcknowledged(300, absl::Seconds(20)));
  traffic.Stop();
  EXPECT_TRUE(cluster.MembersAreEqual());
  EXPECT_THAT(FindViolations(traffic.Collect()), IsEmpty());
  for (int i = 0; i < cluster.size(); ++i) {
    ExpectVersions(cluster, i, kNewestVersion, kNewestVersion);
    EXPECT_TRUE(PutWithField(cluster.connection(i)).ok());
  }

  // There is no way back any more: the old release does not know what the data means.
  ASSERT_EQ(cluster.Terminate(0), 0);
  cluster.Start(0, OldRelease());
  EXPECT_EQ(cluster.process(0).Wait(absl::Seconds(20)), kBadInput);
  EXPECT_THAT(cluster.log(0), HasSubstr("run a newer raftkv-server"));
  cluster.Start(0, NewRelease());
  EXPECT_TRUE(cluster.MembersAreEqual());
}

}  // namespace
}  // namespace raftkv::e2e
