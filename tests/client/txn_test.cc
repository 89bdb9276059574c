// The client library's transactions, and its maintenance calls.
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include "client/raftkv.h"
#include "tests/client/fake_server.h"

namespace raftkv::client {
namespace {

using Wire = etcdserverpb::Compare;

class Txn : public testing::Test {
 protected:
  Txn() : client_(Client::Connect({.endpoints = {server_.address()}}).value()) {}

  // Returns the request that the server received.
  const etcdserverpb::TxnRequest& Sent(const Transaction& transaction) {
    const auto result = client_->Txn(transaction);
    EXPECT_TRUE(result.ok()) << result.status();
    return server_.txn_request;
  }

  FakeServer server_;
  std::unique_ptr<Client> client_;
};

TEST_F(Txn, ConditionsReachTheWire) {
  const auto& sent = Sent({.when = {Version("a") == 1, CreateRevision("b") != 2,
                                    ModRevision("c") < 3, Lease("d") > 4, Value("e") == "five"}});
  ASSERT_EQ(sent.compare_size(), 5);
  EXPECT_EQ(sent.compare(0).ShortDebugString(), "key: \"a\" version: 1");
  EXPECT_EQ(sent.compare(1).ShortDebugString(),
            "result: NOT_EQUAL target: CREATE key: \"b\" create_revision: 2");
  EXPECT_EQ(sent.compare(2).ShortDebugString(),
            "result: LESS target: MOD key: \"c\" mod_revision: 3");
  EXPECT_EQ(sent.compare(3).ShortDebugString(),
            "result: GREATER target: LEASE key: \"d\" lease: 4");
  EXPECT_EQ(sent.compare(4).ShortDebugString(), "target: VALUE key: \"e\" value: \"five\"");
}

TEST_F(Txn, EveryRelationOfAValue) {
  const auto& sent = Sent({.when = {Value("k") == "v", Value("k") != "v", Value("k") < "v",
                                    Value("k") > "v", Version("k") != 0, Version("k") == 0}});
  ASSERT_EQ(sent.compare_size(), 6);
  EXPECT_EQ(sent.compare(0).result(), Wire::EQUAL);
  EXPECT_EQ(sent.compare(1).result(), Wire::NOT_EQUAL);
  EXPECT_EQ(sent.compare(2).result(), Wire::LESS);
  EXPECT_EQ(sent.compare(3).result(), Wire::GREATER);
  EXPECT_EQ(sent.compare(4).result(), Wire::NOT_EQUAL);
  EXPECT_EQ(sent.compare(5).result(), Wire::EQUAL);
}

TEST_F(Txn, AConditionMayBeAboutARange) {
  const auto& sent = Sent({.when = {ModRevision(Keys::Prefix("jobs/")) < 7}});
  EXPECT_EQ(sent.compare(0).key(), "jobs/");
  EXPECT_EQ(sent.compare(0).range_end(), "jobs0");
}

TEST_F(Txn, OperationsReachTheWire) {
  const auto& sent =
      Sent({.then = {Op::Put("a", "1", {.prev_kv = true, .lease = 9}), Op::Get("b", {.limit = 2})},
            .otherwise = {Op::Delete(Keys::Prefix("c"), {.prev_kv = true})}});
  ASSERT_EQ(sent.success_size(), 2);
  EXPECT_EQ(sent.success(0).ShortDebugString(),
            "request_put { key: \"a\" value: \"1\" lease: 9 prev_kv: true }");
  EXPECT_EQ(sent.success(1).ShortDebugString(), "request_range { key: \"b\" limit: 2 }");
  ASSERT_EQ(sent.failure_size(), 1);
  EXPECT_EQ(sent.failure(0).ShortDebugString(),
            "request_delete_range { key: \"c\" range_end: \"d\" prev_kv: true }");
}

TEST_F(Txn, TransactionsNest) {
  const Transaction inner = {.when = {Version("k") == 0}, .then = {Op::Put("k", "v")}};
  const auto& sent = Sent({.then = {Op::Txn(inner), Op::Txn(inner)}});
  ASSERT_EQ(sent.success_size(), 2);
  EXPECT_EQ(sent.success(1).ShortDebugString(),
            "request_txn { compare { key: \"k\" version: 0 } "
            "success { request_put { key: \"k\" value: \"v\" } } }");
}

TEST_F(Txn, ResultsAreTyped) {
  auto& response = server_.txn_response;
  response.mutable_header()->set_revision(12);
  response.set_succeeded(true);
  response.add_responses()->mutable_response_put()->mutable_prev_kv()->set_value("old");
  response.add_responses()->mutable_response_range()->add_kvs()->set_value("now");
  response.add_responses()->mutable_response_delete_range()->set_deleted(3);
  auto* nested = response.add_responses()->mutable_response_txn();
  nested->add_responses()->mutable_response_range()->set_count(4);

  const auto result = client_->Txn({});
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->header.revision, 12);
  EXPECT_TRUE(result->succeeded);
  ASSERT_EQ(result->results.size(), 4u);
  EXPECT_EQ(std::get<PutResult>(result->results[0]).prev_kv->value, "old");
  EXPECT_EQ(std::get<RangeResult>(result->results[1]).kvs.at(0).value, "now");
  EXPECT_EQ(std::get<DeleteResult>(result->results[2]).deleted, 3);
  const auto& inner = std::get<TxnResult>(result->results[3]);
  EXPECT_FALSE(inner.succeeded);
  EXPECT_EQ(std::get<RangeResult>(inner.results.at(0)).count, 4);
}

// The first server has just lost its leader; the second one works.
class TxnRetry : public testing::Test {
 protected:
  TxnRetry() : client_(Client::Connect({.endpoints = {bad_.address(), good_.address()}}).value()) {
    bad_.before = [](grpc::ServerContext*) {
      return grpc::Status(grpc::StatusCode::UNAVAILABLE, "etcdserver: leader changed");
    };
  }

