// The JSON gateway's paths of the services Lock, Election, Cluster, Lease and Maintenance. All
// tests also run against Debian's etcd.

#include <gmock/gmock.h>
#include <google/protobuf/util/json_util.h>
#include <gtest/gtest.h>

#include <optional>
#include <regex>
#include <string>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "tests/e2e/cluster.h"
#include "tests/e2e/http_client.h"
#include "tests/e2e/raw_http2.h"

namespace raftkv::e2e {
namespace {

using testing::EndsWith;
using testing::HasSubstr;

constexpr absl::Duration kLong = absl::Seconds(20);
constexpr int kOk = 200;

// A request that is answered later, on a connection of its own.
class Pending {
 public:
  Pending(const std::string& address, const std::string& path, const std::string& body)
      : connection_(address) {
    connection_.Send(absl::StrCat("POST ", path, " HTTP/1.1\r\nHost: x\r\nContent-Length: ",
                                  body.size(), "\r\nConnection: close\r\n\r\n", body));
  }
  HttpReply Answer() { return ParseReply(connection_.ReadAll()); }
  // Of a stream: returns what arrives up to the end of the next line.
  std::string Line() { return connection_.ReadUntil("\n\r\n"); }

 private:
  RawConnection connection_;
};

class JsonServices : public testing::TestWithParam<Product> {
 protected:
  void SetUp() override {
    if (GetParam() == Product::kEtcd) {
      ASSERT_NE(EtcdProgram(), "");
    }
    cluster_.emplace(ClusterOptions{.product = GetParam(), .size = 1});
    cluster_->StartAll();
    ASSERT_EQ(cluster_->WaitForLeader(), 0);
    // Just after the start, a member may not have agreed on the newest cluster version.
    for (const char* lease : {"77", "78"}) {
      const std::string body = absl::StrCat(R"({"ID":")", lease, R"(","TTL":"600"})");
      ASSERT_TRUE(Eventually(kLong, [&] { return Send("/v3/lease/grant", body).status == kOk; }));
    }
  }

