// The client API beyond keys and values: methods that are not implemented yet, limits, health,
// status and headers. (tests/compat checks that KV answers like etcd.)

#include <gmock/gmock.h>
#include <grpcpp/generic/generic_stub.h>
#include <gtest/gtest.h>

#include <future>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "proto/etcd/v3election.grpc.pb.h"
#include "proto/etcd/v3lock.grpc.pb.h"
#include "tests/e2e/cluster.h"

namespace raftkv::e2e {
namespace {

using etcdserverpb::KV;
using testing::HasSubstr;

class Wire : public testing::Test {
 protected:
  void SetUp() override {
    cluster_.StartAll();
    leader_ = cluster_.WaitForLeader();
    ASSERT_GE(leader_, 0);
  }

  // Sends an empty request, whatever the method's type.
  grpc::Status CallByName(Connection& connection, const std::string& method) {
    grpc::GenericStub stub(connection.channel);
    const grpc::Slice nothing;
    grpc::ByteBuffer request(&nothing, 1), response;
    auto context = MakeContext(absl::Seconds(5));
    std::promise<grpc::Status> status;
    stub.UnaryCall(context.get(), method, grpc::StubOptions(), &request, &response,
                   [&](grpc::Status s) { status.set_value(std::move(s)); });
    return status.get_future().get();
  }

