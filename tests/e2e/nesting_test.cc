// Deeply nested requests. A member accepts them up to a limit. Every entry in the log must be
// readable on every member, also after a restart.

#include <google/protobuf/unknown_field_set.h>
#include <gtest/gtest.h>

#include "storage/mvcc/check.h"
#include "tests/e2e/cluster.h"

namespace raftkv::e2e {
namespace {

using etcdserverpb::KV;

// The deepest nesting that gRPC parses.
constexpr int kDepthMax = 100;

// Adds an unknown field to `message`, which protobuf keeps. The field has nested groups down to
// `depth`; `message` itself is at depth `at`.
template <typename Message>
void NestTo(int depth, int at, Message* message) {
  auto* fields = message->GetReflection()->MutableUnknownFields(message);
  for (; at < depth; ++at) fields = fields->AddGroup(15);
}

// A put inside `levels` nested transactions.
etcdserverpb::TxnRequest TxnOf(int levels, int depth) {
  etcdserverpb::TxnRequest request;
  etcdserverpb::RequestOp* op = request.add_success();
  for (int level = 1; level < levels; ++level) op = op->mutable_request_txn()->add_success();
  op->mutable_request_put()->set_key("in a transaction");
  NestTo(depth, 2 * levels, op->mutable_request_put());
  return request;
}

class Nesting : public testing::Test {
 protected:
  void SetUp() override {
    if (ProductUnderTest() == Product::kEtcd) GTEST_SKIP() << "etcd's parser has other limits";
    cluster_.StartAll();
    leader_ = cluster_.WaitForLeader();
    ASSERT_GE(leader_, 0);
  }

  // Sends each kind of write once: put, delete, transaction, compaction.
  void WriteAll(int through, int depth) {
    SCOPED_TRACE(testing::Message()
                 << "depth " << depth << " through " << through << ", leader is " << leader_);
    Connection& connection = cluster_.connection(through);
    etcdserverpb::PutRequest put;
    put.set_key("k");
    NestTo(depth, 0, &put);
    const auto put_reply = Call(connection, *connection.kv, &KV::Stub::Put, put);
    EXPECT_TRUE(put_reply.ok()) << put_reply.status.error_message();
    etcdserverpb::DeleteRangeRequest erase;
    erase.set_key("k");
    NestTo(depth, 0, &erase);
    const auto erase_reply = Call(connection, *connection.kv, &KV::Stub::DeleteRange, erase);
    EXPECT_TRUE(erase_reply.ok()) << erase_reply.status.error_message();
    EXPECT_EQ(erase_reply.response.deleted(), 1);
    for (int levels : {1, mvcc::kTxnDepthMax}) {
      const auto reply = Call(connection, *connection.kv, &KV::Stub::Txn, TxnOf(levels, depth));
      EXPECT_TRUE(reply.ok()) << levels << ": " << reply.status.error_message();
    }
    etcdserverpb::CompactionRequest compaction;
    compaction.set_revision(put_reply.response.header().revision());
    NestTo(depth, 0, &compaction);
    const auto compaction_reply = Call(connection, *connection.kv, &KV::Stub::Compact, compaction);
    EXPECT_TRUE(compaction_reply.ok()) << compaction_reply.status.error_message();
  }

  void ExpectAllServe() {
    for (int i = 0; i < cluster_.size(); ++i) {
      EXPECT_TRUE(cluster_.Running(i)) << cluster_.log(i);
      EXPECT_TRUE(Eventually(absl::Seconds(20), [&] { return cluster_.Put(i, "k", "v").ok(); }));
    }
    EXPECT_TRUE(cluster_.MembersAreEqual());
  }

  Cluster cluster_{ClusterOptions()};
  int leader_ = -1;
};

TEST_F(Nesting, AcceptedRequestsAreAppliedEverywhereAndAfterARestart) {
  for (int through : {leader_, (leader_ + 1) % 3}) {
    for (int depth : {0, kDepthMax - 1, kDepthMax}) WriteAll(through, depth);
  }
  ExpectAllServe();
  for (int i = 0; i < cluster_.size(); ++i) EXPECT_EQ(cluster_.Terminate(i), 0) << cluster_.log(i);
  cluster_.StartAll();
  ExpectAllServe();
}

TEST_F(Nesting, DeeperRequestsAreRejectedWithoutHarm) {
  for (int through : {leader_, (leader_ + 1) % 3}) {
    Connection& connection = cluster_.connection(through);
    etcdserverpb::PutRequest put;
    put.set_key("too deep");
    NestTo(kDepthMax + 1, 0, &put);
    EXPECT_FALSE(Call(connection, *connection.kv, &KV::Stub::Put, put).ok());
    const auto reply = Call(connection, *connection.kv, &KV::Stub::Txn,
                            TxnOf(mvcc::kTxnDepthMax + 1, /*depth=*/0));
    EXPECT_EQ(reply.status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    EXPECT_EQ(reply.status.error_message(), "etcdserver: too many operations in txn request");
    EXPECT_EQ(cluster_.Get(through, "too deep").response.count(), 0);
  }
  ExpectAllServe();
}

}  // namespace
}  // namespace raftkv::e2e