  const std::string address() const { return cluster_->client_address(0); }
  HttpReply Send(const std::string& path, const std::string& body) const {
    return Http(address(), "POST", path, body);
  }
  // The answer of a request that succeeds.
  std::string Post(const std::string& path, const std::string& body) const {
    const HttpReply reply = Send(path, body);
    EXPECT_EQ(reply.status, kOk) << path << " " << body << "\n" << reply.body;
    return CommonJson(reply.body);
  }
  // The same, read by protobuf's own parser of JSON.
  template <typename Response>
  Response PostFor(const std::string& path, const std::string& body) const {
    Response response;
    const std::string json = Post(path, body);
    EXPECT_TRUE(google::protobuf::util::JsonStringToMessage(json, &response).ok()) << json;
    return response;
  }
  // The HTTP status of a request that fails, and the text of its error. The tests compare statuses
  // only where etcd 3.4 has the same: it maps some codes of gRPC differently from later releases.
  std::string Error(const std::string& path, const std::string& body) const {
    const HttpReply reply = Send(path, body);
    std::smatch text;
    static const std::regex kError(R"re("error":"((?:[^"\\]|\\.)*)")re");
    EXPECT_TRUE(std::regex_search(reply.body, text, kError)) << reply.body;
    return absl::StrCat(reply.status, " ", text[1].str());
  }
  bool EventuallyCandidates(const std::string& name, int64_t number) const {
    return Eventually(kLong, [&] {
      etcdserverpb::RangeRequest request = GetRequest(name + "/");
      request.set_range_end(name + "0");
      const auto reply = Range(cluster_->connection(0), request);
      return reply.ok() && reply.response.count() == number;
    });
  }

  mutable std::optional<Cluster> cluster_;
};

std::string Base64(const std::string& text) { return absl::Base64Escape(text); }

TEST_P(JsonServices, LocksExcludeEachOther) {
  const std::string lock = "/v3/lock/lock", unlock = "/v3/lock/unlock";
  const auto body = [](int lease) {
    return absl::StrCat(R"({"name":")", Base64("jobs"), R"(","lease":")", lease, R"("})");
  };
  const std::string first = Base64("jobs/4d"), second = Base64("jobs/4e");
  EXPECT_EQ(Post(lock, body(77)),
            absl::StrCat(R"({"header":{"revision":"2"},"key":")", first, R"("})"));
  Pending waiter(address(), lock, body(78));
  ASSERT_TRUE(EventuallyCandidates("jobs", 2));
  EXPECT_EQ(Post(unlock, absl::StrCat(R"({"key":")", first, R"("})")),
            R"({"header":{"revision":"4"}})");
  const HttpReply locked = waiter.Answer();
  EXPECT_EQ(locked.status, kOk);
  EXPECT_THAT(locked.body, HasSubstr(absl::StrCat(R"(},"key":")", second, R"("})")));
  EXPECT_EQ(Post(unlock, absl::StrCat(R"({"key":")", second, R"("})")),
            R"({"header":{"revision":"5"}})");
  EXPECT_EQ(Post(unlock, absl::StrCat(R"({"key":")", second, R"("})")),
            R"({"header":{"revision":"5"}})")
      << "there is no such key any more";
  EXPECT_TRUE(EventuallyCandidates("jobs", 0));
  EXPECT_THAT(Error(lock, body(5)), EndsWith(" etcdserver: requested lease not found"));
}

TEST_P(JsonServices, LeadersAreElected) {
  const std::string campaign = "/v3/election/campaign", proclaim = "/v3/election/proclaim",
                    leader = "/v3/election/leader", resign = "/v3/election/resign";
  const std::string name = absl::StrCat(R"("name":")", Base64("chief"), R"(")");
  const auto candidacy = [&](int lease, const std::string& value) {
    return absl::StrCat("{", name, R"(,"lease":")", lease, R"(","value":")", Base64(value),
                        R"("})");
  };
  const auto key = [&](const std::string& lease, int created) {
    return absl::StrCat("{", name, R"(,"key":")", Base64("chief/" + lease), R"(","rev":")", created,
                        R"(","lease":")", lease == "4d" ? 77 : 78, R"("})");
  };
  const auto of = [](const std::string& who, const std::string& value) {
    return absl::StrCat(R"({"leader":)", who, R"(,"value":")", Base64(value), R"("})");
  };
  EXPECT_EQ(Error(leader, "{" + name + "}"), "500 election: no leader");

  const std::string first = key("4d", 2);
  EXPECT_EQ(Post(campaign, candidacy(77, "a")),
            absl::StrCat(R"({"header":{"revision":"2"},"leader":)", first, "}"));
  Pending observer(address(), "/v3/election/observe", "{" + name + "}");
  const std::string kv = absl::StrCat(R"("kv":{"key":")", Base64("chief/4d"), R"(",)");
  EXPECT_THAT(observer.Line(), HasSubstr(absl::StrCat(kv, R"("create_revision":"2",)",
                                                      R"("mod_revision":"2","version":"1",)",
                                                      R"("value":"YQ==","lease":"77"}}})")));
  EXPECT_EQ(Post(proclaim, of(first, "b")), R"({"header":{"revision":"3"}})");
  EXPECT_THAT(observer.Line(), HasSubstr(absl::StrCat(kv, R"("create_revision":"2",)",
                                                      R"("mod_revision":"3","version":"2",)",
                                                      R"("value":"Yg==","lease":"77"}}})")));
  EXPECT_EQ(Post(leader, "{" + name + "}"),
            absl::StrCat(R"({"header":{"revision":"3"},)", kv, R"("create_revision":"2",)",
                         R"("mod_revision":"3","version":"2","value":"Yg==","lease":"77"}})"));

  Pending waiter(address(), campaign, candidacy(78, "c"));
  ASSERT_TRUE(EventuallyCandidates("chief", 2));
  EXPECT_EQ(Post(resign, absl::StrCat(R"({"leader":)", first, "}")),
            R"({"header":{"revision":"5"}})");
  const std::string second = key("4e", 4);
  const HttpReply elected = waiter.Answer();
  EXPECT_EQ(elected.status, kOk);
  EXPECT_THAT(elected.body, HasSubstr(absl::StrCat(R"(},"leader":)", second, "}")));
  EXPECT_THAT(observer.Line(), HasSubstr(R"("value":"Yw==","lease":"78"}}})"));

