// KV.RangeStream as a client sees it: which fields each chunk has, errors, and what happens while
// the client reads slowly. tests/storage and tests/model test what the chunks contain.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "tests/e2e/cluster.h"

namespace raftkv::e2e {
namespace {

using etcdserverpb::RangeRequest;
using etcdserverpb::RangeResponse;
using etcdserverpb::RangeStreamResponse;
using grpc::StatusCode;

constexpr int kStoredKeys = 400;
constexpr size_t kStoredValueBytes =
    50'000;  // 20 MB in all: more than the client's library reads ahead

class RangeStreamTest : public testing::Test {
 protected:
  void SetUp() override {
    if (ProductUnderTest() == Product::kEtcd) GTEST_SKIP() << "etcd 3.4 has no RangeStream";
    cluster_.StartAll();
    leader_ = cluster_.WaitForLeader();
    ASSERT_GE(leader_, 0);
    for (int i = 0; i < kStoredKeys;) {
      etcdserverpb::TxnRequest txn;
      for (const int end = i + 20; i < end; ++i) {
        auto* put = txn.add_success()->mutable_request_put();
        put->set_key(Key(i));
        put->set_value(std::string(kStoredValueBytes, 'v'));
      }
      Connection& connection = cluster_.connection(leader_);
      const auto reply = e2e::Call(connection, *connection.kv, &etcdserverpb::KV::Stub::Txn, txn);
      ASSERT_TRUE(reply.ok()) << reply.status.error_message();
      revision_ = reply.response.header().revision();
    }
  }

  static std::string Key(int i) { return absl::StrFormat("k%03d", i); }

  struct Call {
    std::unique_ptr<grpc::ClientContext> context = MakeContext(absl::Seconds(60));
    std::unique_ptr<grpc::ClientReader<RangeStreamResponse>> reader;
  };
  Call Open(int member, const RangeRequest& request) {
    Call call;
    EXPECT_TRUE(cluster_.connection(member).Ready());
    call.reader = cluster_.connection(member).kv->RangeStream(call.context.get(), request);
    return call;
  }

  // The status of the whole stream; its chunks are merged into merged_.
  grpc::Status ReadAll(int member, const RangeRequest& request) {
    Call call = Open(member, request);
    return ReadRest(&call);
  }
  grpc::Status ReadRest(Call* call) {
    merged_.Clear();
    chunks_ = 0;
    largest_ = 0;
    bool ended = false;
    for (RangeStreamResponse chunk; call->reader->Read(&chunk); ++chunks_) {
      const RangeResponse& response = chunk.range_response();
      EXPECT_FALSE(std::exchange(ended, response.has_header())) << "nothing follows the header";
      if (!ended) EXPECT_TRUE(response.count() == 0 && !response.more());
      largest_ = std::max(largest_, chunk.ByteSizeLong());
      merged_.MergeFrom(response);
    }
    const grpc::Status status = call->reader->Finish();
    EXPECT_EQ(ended, status.ok());
    return status;
  }

  void ExpectAsRange(int member, const RangeRequest& request) {
    const grpc::Status status = ReadAll(member, request);
    ASSERT_TRUE(status.ok()) << status.error_message();
    const auto range = Range(cluster_.connection(member), request);
    EXPECT_EQ(merged_.SerializeAsString(), range.response.SerializeAsString())
        << request.ShortDebugString();
  }

