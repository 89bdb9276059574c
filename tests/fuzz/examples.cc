// Real encodings for the corpus: each is made by the code that writes what the target reads.

#include <algorithm>
#include <array>
#include <fstream>
#include <iterator>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "server/peer/raft_codec.h"
#include "server/raft/prng.h"
#include "server/rpc/grpc_wire.h"
#include "storage/backup/backup_file.h"
#include "storage/base/checksum.h"
#include "storage/engine/memory_engine.h"
#include "storage/log/log_store.h"
#include "storage/log/watermark.h"
#include "storage/tables/state.h"
#include "tests/fuzz/targets.h"
#include "tests/model/random_requests.h"
#include "tests/storage/testing.h"

namespace raftkv::fuzz {
namespace {

constexpr int kEach = 40;  // examples of each random kind

std::string WithKind(int kind, const google::protobuf::Message& message) {
  return std::string(1, static_cast<char>(kind)) + message.SerializeAsString();
}

std::vector<proto::Command> Commands() {
  RandomRequests random(1);
  const Model model;
  std::vector<proto::Command> commands;
  for (int i = 0; i < kEach; ++i) commands.push_back(random.Command({20 + i, i % 3 - 1}));
  for (int i = 0; i < kEach; ++i) commands.push_back(random.LeaseCommand(model));
  for (int i = 0; i < kEach; ++i) commands.push_back(random.AlarmCommand(model));
  for (int i = 0; i < kEach; ++i) {
    commands.push_back(random.Command({20 + i, i % 3 - 1}));
    random.Bind(model, &commands.back());
  }
  proto::Command command;
  command.mutable_record_store_id()->set_member_id(1);
  command.mutable_record_store_id()->set_store_id(std::string(16, 'i'));
  commands.push_back(command);
  command.mutable_set_cluster_version()->set_version(2);
  commands.push_back(command);
  command.mutable_expire_leases()->add_leases()->set_id(7);
  commands.push_back(command);
  command.mutable_bump_revision()->set_by(1000);
  commands.push_back(command);
  return commands;
}

proto::Command Change() {
  proto::Command command;
  proto::ChangeMembers& change = *command.mutable_change_members();
  change.mutable_add()->set_id(4);
  change.mutable_add()->add_peerurls("http://127.0.0.1:2390");
  for (const uint64_t id : {1, 2, 3}) change.add_voters(id);
  change.add_learners(4);
  return command;
}

std::vector<std::string> PeerMessages() {
  const raft::Message from{2, 1, 5, {}};
  raft::AppendEntries append{.prev = {4, 9}, .commit = 8, .round = 3};
  for (const proto::Command& command : Commands()) {
    append.entries.push_back(MakeEntry(5, 10 + append.entries.size(), command));
    if (append.entries.size() == 5) break;
  }
  append.entries.push_back({{5, 15}, raft::EntryType::kNoOp, {}});
  append.entries.push_back(
      {{5, 16}, raft::EntryType::kConfiguration, raft::Payload(Change().SerializeAsString())});
  std::vector<std::string> examples = {
      WithKind(0, Encode(from, raft::RequestVote{{4, 9}, true})),
      WithKind(0, Encode(from, raft::RequestVote{{4, 9}, false, true})),
      WithKind(1, Encode(from, raft::RequestVoteReply{true, true})),
      WithKind(2, Encode(from, raft::TimeoutNow{})),
      WithKind(3, Encode(from, append)),
      WithKind(3, Encode(from, raft::AppendEntries{.prev = {4, 9}})),
      WithKind(4, Encode(from, raft::AppendEntriesReply{.success = true, .match = 9, .round = 3})),
      WithKind(4, Encode(from, raft::AppendEntriesReply{.rejected_prev = {4, 9}, .hint = {3, 7}})),
      WithKind(5, Encode(from, raft::ReadIndexRequest{77})),
      WithKind(6, Encode(from, raft::ReadIndexReply{77, 9, 8})),
      WithKind(8, Encode(ForwardedProposalReply{.number = 3, .boot_id = 4}).declined()),
      WithKind(8, Encode(ForwardedProposalReply{
                             .number = 3, .rejected = absl::NotFoundError("member not found")})
                      .declined()),
      WithKind(8, Encode(HelloReply{.log_empty = true})),
      WithKind(9, Encode(DigestReport{{{1000, 7}, {2000, UINT64_MAX}}})),
      WithKind(9, Encode(DigestReport{})),
      WithKind(10, Encode(Diverged{2000, 7}).diverged()),
      WithKind(10, Encode(Diverged{.index = 2000, .majority = {}}).diverged())};
  for (proto::Command& command : Commands()) {
    command.mutable_origin()->set_member_id(7);
    command.mutable_origin()->set_number(9);
    proto::ForwardRequest::Propose proposal;
    Encode({.number = 9, .payload = raft::Payload(command.SerializeAsString())}, &proposal);
    examples.push_back(WithKind(7, proposal));
  }
  return examples;
}

std::vector<std::string> Logs() {
  std::vector<std::string> examples;
  for (int cut = 0; cut < 3; ++cut) {
    auto disk = std::make_shared<MemoryDisk>();
    {
      auto log =
          *LogStore::Open(std::make_unique<MemoryEngine>(disk, Durability::kSynced), nullptr);
      log->AllowVoting();
      for (raft::Index i = 1; i <= 6; ++i) {
        log->Save(raft::HardState{1 + i / 3, 2, i - 1},
                  {MakeEntry(1 + i / 3, i, PutCommand("key", "value"))});
      }
      log->Save(raft::HardState{4, 3, 4}, {MakeEntry(4, 6, PutCommand("other", "value"))});
      if (cut == 1) log->Cut(4);
      if (cut == 2) log->Reset({{4, 9}, 12345});
    }
    std::string rows;
    CHECK(MemoryEngine(disk, Durability::kSynced)
              .Scan({}, {},
                    [&](std::string_view key, std::string_view value) {
                      rows += EncodeRow(key, value);
                      return absl::OkStatus();
                    })
              .ok());
    examples.push_back(rows);
  }
  return examples;
}

std::string ReadWhole(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  CHECK(file) << path;
  return std::string(std::istreambuf_iterator<char>(file), {});
}

std::string WatermarkFile() {
  const TempDir dir;
  auto watermark = *Watermark::Open(dir / "WATERMARK", {0xc1, 1}, /*create=*/true);
  watermark->Record({.term = 3, .vote = 2, .first_index = 4, .last = {3, 9}, .chain_hash = 5},
                    /*sync=*/true);
  return ReadWhole(dir / "WATERMARK");
}

std::vector<std::string> GrpcStreams() {
  etcdserverpb::PutRequest put;
  put.set_key("key");
  put.set_value(std::string(300, 'v'));
  std::string frames;
  for (const std::string& piece : wire::Frame(put)) frames += piece;
  // The first byte: identity or gzip, and the size of the pieces that arrive.
  // "hello", compressed by gzip.
  static constexpr char kHello[] =
      "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xcb\x48\xcd\xc9\xc9\x07\x00\x86\xa6\x10\x36\x05\x00"
      "\x00\x00";
  const std::string gzip(kHello, sizeof(kHello) - 1);
  const std::string prefix = std::string("\x01\x00\x00\x00", 4) + static_cast<char>(gzip.size());
  return {'\xc8' + frames + frames, '\x02' + frames, '\xc9' + prefix + gzip + frames,
          '\xc8' + std::string("\0\x7f\xff\xff\xff", 5),
          "\xc8"
          "100m"};
}

std::vector<std::string> Configs() {
  return {ReadWhole(RAFTKV_SOURCE_DIR "/config/cluster.toml"),
          "[cluster]\nname = \"a\"\nelection_timeout = \"2s\"\n[[member]]\nname = \"n1\"\n"
          "peer_url = \"http://127.0.0.1:2380\"\nclient_url = \"http://127.0.0.1:2379\"\n"
          "data_dir = \"data\"\n[limits]\nmax_txn_ops = 5\n[log]\nformat = \"json\"\n"};
}

std::vector<std::string> Transactions() {
  return {"mod(\"colour\") = \"5\"\n\nput colour \"dark blue\"\n\nget colour\n\n",
          "value(\"a\") != \"\\x00\\u00e9\"\nlease('b') < \"7\"\ncreate(\"c\") > \"0\"\n"
          "version(`d`) = \"1\"\n\nput --lease=7 k v\nget --prefix k\ndel a b\n\n"
          "get a z --limit=5 --sort-by=KEY --order=DESCEND\n\n"};
}

std::vector<std::string> Http1Requests() {
  const std::string get = "GET /health?serializable=true HTTP/1.1\r\nHost: localhost\r\n\r\n";
  const std::string post =
      "POST /v3/kv/range HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
      "Grpc-Metadata-hasleader: true\r\nAuthorization: token\r\nContent-Length: 13\r\n\r\n"
      R"({"key":"Zm8"})";
  const std::string chunked =
      "POST /v3/watch HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n"
      "Expect: 100-continue\r\n\r\n5\r\n{\"a\":\r\n3\r\n1}\n\r\n0\r\n\r\n";
  // The first byte is the size of the pieces in which the rest arrives.
  return {'\x07' + get + post, '\xff' + post + chunked + get, '\x00' + chunked,
          "\x10GET / HTTP/1.0\r\n\r\n", "\x10PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"};
}

constexpr size_t kFileBytes = 300;

std::string Backup() {
  proto::BackupHeader header;
  for (const char* name : {"000012.sst", "CURRENT", "MANIFEST-000005"}) {
    header.add_files()->set_name(name);
    header.mutable_files()->rbegin()->set_size(kFileBytes);
  }
  header.add_files()->set_name("000013.sst");  // empty
  header.set_index(9);
  header.set_cluster_name("a");
  BackupEncoder encoder(header, [](size_t file, uint64_t /*offset*/, size_t bytes_max) {
    return std::string(std::min(bytes_max, kFileBytes), static_cast<char>('a' + file));
  });
  std::string backup;
  while (!encoder.done()) backup += *encoder.Next();
  return backup;
}

std::string SnapshotStream() {
  SnapshotManifest manifest;
  manifest.base = {{3, 9}, 12345};
  manifest.files = {{"000012.sst", kFileBytes}, {"000013.sst", 0}, {"CURRENT", 16}};
  std::string stream = EncodePart(Encode(4, manifest).SerializeAsString());
  for (const auto& [file, offset, bytes] :
       std::vector<std::array<int, 3>>{{0, 0, 200}, {0, 200, 100}, {2, 0, 16}}) {
    proto::InstallSnapshotRequest chunk;
    chunk.set_file(file);
    chunk.set_offset(offset);
    chunk.set_data(std::string(bytes, 'x'));
    chunk.set_crc32c(Crc32c(chunk.data()));
    stream += EncodePart(chunk.SerializeAsString());
  }
  return stream;
}

// Bytes that a core's schedule follows (raft_core.cc).
std::vector<std::string> Schedules() {
  std::vector<std::string> examples;
  for (uint64_t seed = 1; seed <= kEach; ++seed) {
    raft::Prng prng(seed);
    std::string bytes(20 + prng.Below(400), '\0');
    for (char& byte : bytes) byte = static_cast<char>(prng.Below(256));
    examples.push_back(std::move(bytes));
  }
  return examples;
}

}  // namespace

std::vector<std::string> Examples(std::string_view target) {
  std::vector<std::string> examples = PortExamples(target);
  if (target == "peer-message") return PeerMessages();
  if (target == "log") return Logs();
  if (target == "watermark") return {WatermarkFile()};
  if (target == "grpc-framing") return GrpcStreams();
  if (target == "config") return Configs();
  if (target == "txn-input") return Transactions();
  if (target == "raft-core") return Schedules();
  if (target == "http1") return Http1Requests();
  if (target == "backup-file") return {Backup()};
  if (target == "snapshot-chunks") return {SnapshotStream()};
  if (target == "snapshot-header") {
    SnapshotManifest manifest;
    manifest.base = {{3, 9}, 12345};
    manifest.files = {
        {"000012.sst", 5000}, {"CURRENT", 16}, {"MANIFEST-000005", 200}, {"OPTIONS-000007", 3000}};
    return {Encode(4, manifest).SerializeAsString()};
  }
  if (target == "command") {
    for (const proto::Command& command : Commands()) examples.push_back(WithKind(1, command));
    examples.push_back(WithKind(0, Change()));
  }
  if (target == "state-record") {
    State state;
    examples.push_back(EncodeState(state));
    state.applied = {3, 9};
    state.cluster_version = 2;
    state.compaction_next = {7, 1};
    examples.push_back(EncodeState(state));
  }
  return examples;
}

}  // namespace raftkv::fuzz