  EXPECT_EQ(Error(proclaim, of(first, "late")), "500 election: not leader");
  EXPECT_EQ(Error(proclaim, R"({"value":"YQ=="})"), R"(500 \"leader\" field must be provided)");
  EXPECT_EQ(Post(resign, absl::StrCat(R"({"leader":)", first, "}")),
            R"({"header":{"revision":"5"}})")
      << "it leads no more, and nothing changes";
  EXPECT_EQ(Post(resign, absl::StrCat(R"({"leader":)", second, "}")),
            R"({"header":{"revision":"6"}})");
  EXPECT_EQ(Error(leader, "{" + name + "}"), "500 election: no leader");
  EXPECT_THAT(Error(campaign, candidacy(5, "x")),
              EndsWith(" etcdserver: requested lease not found"));
}

TEST_P(JsonServices, MembersAreListedAndChanged) {
  using etcdserverpb::MemberListResponse;
  const std::string path = "/v3/cluster/member/";
  const auto list = PostFor<MemberListResponse>(path + "list", "{}");
  ASSERT_EQ(list.members_size(), 1);
  const etcdserverpb::Member self = list.members(0);
  EXPECT_EQ(self.id(), cluster_->Status(0).response.header().member_id());
  EXPECT_EQ(self.name(), cluster_->name(0));
  EXPECT_THAT(self.peerurls(), testing::ElementsAre("http://" + cluster_->peer_address(0)));
  EXPECT_THAT(self.clienturls(), testing::ElementsAre("http://" + cluster_->client_address(0)));
  EXPECT_FALSE(self.islearner());

  const std::string url = "http://127.0.0.1:1", other = "http://127.0.0.1:2";
  const auto added = PostFor<etcdserverpb::MemberAddResponse>(
      path + "add", absl::StrCat(R"({"peerURLs":[")", url, R"("],"isLearner":true})"));
  EXPECT_NE(added.member().id(), 0);
  EXPECT_TRUE(added.member().islearner());
  EXPECT_THAT(added.member().peerurls(), testing::ElementsAre(url));
  EXPECT_EQ(added.members_size(), 2);
  const std::string id = absl::StrCat(R"("ID":")", added.member().id(), R"(")");
  // In etcd a second addition within the same second has the same id.
  EXPECT_THAT(Error(path + "add", absl::StrCat(R"({"peerURLs":[")", url, R"("]})")),
              testing::AnyOf(EndsWith(" etcdserver: Peer URLs already exists"),
                             EndsWith(" etcdserver: member ID already exist")));
  EXPECT_THAT(Error(path + "promote", "{" + id + "}"),
              EndsWith(" can only promote a learner member which is in sync with leader"));
  const auto updated = PostFor<etcdserverpb::MemberUpdateResponse>(
      path + "update", absl::StrCat("{", id, R"(,"peerURLs":[")", other, R"("]})"));
  ASSERT_EQ(updated.members_size(), 2);
  const int learner = updated.members(0).id() == added.member().id() ? 0 : 1;
  EXPECT_THAT(updated.members(learner).peerurls(), testing::ElementsAre(other));
  // etcd 3.4 forgets that it is a learner.
  EXPECT_EQ(updated.members(learner).islearner(), GetParam() == Product::kRaftkv);
  const auto removed = PostFor<etcdserverpb::MemberRemoveResponse>(path + "remove", "{" + id + "}");
  ASSERT_EQ(removed.members_size(), 1);
  EXPECT_EQ(removed.members(0).id(), self.id());
  EXPECT_EQ(PostFor<MemberListResponse>(path + "list", "{}").members_size(), 1);
  EXPECT_EQ(Error(path + "remove", R"({"ID":"7"})"), "404 etcdserver: member not found");
}

TEST_P(JsonServices, LeasesHaveOldAndNewPaths) {
  Post("/v3/kv/put", R"({"key":"aw==","value":"dg==","lease":"77"})");
  for (const char* path : {"/v3/lease/timetolive", "/v3/kv/lease/timetolive"}) {
    const auto left =
        PostFor<etcdserverpb::LeaseTimeToLiveResponse>(path, R"({"ID":"77","keys":true})");
    EXPECT_EQ(left.id(), 77) << path;
    EXPECT_EQ(left.grantedttl(), 600) << path;
    EXPECT_GT(left.ttl(), 0) << path;
    EXPECT_THAT(left.keys(), testing::ElementsAre("k")) << path;
  }
  for (const char* path : {"/v3/lease/leases", "/v3/kv/lease/leases"}) {
    const auto all = PostFor<etcdserverpb::LeaseLeasesResponse>(path, "{}");
    std::vector<int64_t> ids;
    for (const auto& lease : all.leases()) ids.push_back(lease.id());
    EXPECT_THAT(ids, testing::UnorderedElementsAre(77, 78)) << path;
  }
  EXPECT_EQ(Post("/v3/lease/revoke", R"({"ID":"77"})"), R"({"header":{"revision":"3"}})");
  EXPECT_EQ(Post("/v3/kv/lease/revoke", R"({"ID":"78"})"), R"({"header":{"revision":"3"}})");
  EXPECT_EQ(PostFor<etcdserverpb::LeaseLeasesResponse>("/v3/lease/leases", "{}").leases_size(), 0);
}

TEST_P(JsonServices, MaintenanceIsServed) {
  const std::string path = "/v3/maintenance/";
  const uint64_t self = cluster_->Status(0).response.header().member_id();
  Post("/v3/kv/put", R"({"key":"aw==","value":"dg=="})");
  const auto status = PostFor<etcdserverpb::StatusResponse>(path + "status", "{}");
  EXPECT_EQ(status.header().revision(), 2);
  EXPECT_EQ(status.leader(), self);
  EXPECT_NE(status.version(), "");
  EXPECT_GT(status.raftindex(), 0);

  const std::string alarm = absl::StrCat(R"("memberID":")", self, R"(","alarm":"NOSPACE")");
  EXPECT_THAT(Post(path + "alarm", absl::StrCat(R"({"action":"ACTIVATE",)", alarm, "}")),
              HasSubstr(absl::StrCat(R"("alarms":[{)", alarm, "}]")));
  EXPECT_THAT(Error("/v3/kv/put", R"({"key":"aw=="})"),
              HasSubstr("etcdserver: mvcc: database space exceeded"));
  EXPECT_EQ(PostFor<etcdserverpb::AlarmResponse>(path + "alarm", "{}").alarms_size(), 1);
  Post(path + "alarm", absl::StrCat(R"({"action":"DEACTIVATE",)", alarm, "}"));
  EXPECT_EQ(PostFor<etcdserverpb::AlarmResponse>(path + "alarm", "{}").alarms_size(), 0);

  if (GetParam() == Product::kRaftkv) {  // etcd 3.4 does not have the path
    const auto hash = PostFor<etcdserverpb::HashKVResponse>(path + "hashkv", "{}");
    EXPECT_NE(hash.hash(), 0);
    EXPECT_EQ(hash.hash(),
              PostFor<etcdserverpb::HashKVResponse>(path + "hashkv", R"({"revision":"2"})").hash());
  }
  EXPECT_NE(PostFor<etcdserverpb::HashResponse>(path + "hash", "{}").hash(), 0);
  Post(path + "defragment", "{}");
  EXPECT_THAT(Error(path + "transfer-leadership", R"({"targetID":"7"})"),
              HasSubstr("etcdserver: bad leader transferee"));
  // The pieces of a backup, each in a line. The last one says that nothing remains.
  const HttpReply snapshot = Send(path + "snapshot", "{}");
  EXPECT_EQ(snapshot.status, kOk);
  EXPECT_THAT(snapshot.body, testing::StartsWith(R"({"result":{)"));
  EXPECT_THAT(snapshot.body, HasSubstr(R"("blob":")"));
}

INSTANTIATE_TEST_SUITE_P(Of, JsonServices, testing::Values(Product::kRaftkv, Product::kEtcd),
                         [](const auto& info) {
                           return info.param == Product::kEtcd ? "etcd" : "raftkv";
                         });

}  // namespace
}  // namespace raftkv::e2e