  Cluster cluster_{ClusterOptions()};
  int leader_ = -1;
  int64_t revision_ = 0;
  RangeResponse merged_;
  int chunks_ = 0;
  size_t largest_ = 0;
};

TEST_F(RangeStreamTest, HasTheAnswerOfRangeInChunks) {
  RangeRequest request = EverythingRequest(0, /*serializable=*/false);
  ExpectAsRange(leader_, request);
  EXPECT_GT(chunks_, 12);
  EXPECT_LT(chunks_, 30);
  EXPECT_GT(largest_, 1'000'000u);
  EXPECT_LE(largest_, size_t{3} << 19);
  ExpectAsRange((leader_ + 1) % 3, request);
  request.set_limit(100);
  ExpectAsRange(leader_, request);
  EXPECT_TRUE(merged_.more());
  EXPECT_EQ(merged_.count(), kStoredKeys);
  request.set_revision(revision_ - 10);
  ExpectAsRange(leader_, request);
  EXPECT_EQ(merged_.count(), 200);
  request = EverythingRequest(0, /*serializable=*/true);
  request.set_keys_only(true);
  ExpectAsRange(leader_, request);
  request.set_count_only(true);
  ExpectAsRange(leader_, request);
  EXPECT_EQ(chunks_, 1);
  ExpectAsRange(leader_, GetRequest(Key(7)));
  ExpectAsRange(leader_, GetRequest("not there"));
  request = EverythingRequest(0, /*serializable=*/true);
  request.set_sort_order(RangeRequest::ASCEND);
  ExpectAsRange(leader_, request);
}

TEST_F(RangeStreamTest, HasEtcdsErrors) {
  const auto expect = [this](const RangeRequest& request, StatusCode code, const char* text) {
    const grpc::Status status = ReadAll(leader_, request);
    EXPECT_EQ(status.error_code(), code) << text;
    EXPECT_EQ(status.error_message(), text);
  };
  const char* const order = "RangeStream does not support custom sort orders";
  const char* const filters = "RangeStream does not support revision filters";
  expect({}, StatusCode::INVALID_ARGUMENT, "etcdserver: key is not provided");
  RangeRequest request = GetRequest(Key(1));
  request.set_sort_order(static_cast<RangeRequest::SortOrder>(7));
  expect(request, StatusCode::INVALID_ARGUMENT, "etcdserver: invalid sort option");
  request.set_sort_order(RangeRequest::DESCEND);
  expect(request, StatusCode::UNIMPLEMENTED, order);
  for (const RangeRequest::SortOrder by : {RangeRequest::NONE, RangeRequest::ASCEND}) {
    request.set_sort_order(by);
    request.set_sort_target(RangeRequest::MOD);
    expect(request, StatusCode::UNIMPLEMENTED, order);
  }
  for (const auto set :
       {&RangeRequest::set_min_mod_revision, &RangeRequest::set_max_mod_revision,
        &RangeRequest::set_min_create_revision, &RangeRequest::set_max_create_revision}) {
    request = GetRequest(Key(1));
    (request.*set)(1);
    expect(request, StatusCode::UNIMPLEMENTED, filters);
  }
  request = GetRequest(Key(1));
  request.set_revision(revision_ + 1);
  expect(request, StatusCode::OUT_OF_RANGE,
         "etcdserver: mvcc: required revision is a future revision");
}

// The client reads one chunk, and the rest later.
TEST_F(RangeStreamTest, ShowsOneRevisionUntilThatIsCompacted) {
  const RangeRequest everything = EverythingRequest(0, /*serializable=*/false);
  Call slow = Open(leader_, everything), late = Open(leader_, everything);
  RangeStreamResponse first, chunk;
  ASSERT_TRUE(slow.reader->Read(&first));
  ASSERT_TRUE(late.reader->Read(&chunk));
  ASSERT_TRUE(cluster_.Put(leader_, Key(399), "changed").ok());
  const auto put = cluster_.Put(leader_, Key(400), "new");
  ASSERT_TRUE(put.ok());
  const grpc::Status status = ReadRest(&slow);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(merged_.header().revision(), revision_);
  EXPECT_EQ(merged_.count(), kStoredKeys);
  ASSERT_EQ(first.range_response().kvs_size() + merged_.kvs_size(), kStoredKeys);
  EXPECT_EQ(merged_.kvs().rbegin()->value(), std::string(kStoredValueBytes, 'v'));

  etcdserverpb::CompactionRequest compact;
  compact.set_revision(put.response.header().revision());
  ASSERT_TRUE(e2e::Call(cluster_.connection(leader_), *cluster_.connection(leader_).kv,
                        &etcdserverpb::KV::Stub::Compact, compact)
                  .ok());
  const grpc::Status compacted = ReadRest(&late);
  EXPECT_EQ(compacted.error_code(), StatusCode::OUT_OF_RANGE);
  EXPECT_EQ(compacted.error_message(), "etcdserver: mvcc: required revision has been compacted");
  EXPECT_LT(merged_.kvs_size(), kStoredKeys);
}

TEST_F(RangeStreamTest, EndsWhenTheMemberStops) {
  Call call = Open(leader_, EverythingRequest(0, /*serializable=*/false));
  RangeStreamResponse chunk;
  ASSERT_TRUE(call.reader->Read(&chunk));
  std::thread stop([&] { EXPECT_EQ(cluster_.Terminate(leader_), 0); });
  // So the stop comes before the end of the stream. The client's library reads ahead, but not all.
  absl::SleepFor(absl::Milliseconds(50));
  const grpc::Status status = ReadRest(&call);
  stop.join();
  EXPECT_EQ(status.error_code(), StatusCode::UNAVAILABLE);
  EXPECT_EQ(status.error_message(), "etcdserver: server stopped");
}

}  // namespace
}  // namespace raftkv::e2e
