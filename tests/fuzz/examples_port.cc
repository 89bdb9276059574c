// Real encodings for the targets in port.cc and starts.cc.

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "glog/logging.h"
#include "proto/etcd/rpc.pb.h"
#include "proto/raft.pb.h"
#include "server/peer/handshake.h"
#include "server/peer/raft_codec.h"
#include "server/rpc/grpc_wire.h"
#include "storage/base/checksum.h"
#include "storage/data_dir/data_dir.h"
#include "tests/e2e/raw_http2.h"
#include "tests/fuzz/targets.h"
#include "tests/storage/testing.h"

namespace raftkv::fuzz {
namespace {

std::string How(uint8_t bits, uint8_t piece) {
  return {static_cast<char>(bits), static_cast<char>(piece)};
}

// A call with one message.
std::string Call(uint32_t stream, const std::string& path, const google::protobuf::Message& request,
                 bool last = true, const std::string& timeout = "") {
  const std::string bytes = request.SerializeAsString();
  return e2e::CallHeaders(stream, path, timeout) +
         e2e::MessageData(stream, bytes, bytes.size(), last);
}

std::string Reset(uint32_t stream) {
  return e2e::Frame(e2e::kRstStream, 0, stream, std::string("\0\0\0\x8", 4));
}

std::vector<std::string> Http2Connections() {
  etcdserverpb::RangeRequest small, large;
  small.set_key("key");
  large.set_limit(200'000);
  etcdserverpb::PutRequest put, rejected;
  put.set_key("key");
  put.set_value(std::string(300, 'v'));
  rejected.set_key("caf\xc3\xa9 100%");
  etcdserverpb::WatchRequest watch;
  watch.mutable_create_request()->set_key("a");
  etcdserverpb::SnapshotRequest snapshot;
  const std::string range = "/etcdserverpb.KV/Range", puts = "/etcdserverpb.KV/Put";
  const std::string watches = "/etcdserverpb.Watch/Watch";
  const std::string snapshots = "/etcdserverpb.Maintenance/Snapshot";
  const std::string watch_bytes = watch.SerializeAsString();
  const std::string one_more = e2e::MessageData(1, watch_bytes, watch_bytes.size(), false);
  const std::string ping = e2e::Frame(e2e::kPing, 0, 0, "12345678");
  const std::string window = e2e::Frame(e2e::kWindowUpdate, 0, 0, std::string("\0\1\0\0", 4));
  const std::string calls = Call(1, range, small) + Call(3, puts, put) + Call(5, puts, rejected) +
                            Call(7, "/etcdserverpb.KV/Unknown", small);
  const std::string stream = Call(1, watches, watch, false) + one_more + one_more;
  std::string get = e2e::CallHeaders(1, "/health");
  get.replace(get.find("POST"), 4, "PUTS");

  proto::Peer who;
  who.set_cluster_id(0xc1);
  who.set_from(2);
  who.set_to(1);
  who.set_store_id(std::string(16, 's'));
  proto::HelloRequest hello;
  *hello.mutable_peer() = who;
  proto::AppendEntriesRequest append;
  *append.mutable_peer() = who;
  append.set_term(5);
  const std::string appends = "/raftkv.proto.Raft/AppendEntries";
  std::string silent;
  for (uint32_t i = 0; i < 6; ++i) silent += e2e::CallHeaders(1 + 2 * i, appends);
  std::string resets;
  for (uint32_t i = 0; i < 20; ++i) resets += Call(1 + 2 * i, range, large) + Reset(1 + 2 * i);
  return {How(0, 255) + e2e::Preface() + calls,
          How(kIntroduced, 2) + calls + ping,
          How(kIntroduced | kReadsLate, 255) + Call(1, range, large) + Call(3, range, large),
          How(kIntroduced, 255) + Call(1, range, large) + window + Reset(1),
          How(kIntroduced | kSlow, 8) + stream + ping,
          How(kIntroduced | kPortStops, 4) + stream + Reset(1) + calls,
          How(kIntroduced, 40) + Call(1, snapshots, snapshot) + Call(3, range, small, true, "5S"),
          How(kIntroduced, 255) + get,
          How(kIntroduced | kReadsLate, 255) + resets,
          How(kPeerPort | kIntroduced, 16) + Call(1, "/raftkv.proto.Raft/Hello", hello),
          How(kPeerPort | kIntroduced, 16) + Call(1, appends, append, false),
          How(kPeerPort | kIntroduced | kSlow, 16) + silent,
          How(kPeerPort, 16) + "GET / HTTP/1.1\r\n\r\n"};
}

std::string Post(const std::string& path, const std::string& body) {
  return absl::StrCat("POST ", path, " HTTP/1.1\r\nHost: a\r\nContent-Length: ", body.size(),
                      "\r\n\r\n", body);
}

std::vector<std::string> Http1Connections() {
  const std::string get = "GET /health HTTP/1.1\r\nHost: a\r\n\r\n";
  const std::string query = "GET /health?serializable=true HTTP/1.0\r\n\r\n";
  const std::string head = "HEAD /health HTTP/1.1\r\nHost: a\r\n\r\n";
  const std::string range = Post("/v3/kv/range", R"({"key":"Zm9v","limit":"100000"})");
  const std::string put = Post("/v3/kv/put", R"({"key":"Zm9v","value":"YmFy"})");
  const std::string rejected = Post("/v3/kv/put", R"({"key":"Zm9v"} trailing)");
  const std::string malformed = Post("/v3/kv/put", R"({"key":5)");
  const std::string snapshot = Post("/v3/maintenance/snapshot", "{}");
  const std::string watch =
      "POST /v3/watch HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n"
      "Expect: 100-continue\r\n\r\n"
      "25\r\n{\"create_request\": {\"key\": \"Zm9v\"}}  \r\n22\r\n"
      "{\"create_request\":{\"key\":\"Zm9v\"}}\n\r\n0\r\n\r\n";
  return {How(kLeaves, 241) + snapshot,
          How(kLeaves, 242) + snapshot,
          How(kLeaves, 243) + snapshot,
          How(kLeaves, 244) + snapshot,
          How(kLeaves, 245) + snapshot,
          How(0, 255) + get + range + put + get,
          How(0, 1) + get + head + rejected + query,
          How(kReadsLate, 255) + range + range + snapshot,
          How(kSlow, 2) + put + malformed,
          How(0, 3) + watch + snapshot + get,
          How(kPortStops, 3) + watch + get,
          How(kPagesOnly, 255) + get + head + put,
          How(0, 255) + "BREW /pot HTTP/1.1\r\nContent-Length: 5\r\n\r\n12345" + get,
          How(kPeerPort, 255) + get};
}

std::vector<std::string> JsonBodies() {
  // The order of the methods is that of proto/etcd/rpc.proto.
  std::vector<std::string> bodies;
  const std::vector<std::string> objects = {
      "{}",
      R"({"key":"Zm9v","range_end":"AA==","limit":"5","sort_order":"DESCEND"})",
      R"({"key":"Zm9v","value":"YmFy","lease":"-7","prev_kv":true})",
      R"({"compare":[{"key":"Zm9v","target":"VERSION","version":"1"}],"success":[{"request_put":)"
      R"({"key":"Zm9v"}}],"failure":[{"request_txn":{}}]})",
      R"({"create_request":{"key":"Zm9v","filters":["NOPUT"]}} {"cancel_request":{"watch_id":1}})",
      R"({"TTL":"10","ID":"9223372036854775807"})",
      R"({"peerURLs":["http://a:1","\u00e9\"}{"],"isLearner":true})",
      R"({"name":"root\\","password":"}{","unknown":[1.5e3,null,{"a":[]}]})"};
  for (size_t method = 0; method < 20; ++method) {
    for (const std::string& object : objects) {
      bodies.push_back(std::string(1, static_cast<char>(method)) + object);
    }
  }
  return bodies;
}

std::vector<std::string> Handshakes() {
  const Handshake member(
      0xc1,
      {.id = 2, .store_id = std::string(16, 's'), .newest_version = kNewestVersion, .boot_id = 7},
      {}, /*listed=*/{});
  const auto request = [](const proto::Peer& who) {
    proto::HelloRequest hello;
    *hello.mutable_peer() = who;
    return EncodePart(std::string(1, 0) + hello.SerializeAsString());
  };
  const auto answer = [](const proto::Peer& who, const HelloReply& reply) {
    proto::HelloResponse hello = Encode(reply);
    *hello.mutable_peer() = who;
    return EncodePart(std::string(1, 1) + hello.SerializeAsString());
  };
  proto::Peer who = member.Introduction(1), other = who;
  other.set_cluster_id(0xc2);
  std::string strangers;
  for (uint64_t id = 10; id < 30; ++id) {
    proto::Peer stranger = who;
    stranger.set_from(id);
    strangers += request(stranger);
  }
  return {request(who) + answer(who, {.log_empty = true}) + request(other), strangers,
          request(member.Introduction(3)) + answer(who, {.removed = true}) +
              answer(who, {.forgotten = {3, 9}}) + answer(other, {.store_id_rejected = true})};
}

std::vector<std::string> DataDirFiles() {
  const TempDir dir;
  DataDirOptions options;
  options.dir = dir / "new";
  options.cluster_id = 0xc1;
  options.cluster_name = "a \"b\"";
  options.member_id = 1;
  options.member_name = "n1";
  options.restored = RestoredFrom{"token", {3, 9}};
  (void)OpenDataDir(options);
  std::ifstream file(dir / "new/IDENTITY", std::ios::binary);
  std::string identity(std::istreambuf_iterator<char>(file), {});
  constexpr std::string_view kStoreId = "store_id ";
  CHECK_NE(identity.find(kStoreId), std::string::npos);
  identity.replace(identity.find(kStoreId) + kStoreId.size(), 32, 32, '5');  // it is random
  const std::string odd_name = absl::StrReplaceAll(identity, {{"name a", "name a\\n\\000"}});
  CHECK_NE(odd_name, identity);
  const auto with_checksum = [](const std::string& text) {
    return absl::StrCat(text, "crc32c 00000000\n");  // the target corrects it
  };
  return {
      std::string(1, 0) + identity, std::string(1, 0) + odd_name,
      std::string(1, 1) + with_checksum("state sm\n"),
      std::string(1, 1) + with_checksum("state sm-0123456789abcdef\nlog_after_term 3\n"
                                        "log_after_index 9\nlog_after_chain 00000000000000ff\n")};
}

}  // namespace

std::vector<std::string> PortExamples(std::string_view target) {
  if (target == "http2-connection") return Http2Connections();
  if (target == "http1-connection") return Http1Connections();
  if (target == "json") return JsonBodies();
  if (target == "handshake") return Handshakes();
  if (target == "data-dir-files") return DataDirFiles();
  return {};
}

}  // namespace raftkv::fuzz
