// The JSON gateway: POST /v3/..., compared with that of Debian's etcd.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/e2e/cluster.h"
#include "tests/e2e/http_client.h"
#include "tests/e2e/raw_http2.h"

namespace raftkv::e2e {
namespace {

using testing::HasSubstr;

struct Step {
  std::string path;
  std::string body;
};

TEST(Json, IsThatOfEtcd) {
  if (EtcdProgram().empty()) return;
  Cluster etcd({.product = Product::kEtcd, .size = 1}), ours({.size = 1});
  for (Cluster* cluster : {&etcd, &ours}) {
    cluster->StartAll();
    ASSERT_EQ(cluster->WaitForLeader(), 0);
  }
  const std::vector<Step> steps = {
      {"/v3/kv/put", R"({"key":"Zm9v","value":"YmFy"})"},
      {"/v3/kv/put", R"({"key":"Zm9v","value":"AP8=","prev_kv":true,"unknown":{"a":[1]}})"},
      {"/v3/kv/range", R"({"key":"Zm9v"})"},
      {"/v3/kv/range", R"({"key":"AA==","range_end":"AA==","limit":"1","count_only":true})"},
      {"/v3/kv/range", R"({"key":"Zm9v","revision":100})"},
      {"/v3/kv/range", R"({"key":"Zm9v","sort_order":"DESCEND","sort_target":"MOD"})"},
      {"/v3/kv/range", R"({})"},
      {"/v3/kv/range", ""},
      {"/v3/kv/txn",
       R"({"compare":[{"target":"VERSION","key":"Zm9v","version":2,"result":"EQUAL"}],)"
       R"("success":[{"requestPut":{"key":"YQ==","value":"Yg=="}},{"request_range":{"key":"YQ=="}}]})"},
      {"/v3/kv/deleterange", R"({"key":"YQ==","prev_kv":true})"},
      {"/v3/lease/grant", R"({"ID":"77","TTL":600})"},
      {"/v3/lease/timetolive", R"({"ID":78,"keys":true})"},
      {"/v3/kv/lease/revoke", R"({"ID":77})"},
      {"/v3/lease/revoke", R"({"ID":77})"},
      {"/v3/kv/compaction", R"({"revision":3})"},
      {"/v3/kv/compaction", R"({"revision":3})"},
      {"/v3/nothing", "{}"},
  };
  for (const Step& step : steps) {
    const HttpReply theirs = Http(etcd.client_address(0), "POST", step.path, step.body);
    const HttpReply reply = Http(ours.client_address(0), "POST", step.path, step.body);
    EXPECT_EQ(reply.status, theirs.status) << step.path << " " << step.body;
    EXPECT_EQ(CommonJson(reply.body), CommonJson(theirs.body)) << step.path << " " << step.body;
  }
  for (const char* body : {"{", "[]", R"({"key":5})", R"({"key":"Zm9v"} trailing)"}) {
    const HttpReply theirs = Http(etcd.client_address(0), "POST", "/v3/kv/range", body);
    const HttpReply reply = Http(ours.client_address(0), "POST", "/v3/kv/range", body);
    EXPECT_EQ(reply.status, theirs.status) << body << "\n" << theirs.body << "\n" << reply.body;
  }
  EXPECT_EQ(HttpGet(ours.client_address(0), "/v3/kv/range").status,
            HttpGet(etcd.client_address(0), "/v3/kv/range").status);
}

TEST(Json, StreamsAreLines) {
  if (ProductUnderTest() == Product::kEtcd) GTEST_SKIP() << "compared by hand";
  Cluster cluster({.size = 1});
  cluster.StartAll();
  ASSERT_EQ(cluster.WaitForLeader(), 0);
  RawConnection connection(cluster.client_address(0));
  const std::string body = R"({"create_request":{"key":"aw==","prev_kv":true}})";
  connection.Send(absl::StrCat(
      "POST /v3/watch HTTP/1.1\r\nHost: x\r\nContent-Length: ", body.size(), "\r\n\r\n", body));
  const auto lines = [&] { return connection.ReadUntil("\n\r\n"); };
  EXPECT_THAT(lines(), HasSubstr("\"created\":true}}\n"));
  ASSERT_TRUE(cluster.Put(0, "k", "v").ok());
  EXPECT_THAT(lines(), HasSubstr(R"("events":[{"kv":{"key":"aw==","create_revision":"2",)"));
  // A stream that ends with its requests.
  EXPECT_EQ(
      Http(cluster.client_address(0), "POST", "/v3/lease/grant", R"({"ID":5,"TTL":600})").status,
      200);
  const HttpReply kept =
      Http(cluster.client_address(0), "POST", "/v3/lease/keepalive", R"({"ID":5})");
  EXPECT_THAT(kept.body, testing::EndsWith("\"ID\":\"5\",\"TTL\":\"600\"}}\n"));
}

}  // namespace
}  // namespace raftkv::e2e
