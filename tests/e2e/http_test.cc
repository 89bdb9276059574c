// HTTP/1 on the client port: the pages, as etcd answers them.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "tests/e2e/cluster.h"
#include "tests/e2e/http_client.h"

namespace raftkv::e2e {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

constexpr char kHealthy[] = R"({"health":"true","reason":""})";

etcdserverpb::AlarmRequest AlarmRequest(etcdserverpb::AlarmRequest::AlarmAction action,
                                        etcdserverpb::AlarmType alarm) {
  etcdserverpb::AlarmRequest request;
  request.set_action(action);
  request.set_alarm(alarm);
  return request;
}

class Pages : public testing::Test {
 protected:
  void SetUp() override {
    if (ProductUnderTest() == Product::kEtcd) GTEST_SKIP() << "Debian's etcd has fewer pages";
    cluster_.StartAll();
    ASSERT_GE(cluster_.WaitForLeader(), 0);
    // A majority knows the leader. Member 0, which serves the pages, may not know it yet.
    ASSERT_TRUE(
        Eventually(absl::Seconds(20), [&] { return cluster_.Status(0).response.leader() != 0; }));
  }
  HttpReply Get(const std::string& target, int member = 0) {
    return HttpGet(cluster_.client_address(member), target);
  }
  void Alarm(etcdserverpb::AlarmRequest::AlarmAction action, etcdserverpb::AlarmType type) {
    Connection& connection = cluster_.connection(0);
    ASSERT_TRUE(Call(connection, *connection.maintenance, &etcdserverpb::Maintenance::Stub::Alarm,
                     AlarmRequest(action, type))
                    .ok());
  }

  Cluster cluster_{ClusterOptions()};
};

TEST_F(Pages, AreThoseOfEtcd) {
  const HttpReply version = Get("/version");
  EXPECT_EQ(version.status, 200);
  EXPECT_EQ(version.body, R"({"etcdserver":"3.7.1","etcdcluster":"3.7.0","storage":"3.7.0"})");
  EXPECT_THAT(version.headers, HasSubstr("Content-Type: application/json\r\n"));
  for (const char* target : {"/health", "/health?serializable=true", "/health?exclude=NOSPACE"}) {
    const HttpReply health = Get(target);
    EXPECT_EQ(health.status, 200) << target;
    EXPECT_EQ(health.body, kHealthy) << target;
  }
  for (const char* target :
       {"/livez", "/livez/serializable_read", "/readyz", "/readyz/data_corruption",
        "/readyz/serializable_read", "/readyz/linearizable_read", "/readyz/non_learner"}) {
    const HttpReply reply = Get(target);
    EXPECT_EQ(reply.status, 200) << target;
    EXPECT_EQ(reply.body, "ok\n") << target;
    EXPECT_THAT(reply.headers, HasSubstr("Content-Type: text/plain; charset=utf-8\r\n"));
  }
  EXPECT_EQ(Get("/livez?verbose").body, "[+]serializable_read ok\nok\n");
  EXPECT_EQ(Get("/readyz?verbose").body,
            "[+]data_corruption ok\n[+]serializable_read ok\n[+]linearizable_read ok\n"
            "[+]non_learner ok\nok\n");
  EXPECT_EQ(Get("/readyz?exclude=linearizable_read&verbose&exclude=unknown").body,
            "[+]data_corruption ok\n[+]serializable_read ok\n[+]non_learner ok\nok\n");
  EXPECT_EQ(Get("/nothing").status, 404);
  EXPECT_EQ(Get("/nothing").body, "404 page not found\n");
  const HttpReply post = Http(cluster_.client_address(0), "POST", "/health", "x");
  EXPECT_EQ(post.status, 405);
  EXPECT_EQ(post.body, "Method Not Allowed\n");
  EXPECT_THAT(post.headers, HasSubstr("Allow: GET\r\n"));
}

TEST_F(Pages, SayWhichAlarmIsRaised) {
  Alarm(etcdserverpb::AlarmRequest::ACTIVATE, etcdserverpb::NOSPACE);
  EXPECT_EQ(Get("/health").status, 503);
  EXPECT_EQ(Get("/health").body, "{\"health\":\"false\",\"reason\":\"ALARM NOSPACE\"}\n");
  EXPECT_EQ(Get("/health?exclude=NOSPACE").body, kHealthy);
  EXPECT_EQ(Get("/readyz").status, 200);
  Alarm(etcdserverpb::AlarmRequest::DEACTIVATE, etcdserverpb::NOSPACE);
  Alarm(etcdserverpb::AlarmRequest::ACTIVATE, etcdserverpb::CORRUPT);
  EXPECT_EQ(Get("/health").body, "{\"health\":\"false\",\"reason\":\"ALARM CORRUPT\"}\n");
  EXPECT_EQ(Get("/health?exclude=CORRUPT&exclude=NOSPACE").body, kHealthy);
  EXPECT_EQ(Get("/readyz").status, 503);
  EXPECT_THAT(Get("/readyz").body,
              StartsWith("[-]data_corruption failed: alarm activated: CORRUPT\n[+]"));
  EXPECT_EQ(Get("/livez").status, 200);
}

TEST_F(Pages, WithoutAMajorityOnlyTheMemberIsHealthy) {
  cluster_.Kill(1);
  cluster_.Kill(2);
  EXPECT_TRUE(Eventually(absl::Seconds(30), [&] {
    return Get("/health").body == "{\"health\":\"false\",\"reason\":\"RAFT NO LEADER\"}\n";
  })) << Get("/health").body;
  EXPECT_EQ(Get("/health?serializable=true").body, kHealthy);
  EXPECT_EQ(Get("/livez").body, "ok\n");
  EXPECT_EQ(Get("/version").status, 200);
  const HttpReply ready = Get("/readyz?verbose");  // it waits for the request timeout
  EXPECT_EQ(ready.status, 503);
  EXPECT_EQ(ready.body,
            "[+]data_corruption ok\n[+]serializable_read ok\n"
            "[-]linearizable_read failed: etcdserver: request timed out\n[+]non_learner ok\n\n");
}

// Compares the pages with those of etcd 3.4, which has only some of them.
TEST(PagesOfDebiansEtcd, AreTheSame) {
  if (EtcdProgram().empty()) return;
  Cluster etcd({.product = Product::kEtcd, .size = 1}), ours({.size = 1});
  for (Cluster* cluster : {&etcd, &ours}) {
    cluster->StartAll();
    ASSERT_EQ(cluster->WaitForLeader(), 0);
  }
  for (const char* target : {"/health", "/nothing"}) {
    const HttpReply theirs = HttpGet(etcd.client_address(0), target);
    const HttpReply reply = HttpGet(ours.client_address(0), target);
    EXPECT_EQ(reply.status, theirs.status) << target;
    std::string body = reply.body;  // etcd 3.4 gives no reason
    if (const size_t at = body.find(",\"reason\":\"\""); at != std::string::npos)
      body.erase(at, 12);
    EXPECT_EQ(body, theirs.body) << target;
  }
  const HttpReply theirs = Http(etcd.client_address(0), "POST", "/health", "");
  const HttpReply reply = Http(ours.client_address(0), "POST", "/health", "");
  EXPECT_EQ(reply.status, theirs.status);
  EXPECT_EQ(reply.body, theirs.body);
}

}  // namespace
}  // namespace raftkv::e2e