  Cluster cluster_{ClusterOptions()};
  int leader_ = -1;
};

std::vector<std::string> MethodsOf(const google::protobuf::FileDescriptor* file) {
  std::vector<std::string> methods;
  for (int i = 0; i < file->service_count(); ++i) {
    const auto* service = file->service(i);
    for (int j = 0; j < service->method_count(); ++j) {
      methods.push_back(absl::StrCat("/", service->full_name(), "/", service->method(j)->name()));
    }
  }
  return methods;
}

TEST_F(Wire, OtherMethodsAreUnimplemented) {
  if (ProductUnderTest() == Product::kEtcd) GTEST_SKIP() << "etcd has them all";
  std::set<std::string> served = {"/etcdserverpb.KV/Range",
                                  "/etcdserverpb.KV/Put",
                                  "/etcdserverpb.KV/DeleteRange",
                                  "/etcdserverpb.KV/Txn",
                                  "/etcdserverpb.KV/Compact",
                                  "/etcdserverpb.KV/RangeStream",
                                  "/etcdserverpb.Cluster/MemberList",
                                  "/etcdserverpb.Cluster/MemberAdd",
                                  "/etcdserverpb.Cluster/MemberRemove",
                                  "/etcdserverpb.Cluster/MemberUpdate",
                                  "/etcdserverpb.Cluster/MemberPromote",
                                  "/etcdserverpb.Maintenance/Status",
                                  "/etcdserverpb.Maintenance/Hash",
                                  "/etcdserverpb.Maintenance/HashKV",
                                  "/etcdserverpb.Maintenance/Defragment",
                                  "/etcdserverpb.Maintenance/MoveLeader",
                                  "/etcdserverpb.Maintenance/Alarm",
                                  "/etcdserverpb.Maintenance/Snapshot",
                                  "/etcdserverpb.Lease/LeaseGrant",
                                  "/etcdserverpb.Lease/LeaseRevoke",
                                  "/etcdserverpb.Lease/LeaseKeepAlive",
                                  "/etcdserverpb.Lease/LeaseTimeToLive",
                                  "/etcdserverpb.Lease/LeaseLeases",
                                  "/etcdserverpb.Watch/Watch"};
  std::vector<std::string> methods = MethodsOf(etcdserverpb::RangeRequest::descriptor()->file());
  for (const auto* file : {v3lockpb::LockRequest::descriptor()->file(),
                           v3electionpb::CampaignRequest::descriptor()->file()}) {
    for (const std::string& method : MethodsOf(file)) served.insert(method);
  }
  methods.push_back("/etcdserverpb.KV/NoSuchMethod");
  methods.push_back("/no.such.Service/Method");
  methods.push_back("/raftkv.proto.Raft/RequestVote");  // only for peers, not on the client port
  ASSERT_GT(methods.size(), 35u);
  for (const std::string& method : methods) {
    if (served.count(method) != 0) continue;
    const grpc::Status status = CallByName(cluster_.connection(0), method);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::UNIMPLEMENTED) << method;
    EXPECT_EQ(status.error_message(), "etcdserver: raftkv does not serve " + method + " yet");
  }
  Connection peer_port(cluster_.peer_address(0));
  ASSERT_TRUE(peer_port.Ready());
  for (const std::string& method : served) {
    EXPECT_EQ(CallByName(peer_port, method).error_code(), grpc::StatusCode::UNIMPLEMENTED)
        << method;
  }
}

TEST_F(Wire, HashKVReportsTheCompactedRevision) {
  using etcdserverpb::Maintenance;
  Connection& connection = cluster_.connection(leader_);
  ASSERT_TRUE(Put(connection, "k", "1").ok());
  ASSERT_TRUE(Put(connection, "k", "2").ok());
  const auto compacted = [&] {
    const auto reply = Call(connection, *connection.maintenance, &Maintenance::Stub::HashKV,
                            etcdserverpb::HashKVRequest());
    EXPECT_TRUE(reply.ok()) << reply.status.error_message();
    return reply.response.compact_revision();
  };
  EXPECT_EQ(compacted(), -1) << "etcd's value for a store that was never compacted";
  for (const int64_t revision : {0, 2}) {
    etcdserverpb::CompactionRequest request;
    request.set_revision(revision);
    ASSERT_TRUE(Call(connection, *connection.kv, &KV::Stub::Compact, request).ok());
    EXPECT_EQ(compacted(), revision);
  }
}

TEST_F(Wire, OversizedRequestsAreRejectedWithEtcdsMessages) {
  Connection& connection = cluster_.connection(0);
  EXPECT_TRUE(Put(connection, "k", std::string(1500 * 1024, 'x')).ok());
  const auto large = Put(connection, "k", std::string(1600 * 1024, 'x'));
  EXPECT_EQ(large.status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(large.status.error_message(), "etcdserver: request is too large");
  const auto huge = Put(connection, "k", std::string(3 << 20, 'x'));
  EXPECT_EQ(huge.status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_TRUE(Put(connection, "k", "still served").ok());
}

TEST_F(Wire, HealthCheckServesOnlyTheWholeServer) {
  using grpc::health::v1::HealthCheckRequest;
  using grpc::health::v1::HealthCheckResponse;
  Connection& connection = cluster_.connection(0);
  HealthCheckRequest request;
  EXPECT_TRUE(Eventually(absl::Seconds(20), [&] {  // once this member knows the leader
    const auto reply =
        Call(connection, *connection.health, &grpc::health::v1::Health::Stub::Check, request);
    return reply.ok() && reply.response.status() == HealthCheckResponse::SERVING;
  }));
  request.set_service("no.such.Service");
  EXPECT_EQ(Call(connection, *connection.health, &grpc::health::v1::Health::Stub::Check, request)
                .status.error_code(),
            grpc::StatusCode::NOT_FOUND);
}

TEST_F(Wire, HealthListsTheWholeServer) {
  using grpc::health::v1::Health;
  using grpc::health::v1::HealthCheckResponse;
  Connection& connection = cluster_.connection(0);
  const auto reply = Call(connection, *connection.health, &Health::Stub::List,
                          grpc::health::v1::HealthListRequest());
  ASSERT_TRUE(reply.ok()) << reply.status.error_message();
  ASSERT_EQ(reply.response.statuses().count(""), 1);
  EXPECT_EQ(reply.response.statuses().at("").status(), HealthCheckResponse::SERVING);
}

// etcdctl endpoint health asks each member for its alarms.
TEST_F(Wire, ThereAreNoAlarms) {
  using etcdserverpb::AlarmRequest;
  AlarmRequest request;
  for (const auto action : {AlarmRequest::GET, AlarmRequest::DEACTIVATE}) {
    request.set_action(action);
    for (int i = 0; i < 3; ++i) {
      Connection& connection = cluster_.connection(i);
      const auto reply = Call(connection, *connection.maintenance,
                              &etcdserverpb::Maintenance::Stub::Alarm, request);
      ASSERT_TRUE(reply.ok()) << reply.status.error_message();
      EXPECT_EQ(reply.response.alarms_size(), 0);
      EXPECT_EQ(reply.response.header().revision(), 1);
      EXPECT_NE(reply.response.header().raft_term(), 0);
    }
  }
  request.set_action(AlarmRequest::ACTIVATE);  // of no type
  const auto reply = Call(cluster_.connection(0), *cluster_.connection(0).maintenance,
                          &etcdserverpb::Maintenance::Stub::Alarm, request);
  EXPECT_TRUE(reply.ok());
  EXPECT_EQ(reply.response.alarms_size(), 0);
}

// Tokens of proxies and tracing can be long. One value may have 64 KiB.
TEST_F(Wire, MetadataMayHaveAMegabyte) {
  const auto with = [&](int values, size_t bytes) {
    auto context = MakeContext(absl::Seconds(20));
    for (int i = 0; i < values; ++i) {
      context->AddMetadata(absl::StrCat("x-token-", i), std::string(bytes, 't'));
    }
    etcdserverpb::RangeResponse response;
    return cluster_.connection(0).kv->Range(context.get(), GetRequest("k"), &response);
  };
  for (const int values : {1, 2, 17}) {
    const grpc::Status status = with(values, 60'000);
    EXPECT_TRUE(status.ok()) << values << ": " << status.error_message();
  }
  EXPECT_EQ(with(18, 60'000).error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_TRUE(with(1, 1).ok());
}

TEST_F(Wire, HealthCanBeWatchedUntilTheMemberStops) {
  if (ProductUnderTest() == Product::kEtcd) GTEST_SKIP() << "etcd sends it only at its start";
  using grpc::health::v1::HealthCheckRequest;
  using grpc::health::v1::HealthCheckResponse;
  Connection& connection = cluster_.connection(leader_);
  HealthCheckRequest request, unknown;
  unknown.set_service("no.such.Service");
  const auto context = MakeContext(absl::Seconds(60)), other_context = MakeContext();
  const auto watch = connection.health->Watch(context.get(), request);
  HealthCheckResponse response;
  ASSERT_TRUE(watch->Read(&response));
  EXPECT_EQ(response.status(), HealthCheckResponse::SERVING);
  const auto other = connection.health->Watch(other_context.get(), unknown);
  ASSERT_TRUE(other->Read(&response));
  EXPECT_EQ(response.status(), HealthCheckResponse::SERVICE_UNKNOWN);
  other_context->TryCancel();
  std::vector<std::unique_ptr<grpc::ClientContext>> contexts;
  std::vector<std::unique_ptr<grpc::ClientReader<HealthCheckResponse>>> watches;
  for (int i = 0; i < 99; ++i) {
    contexts.push_back(MakeContext(absl::Seconds(60)));
    watches.push_back(connection.health->Watch(contexts.back().get(), request));
  }
  for (int i = 0; i < 99; ++i) {
    ASSERT_TRUE(watches[i]->Read(&response));
    EXPECT_EQ(response.status(), HealthCheckResponse::SERVING);
    if (i % 3 == 0) contexts[i]->TryCancel();
  }

  cluster_.Kill((leader_ + 1) % 3);
  cluster_.Kill((leader_ + 2) % 3);
  ASSERT_TRUE(watch->Read(&response));
  EXPECT_EQ(response.status(), HealthCheckResponse::NOT_SERVING);
  for (size_t i = 0; i < watches.size(); ++i) {
    if (i % 3 == 0) continue;
    ASSERT_TRUE(watches[i]->Read(&response)) << i;
    EXPECT_EQ(response.status(), HealthCheckResponse::NOT_SERVING) << i;
  }
  EXPECT_EQ(cluster_.Terminate(leader_), 0);
  for (auto& each : watches) EXPECT_FALSE(each->Finish().ok());
  EXPECT_FALSE(watch->Read(&response));
  EXPECT_FALSE(watch->Finish().ok());
}

TEST_F(Wire, EveryMemberAnswersEverythingWithItsOwnHeader) {
  std::set<uint64_t> members;
  uint64_t cluster_id = 0;
  for (int i = 0; i < 3; ++i) {
    const auto put = cluster_.Put(i, "k", absl::StrCat(i));
    ASSERT_TRUE(put.ok()) << put.status.error_message();
    EXPECT_EQ(put.response.header().revision(), 2 + i);
    for (int j = 0; j < 3; ++j) {
      const auto get = cluster_.Get(j, "k");
      ASSERT_TRUE(get.ok()) << get.status.error_message();
      EXPECT_EQ(get.response.header().revision(), 2 + i);
      EXPECT_EQ(get.response.kvs(0).value(), absl::StrCat(i));
    }
    const etcdserverpb::ResponseHeader& header = put.response.header();
    members.insert(header.member_id());
    if (cluster_id == 0) cluster_id = header.cluster_id();
    EXPECT_EQ(header.cluster_id(), cluster_id);
    EXPECT_GT(header.raft_term(), 0u);
  }
  EXPECT_EQ(members.size(), 3u);

  Connection& connection = cluster_.connection(1);
  const auto list = Call(connection, *connection.cluster, &etcdserverpb::Cluster::Stub::MemberList,
                         etcdserverpb::MemberListRequest());
  ASSERT_TRUE(list.ok());
  std::vector<std::string> names;
  uint64_t last = 0;
  for (const etcdserverpb::Member& member : list.response.members()) {
    EXPECT_GT(member.id(), last);
    last = member.id();
    EXPECT_EQ(members.count(member.id()), 1u);
    names.push_back(member.name());
  }
  EXPECT_THAT(names, testing::UnorderedElementsAre("n1", "n2", "n3"));
}

TEST_F(Wire, StatusHasTheFieldsOfEtcds) {
  ASSERT_TRUE(cluster_.Put(0, "k", "v").ok());
  ASSERT_TRUE(cluster_.MembersAreEqual());
  for (int i = 0; i < 3; ++i) {
    const auto status = cluster_.Status(i);
    ASSERT_TRUE(status.ok());
    const etcdserverpb::StatusResponse& response = status.response;
    EXPECT_EQ(response.leader() == response.header().member_id(), i == leader_);
    EXPECT_THAT(response.version(), HasSubstr("3."));
    EXPECT_GT(response.dbsize(), 0);
    EXPECT_GT(response.raftappliedindex(), 0u);
    EXPECT_GE(response.raftindex(), response.raftappliedindex());
    EXPECT_EQ(response.raftterm(), response.header().raft_term());
    EXPECT_EQ(response.errors_size(), 0);
    EXPECT_FALSE(response.islearner());
  }
  cluster_.Kill((leader_ + 1) % 3);
  cluster_.Kill((leader_ + 2) % 3);
  (void)cluster_.Put(leader_, "k", "in the log, not committed", absl::Seconds(1));
  ASSERT_TRUE(Eventually(absl::Seconds(20),
                         [&] { return cluster_.Status(leader_).response.leader() == 0; }));
  const auto alone = cluster_.Status(leader_).response;
  EXPECT_EQ(alone.raftindex(), alone.raftappliedindex()) << "the committed index";
  const auto errors = [&] { return cluster_.Status(leader_).response.errors(); };
  ASSERT_GE(errors().size(), 1);
  EXPECT_EQ(errors()[0], "etcdserver: no leader");
  if (ProductUnderTest() == Product::kEtcd) return;
  EXPECT_TRUE(Eventually(absl::Seconds(20), [&] {
    return absl::StartsWith(errors()[1], "1 of 3 voting members answer, and a leader needs 2 (no ");
  })) << errors()[1];
}

// A client may require a leader by metadata. Then its calls fail at once if there is none.
TEST_F(Wire, HasLeaderMetadataFailsAtOnceWithoutALeader) {
  cluster_.Kill((leader_ + 1) % 3);
  cluster_.Kill((leader_ + 2) % 3);
  ASSERT_TRUE(Eventually(absl::Seconds(20),
                         [&] { return cluster_.Status(leader_).response.leader() == 0; }));
  auto context = MakeContext(absl::Seconds(3));  // less than the request timeout
  context->AddMetadata("hasleader", "true");
  etcdserverpb::RangeResponse response;
  const grpc::Status status =
      cluster_.connection(leader_).kv->Range(context.get(), GetRequest("k"), &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(status.error_message(), "etcdserver: no leader");
}

}  // namespace
}  // namespace raftkv::e2e
