// Sends the same watches and writes to raftkv and to etcd, and compares what the watches get: the
// answers to requests in their order, and each watch's events. How events are divided among
// responses may differ.

#include <gtest/gtest.h>

#include <map>
#include <vector>

#include "absl/strings/str_cat.h"
#include "google/protobuf/text_format.h"
#include "tests/e2e/cluster.h"

namespace raftkv::e2e {
namespace {

using etcdserverpb::KV;
using etcdserverpb::WatchRequest;
using etcdserverpb::WatchResponse;

template <typename Message>
Message Parse(const std::string& text) {
  Message message;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &message)) << text;
  return message;
}

// "write": a transaction, "compact": a compaction, "watch": a request on the stream.
struct Step {
  const char* kind;
  const char* text;
};

constexpr Step kSteps[] = {
    {"write", "success { request_put { key: 'a' value: '1' } }"},
    {"write", "success { request_put { key: 'a' value: '2' } }"},
    {"write", "success { request_put { key: 'a/b' value: '3' } }"},
    {"write", "success { request_delete_range { key: 'a' } }"},
    {"write", "success { request_put { key: 'b' } } success { request_put { key: 'c' } }"},
    {"compact", "revision: 3"},
    {"watch", "create_request { key: 'a' start_revision: 4 prev_kv: true }"},
    {"watch", "create_request { key: 'a' range_end: 'z' start_revision: 4 prev_kv: true }"},
    {"watch", "create_request { key: 'a' start_revision: 2 }"},
    {"watch", "create_request { range_end: '\\000' filters: NOPUT }"},
    {"watch", "create_request { key: 'c' range_end: '\\000' filters: NODELETE }"},
    {"watch", "create_request { key: 'b' range_end: 'b' }"},
    {"watch", "create_request { key: 'c' range_end: 'b' }"},
    {"watch", "create_request { key: 'never' watch_id: 9 }"},
    {"watch", "create_request { key: 'k' watch_id: 9 }"},
    {"watch", "create_request { key: 'k' start_revision: 12 prev_kv: true }"},
    {"watch", "create_request { key: 'k' prev_kv: true progress_notify: true }"},
    {"write", "success { request_put { key: 'k' value: '1' } }"},
    {"write", "success { request_put { key: 'k' value: '2' } }"},
    {"write",
     "success { request_delete_range { key: 'b' range_end: 'z' } } success { request_put { key: "
     "'a' "
     "} }"},
    {"watch", "cancel_request { watch_id: 77 }"},
    {"watch", "cancel_request { watch_id: 9 }"},
    {"watch", "create_request { key: 'k' watch_id: 9 prev_kv: true }"},
    {"write",
     "success { request_txn { success { request_put { key: 'k' value: '3' } } } }"
     "success { request_txn { success { request_delete_range { key: 'k' } } } }"},
    {"write", "success { request_put { key: 'k' value: '4' lease: 0 } }"},
    {"write", "success { request_put { key: 'k' value: '5' } }"},
};

struct Seen {
  std::vector<std::string> answers;  // created and cancelled, in order
  std::map<int64_t, std::string> events;
  int64_t count = 0;
};

void Take(WatchResponse response, Seen* seen) {
  for (const mvccpb::Event& event : response.events()) {
    absl::StrAppend(&seen->events[response.watch_id()], event.ShortDebugString(), "\n");
    ++seen->count;
  }
  if (!response.events().empty()) return;
  response.mutable_header()->clear_raft_term();
  // A watch from a compacted revision is cancelled a little later by etcd than by raftkv.
  if (response.compact_revision() != 0) {
    absl::StrAppend(&seen->events[response.watch_id()], response.ShortDebugString(), "\n");
    ++seen->count;
  } else {
    seen->answers.push_back(response.ShortDebugString());
  }
}

// `count`: how many events to wait for.
Seen RunSteps(Product product, const std::vector<int>& ports, int64_t count) {
  Seen seen;
  Cluster cluster({.product = product, .size = 1, .name = "compat", .ports = ports});
  cluster.StartAll();
  EXPECT_EQ(cluster.WaitForLeader(), 0);
  Connection& connection = cluster.connection(0);
  const auto context = MakeContext(absl::Seconds(30));
  const auto stream = connection.watch->Watch(context.get());
  WatchResponse response;
  for (const Step& step : kSteps) {
    if (step.kind == std::string("write")) {
      const auto request = Parse<etcdserverpb::TxnRequest>(step.text);
      EXPECT_TRUE(Call(connection, *connection.kv, &KV::Stub::Txn, request).ok()) << step.text;
    } else if (step.kind == std::string("compact")) {
      const auto request = Parse<etcdserverpb::CompactionRequest>(step.text);
      EXPECT_TRUE(Call(connection, *connection.kv, &KV::Stub::Compact, request).ok());
    } else {
      const auto request = Parse<WatchRequest>(step.text);
      EXPECT_TRUE(stream->Write(request));
      if (request.cancel_request().watch_id() == 77) continue;  // not answered
      const size_t before = seen.answers.size();
      while (seen.answers.size() == before && stream->Read(&response)) Take(response, &seen);
    }
  }
  while (seen.count < count && stream->Read(&response)) Take(response, &seen);
  context->TryCancel();
  stream->Finish();
  return seen;
}

TEST(WatchDifferential, WatchesGetWhatTheyGetFromEtcd) {
  ASSERT_NE(EtcdProgram(), "");
  const std::vector<int> ports = FreePorts(2);
  constexpr int64_t kEvents = 38;
  const Seen ours = RunSteps(ProductUnderTest(), ports, kEvents);
  const Seen theirs = RunSteps(Product::kEtcd, ports, kEvents);
  EXPECT_EQ(ours.count, kEvents);
  EXPECT_EQ(ours.answers, theirs.answers);
  EXPECT_EQ(ours.events, theirs.events);
}

}  // namespace
}  // namespace raftkv::e2e