  FakeServer bad_, good_;
  std::unique_ptr<Client> client_;
};

TEST_F(TxnRetry, ATxnThatOnlyReadsMovesOn) {
  const Transaction reads = {.when = {Version("k") == 0}, .otherwise = {Op::Get("k")}};
  EXPECT_TRUE(client_->Txn({.when = reads.when, .then = {Op::Get("a"), Op::Txn(reads)}}).ok());
  EXPECT_EQ(bad_.calls, 1);
  EXPECT_EQ(good_.calls, 1);
}

TEST_F(TxnRetry, ATxnThatMayWriteIsNeverRepeated) {
  const auto put = client_->Txn({.then = {Op::Get("k")}, .otherwise = {Op::Put("k", "v")}});
  EXPECT_TRUE(OutcomeUnknown(put.status())) << put.status();
  EXPECT_EQ(good_.calls, 0);
}

TEST_F(TxnRetry, ADeleteInANestedTxnIsAWrite) {
  const auto gone = client_->Txn({.then = {Op::Txn({.otherwise = {Op::Delete("k")}})}});
  EXPECT_TRUE(OutcomeUnknown(gone.status())) << gone.status();
  EXPECT_EQ(good_.calls, 0);
}

TEST_F(TxnRetry, CompactingIsAWrite) {
  EXPECT_TRUE(OutcomeUnknown(client_->Compact(5).status()));
  EXPECT_EQ(good_.calls, 0);
}

TEST_F(TxnRetry, HashingMovesOn) {
  EXPECT_TRUE(client_->HashKv().ok());
  EXPECT_EQ(good_.calls, 1);
}

TEST(Maintenance, CompactSendsItsRevision) {
  FakeServer server;
  server.compaction_response.mutable_header()->set_revision(8);
  const auto client = Client::Connect({.endpoints = {server.address()}}).value();
  const auto result = client->Compact(5, /*physical=*/true);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->header.revision, 8);
  EXPECT_EQ(server.compaction_request.revision(), 5);
  EXPECT_TRUE(server.compaction_request.physical());
}

TEST(Maintenance, HashKvCarriesEveryField) {
  FakeServer server;
  server.hash_response.set_hash(4000000000);
  server.hash_response.set_compact_revision(5);
  server.hash_response.set_hash_revision(6);
  const auto client = Client::Connect({.endpoints = {server.address()}}).value();
  const auto result = client->HashKv(7);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(server.hash_request.revision(), 7);
  EXPECT_EQ(result->hash, 4000000000u);
  EXPECT_EQ(result->compact_revision, 5);
  EXPECT_EQ(result->hash_revision, 6);
}

TEST(Maintenance, DefragmentReturnsTheServersError) {
  FakeServer server;
  const auto client = Client::Connect({.endpoints = {server.address()}}).value();
  EXPECT_TRUE(client->Defragment().ok());
  server.before = [](grpc::ServerContext*) {
    return grpc::Status(grpc::StatusCode::PERMISSION_DENIED, "etcdserver: permission denied");
  };
  EXPECT_EQ(client->Defragment(), absl::PermissionDeniedError("etcdserver: permission denied"));
}

}  // namespace
}  // namespace raftkv::client
