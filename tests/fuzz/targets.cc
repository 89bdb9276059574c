#include "tests/fuzz/targets.h"

#include <sys/mman.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <optional>
#include <sstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/cli/txn_input.h"
#include "config/config.h"
#include "config/url.h"
#include "glog/logging.h"
#include "server/peer/raft_codec.h"
#include "server/port/http1_parser.h"
#include "server/rpc/grpc_wire.h"
#include "storage/backup/backup_file.h"
#include "storage/base/checksum.h"
#include "storage/data_dir/snapshot_files.h"
#include "storage/engine/memory_engine.h"
#include "storage/log/log_store.h"
#include "storage/log/watermark.h"
#include "storage/state_machine.h"
#include "storage/tables/state.h"
#include "tests/fuzz/input.h"

namespace raftkv::fuzz {
namespace {

// A file in memory with these contents, for readers that open a path.
class MemoryFile {
 public:
  explicit MemoryFile(std::string_view contents) : fd_(memfd_create("fuzz", MFD_CLOEXEC)) {
    PCHECK(fd_ >= 0);
    PCHECK(write(fd_, contents.data(), contents.size()) == static_cast<ssize_t>(contents.size()));
  }
  ~MemoryFile() { close(fd_); }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;
  std::string path() const { return absl::StrCat("/proc/self/fd/", fd_); }

 private:
  const int fd_;
};

// --- messages of peers

// What is accepted must mean the same after it was encoded again.
template <typename Body, typename Proto, typename Part>
void CheckMessage(std::string_view bytes, Part part) {
  Proto in;
  if (!in.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) return;
  const absl::StatusOr<raft::Message> message = Decode(part(in));
  if (!message.ok()) return;
  auto out = Encode(*message, std::get<Body>(message->body));
  const absl::StatusOr<raft::Message> again = Decode(part(out));
  CHECK(again.ok()) << again.status();
  CHECK(*again == *message);
}
template <typename Body, typename Proto>
void CheckMessage(std::string_view bytes) {
  CheckMessage<Body, Proto>(bytes, [](const Proto& in) -> const Proto& { return in; });
}

void CheckProposal(std::string_view bytes) {
  constexpr raft::MemberId kOrigin = 7;
  proto::ForwardRequest::Propose in, again;
  if (!in.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) return;
  const absl::StatusOr<ForwardedProposal> proposal = Decode(kOrigin, &in);
  if (!proposal.ok()) return;
  CHECK_LE(proposal->needs, kNewestVersion);
  Encode(*proposal, &again);
  const absl::StatusOr<ForwardedProposal> second = Decode(kOrigin, &again);
  CHECK(second.ok()) << second.status();
  CHECK(second->payload == proposal->payload && second->number == proposal->number);
}

void CheckReplies(std::string_view bytes) {
  proto::ForwardResponse::Declined declined;
  if (declined.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    if (const auto reply = Decode(declined); reply.ok()) {
      CHECK(Decode(Encode(*reply).declined()).ok());
    }
  }
  proto::HelloResponse hello;
  if (hello.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    if (const auto reply = Decode(hello); reply.ok()) CHECK(Decode(Encode(*reply)).ok());
  }
}

void CheckDigests(std::string_view bytes) {
  proto::ForwardRequest in;
  if (!in.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) return;
  const absl::StatusOr<DigestReport> report = DecodeDigests(in);
  if (!report.ok()) return;
  CHECK_LE(report->digests.size(), kDigestsKept);
  const absl::StatusOr<DigestReport> again = DecodeDigests(Encode(*report));
  CHECK(again.ok()) << again.status();
  CHECK(again->digests == report->digests);
}

void CheckDiverged(std::string_view bytes) {
  proto::ForwardResponse::Diverged in;
  if (!in.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) return;
  const absl::StatusOr<Diverged> diverged = Decode(in);
  if (!diverged.ok()) return;
  const absl::StatusOr<Diverged> again = Decode(Encode(*diverged).diverged());
  CHECK(again.ok()) << again.status();
  CHECK(again->index == diverged->index && again->majority == diverged->majority);
}

void CheckAppend(std::string_view bytes) {
  CheckMessage<raft::AppendEntries, proto::AppendEntriesRequest>(
      bytes, [](proto::AppendEntriesRequest& in) { return &in; });
}

void CheckReadIndexRequest(std::string_view bytes) {
  CheckMessage<raft::ReadIndexRequest, proto::ForwardRequest>(
      bytes, [](const proto::ForwardRequest& in) -> const auto& { return in.read_index(); });
}

void CheckReadIndexReply(std::string_view bytes) {
  CheckMessage<raft::ReadIndexReply, proto::ForwardResponse>(
      bytes, [](const proto::ForwardResponse& in) -> const auto& { return in.read_index(); });
}

// The first byte of the input chooses one of them. A new one goes to the end (examples.cc).
constexpr void (*kPeerMessages[])(std::string_view) = {
    CheckMessage<raft::RequestVote, proto::RequestVoteRequest>,
    CheckMessage<raft::RequestVoteReply, proto::RequestVoteResponse>,
    CheckMessage<raft::TimeoutNow, proto::TimeoutNowRequest>,
    CheckAppend,
    CheckMessage<raft::AppendEntriesReply, proto::AppendEntriesResponse>,
    CheckReadIndexRequest,
    CheckReadIndexReply,
    CheckProposal,
    CheckReplies,
    CheckDigests,
    CheckDiverged};

void RunPeerMessage(std::string_view input) {
  kPeerMessages[TakeByte(&input) % std::size(kPeerMessages)](input);
}

void RunSnapshotHeader(std::string_view input) {
  proto::InstallSnapshotRequest in;
  if (!in.ParseFromArray(input.data(), static_cast<int>(input.size()))) return;
  const absl::StatusOr<SnapshotOffer> offer = Decode(in);
  if (!offer.ok()) return;
  for (const SnapshotManifest::File& file : offer->manifest.files) {
    CHECK_EQ(file.name.find('/'), std::string::npos) << "a peer names a path";
  }
  CHECK(Decode(Encode(offer->term, offer->manifest)).ok());
}

// --- commands

std::unique_ptr<StateMachine> SmallStore() {
  StateMachineOptions options;
  options.not_understood = [](const std::string&) {};
  auto state = StateMachine::Open(
      std::make_unique<MemoryEngine>(std::make_shared<MemoryDisk>(), Durability::kFlushed),
      options);
  CHECK(state.ok()) << state.status();
  std::vector<raft::Entry> entries;
  const auto add = [&entries](const proto::Command& command) {
    entries.push_back({{1, entries.size() + 1},
                       raft::EntryType::kCommand,
                       raft::Payload(command.SerializeAsString())});
  };
  proto::Command version, lease, put;
  version.mutable_set_cluster_version()->set_version(kNewestVersion);
  add(version);
  lease.mutable_lease_grant()->set_id(7);
  lease.mutable_lease_grant()->set_ttl(10);
  add(lease);
  for (const char* key : {"a", "b", "c"}) {
    put.mutable_put()->set_key(key);
    put.mutable_put()->set_value("value");
    put.mutable_put()->set_lease(7);
    put.mutable_session()->set_lease_id(7);
    put.mutable_session()->set_seq(put.session().seq() + 1);
    add(put);
  }
  (*state)->Apply(entries);
  return *std::move(state);
}

// An entry that the codec accepts must be applied, with the same effect on every member.
void RunCommand(std::string_view input) {
  const auto one = SmallStore(), other = SmallStore();
  const raft::EntryId last = one->applied();
  proto::AppendEntriesRequest append;
  append.set_term(1);
  append.set_prev_log_term(last.term);
  append.set_prev_log_index(last.index);
  proto::Entry* entry = append.add_entries();
  entry->set_term(1);
  entry->set_type(TakeByte(&input) % 4 == 0 ? proto::CONFIGURATION : proto::COMMAND);
  entry->set_payload(input.data(), input.size());
  const absl::StatusOr<raft::Message> message = Decode(&append);
  if (!message.ok()) return;
  const auto& entries = std::get<raft::AppendEntries>(message->body).entries;
  const auto results = one->Apply(entries);
  other->Apply(entries);
  if (!results.empty()) CHECK_EQ(one->applied().index, last.index + 1);
  CHECK_EQ(one->digest(), other->digest());
  CHECK_EQ(one->revision(), other->revision());
}

// --- records on disk. Their checksums are corrected.

void CorrectCrcAtStart(std::string* record) {
  if (record->size() < 4) return;
  std::string crc;
  PutFixed32(&crc, Crc32c(std::string_view(*record).substr(4)));
  record->replace(0, 4, crc);
}

void RunLog(std::string_view input) {
  auto disk = std::make_shared<MemoryDisk>();
  auto engine = std::make_unique<MemoryEngine>(disk, Durability::kSynced);
  WriteBatch batch;
  while (input.size() >= 3) {
    const size_t key_size = TakeByte(&input);
    size_t value_size = TakeByte(&input);
    value_size = value_size << 8 | TakeByte(&input);
    const std::string_view key = input.substr(0, key_size);
    input.remove_prefix(key.size());
    std::string value(input.substr(0, value_size));
    input.remove_prefix(value.size());
    CorrectCrcAtStart(&value);
    batch.Put(key, value);
  }
  if (!batch.empty()) engine->Write(batch, /*sync=*/true);
  const auto log = LogStore::Open(std::move(engine), nullptr);
  if (!log.ok()) return;
  const raft::Index first = (*log)->first_index(), last = (*log)->last_index();
  const auto entries = (*log)->Entries(first, last, SIZE_MAX);
  CHECK_EQ(entries.size(), last + 1 - first);
  for (const raft::Entry& entry : entries) CHECK_EQ((*log)->TermAt(entry.id.index), entry.id.term);
  (*log)->ChainHash(first - 1);
}

void RunWatermark(std::string_view input) {
  constexpr size_t kSlot = 4096, kCrcAt = 80;
  std::string file(input);
  for (size_t slot = 0; slot + kCrcAt + 4 <= file.size(); slot += kSlot) {
    std::string crc;
    PutFixed32(&crc, Crc32c(std::string_view(file).substr(slot, kCrcAt)));
    file.replace(slot + kCrcAt, 4, crc);
  }
  const MemoryFile memory(file);
  const auto watermark = Watermark::Open(memory.path(), {0xc1, 1}, /*create=*/false);
  if (!watermark.ok()) return;
  const Watermark::Mark mark = (*watermark)->mark();
  (*watermark)->Record(mark, /*sync=*/false);
  const auto again = Watermark::Open(memory.path(), {0xc1, 1}, /*create=*/false);
  CHECK(again.ok()) << again.status();
  CHECK((*again)->mark() == mark);
}

void RunStateRecord(std::string_view input) {
  std::string record(input);
  if (record.size() >= 4) {
    record.resize(record.size() - 4);
    PutFixed32(&record, Crc32c(record));
  }
  State state, again;
  if (!DecodeState(record, &state).ok()) return;
  CHECK(DecodeState(EncodeState(state), &again).ok());
  CHECK(again.applied == state.applied && again.revision == state.revision &&
        again.compacted == state.compacted && again.digest == state.digest);
}

// --- files and chunks of snapshots

constexpr size_t kSha256Bytes = Sha256::kBytes;

// Corrects the checksums of the header, of the chunks and of the whole.
void CorrectBackup(std::string* file) {
  constexpr size_t kFormat = 16, kPreamble = kFormat + 8;
  if (file->size() < kPreamble + kSha256Bytes) return;
  const auto correct = [&](size_t crc_at, size_t data_at, size_t bytes) {
    std::string crc;
    PutFixed32(&crc, Crc32c(std::string_view(*file).substr(data_at, bytes)));
    file->replace(crc_at, 4, crc);
  };
  const size_t header_bytes = Fixed32(&(*file)[kFormat]), end = file->size() - kSha256Bytes;
  if (header_bytes > end - kPreamble) return;
  correct(kFormat + 4, kPreamble, header_bytes);
  proto::BackupHeader header;
  if (!header.ParseFromString(file->substr(kPreamble, header_bytes))) return;
  size_t at = kPreamble + header_bytes;
  for (const proto::BackupHeader::File& each : header.files()) {
    for (uint64_t left = each.size(); left > 0;) {
      const size_t bytes = std::min<uint64_t>(left, BackupEncoder::kChunkBytes);
      if (bytes + 4 > end - at) return;
      correct(at, at + 4, bytes);
      at += 4 + bytes;
      left -= bytes;
    }
  }
  Sha256 sha256;
  sha256.Update(std::string_view(*file).substr(0, end));
  file->replace(end, kSha256Bytes, sha256.Finish());
}

void RunBackupFile(std::string_view input) {
  std::string contents(input);
  CorrectBackup(&contents);
  const MemoryFile file(contents);
  const auto is_for_people = [&](const absl::Status& status) {
    return status.message().find(file.path()) == 0 &&
           status.message().find('\n') == absl::string_view::npos;
  };
  const auto reader = BackupReader::Open(file.path());
  if (!reader.ok()) {
    CHECK(is_for_people(reader.status())) << reader.status();
    return;
  }
  const auto& files = (*reader)->header().files();
  std::vector<uint64_t> read(files.size());
  uint64_t progress = 0;
  const absl::Status status = (*reader)->ReadAll(
      [&](size_t number, uint64_t offset, std::string_view data, uint32_t crc) {
        CHECK_EQ(offset, read.at(number));
        CHECK_EQ(Crc32c(data), crc);
        read[number] += data.size();
        return absl::OkStatus();
      },
      [&](uint64_t bytes) {
        CHECK_GE(bytes, progress);
        progress = bytes;
      });
  CHECK_LE(progress, contents.size());
  if (!status.ok()) {
    CHECK(is_for_people(status)) << status;
    return;
  }
  CHECK_EQ(progress, contents.size());
  for (int i = 0; i < files.size(); ++i) CHECK_EQ(read[i], files[i].size());
}

// The next of the requests of a stream.
std::optional<proto::InstallSnapshotRequest> TakeRequest(std::string_view* input) {
  if (input->size() < 2) return std::nullopt;
  const std::string_view request = TakePart(input);
  proto::InstallSnapshotRequest parsed;
  if (!parsed.ParseFromArray(request.data(), static_cast<int>(request.size()))) return std::nullopt;
  return parsed;
}

// A snapshot that a peer sends, up to its last chunk. The contents of the files are not read.
void RunSnapshotChunks(std::string_view input) {
  const auto first = TakeRequest(&input);
  if (!first) return;
  const absl::StatusOr<SnapshotOffer> offer = Decode(*first);
  if (!offer.ok()) return;
  const std::string scratch = ScratchDirectory(), dir = scratch + "/snapshot";
  uint64_t accepted = 0;
  if (auto writer = SnapshotWriter::Create(dir, offer->manifest); writer.ok()) {
    while (const auto chunk = TakeRequest(&input)) {
      // Checksums are corrected, but not that of a chunk without one.
      const uint32_t crc = chunk->crc32c() == 0 ? 0 : Crc32c(chunk->data());
      if (!(*writer)->Write(chunk->file(), chunk->offset(), chunk->data(), crc).ok()) break;
      accepted += chunk->data().size();
      CHECK_EQ((*writer)->written(), accepted);
    }
    CHECK_LE(accepted, offer->manifest.bytes());
    CHECK((*writer)->complete() == (accepted == offer->manifest.bytes()));
    uint64_t stored = 0;
    for (const auto& entry : std::filesystem::directory_iterator(dir)) stored += entry.file_size();
    CHECK_EQ(stored, accepted);
  }
  CHECK(!std::filesystem::exists(dir)) << "a snapshot that is not complete is removed";
  CHECK(std::filesystem::remove(scratch)) << "nothing else was written";
}

// --- clients and people

void RunGrpcFraming(std::string_view input) {
  constexpr size_t kBytesMax = 64 << 10;
  const uint8_t how = TakeByte(&input);
  (void)wire::ParseTimeout(input);
  wire::MessageReader reader(kBytesMax);
  CHECK(reader.SetEncoding(how % 2 == 0 ? "identity" : "gzip"));
  const size_t piece = 1 + how / 2;
  while (!input.empty()) {
    reader.Append(input.substr(0, piece));
    input.remove_prefix(std::min(piece, input.size()));
    for (;;) {
      std::string message;
      const absl::StatusOr<bool> next = reader.Next(&message);
      if (!next.ok()) return;
      if (!*next) break;
      CHECK_LE(message.size(), kBytesMax);
    }
  }
}

// What the parser says about the requests in `input`, which arrives in pieces of `piece` bytes. The
// head of a malformed request is left out: if all of it is there at once, the parser may see no
// head.
std::vector<std::string> ParseHttp1(std::string_view input, size_t piece) {
  std::vector<std::string> seen;
  port::Http1Parser parser;
  std::string arrived, body;
  for (bool head = false; !input.empty();) {
    arrived += input.substr(0, piece);
    input.remove_prefix(std::min(piece, input.size()));
    for (size_t used = 1; used > 0 && !arrived.empty();) {
      const absl::StatusOr<size_t> parsed = parser.Parse(arrived);
      if (!parsed.ok()) {
        if (head) seen.pop_back();
        seen.push_back("error");
        return seen;
      }
      used = *parsed;
      CHECK_LE(used, arrived.size());
      arrived.erase(0, used);
      body += parser.TakeBody();
      if (parser.has_head() && !std::exchange(head, true)) {
        CHECK(!parser.head().method.empty());
        seen.push_back(
            absl::StrCat(parser.head().method, " ", parser.head().path, " ", parser.head().query));
      }
      if (!parser.complete()) continue;
      seen.push_back(std::exchange(body, {}));
      parser.Reset();
      head = false;
    }
  }
  return seen;
}

// The requests do not depend on how their bytes arrive. In pieces, an error in a head may be found
// later: at the end of the head.
void RunHttp1(std::string_view input) {
  const size_t piece = 1 + TakeByte(&input);
  const std::vector<std::string> in_pieces = ParseHttp1(input, piece);
  std::vector<std::string> at_once = ParseHttp1(input, input.size() + 1);
  if (at_once.size() == in_pieces.size() + 1 && at_once.back() == "error") at_once.pop_back();
  CHECK_EQ(absl::StrJoin(in_pieces, "|"), absl::StrJoin(at_once, "|"));
}

void RunConfig(std::string_view input) {
  const MemoryFile file(input);
  const absl::StatusOr<Config> config = LoadConfig(file.path());
  if (!config.ok()) {
    CHECK_EQ(config.status().message().find('\n'), absl::string_view::npos)
        << "an error is one line: " << config.status();
    return;
  }
  CHECK(!config->members.empty());
  for (const MemberConfig& member : config->members) {
    CHECK(IsUrl(member.peer_url) && IsUrl(member.client_url)) << member.name;
    CHECK(FindMember(*config, member.name).ok()) << member.name;
  }
}

void RunTxnInput(std::string_view input) {
  std::istringstream in{std::string(input)};
  (void)client::ReadTransaction(in, nullptr, false);
}

constexpr Target kTargets[] = {
    {"peer-message", RunPeerMessage},
    {"snapshot-header", RunSnapshotHeader},
    {"command", RunCommand},
    {"log", RunLog},
    {"watermark", RunWatermark},
    {"state-record", RunStateRecord},
    {"grpc-framing", RunGrpcFraming},
    {"config", RunConfig},
    {"txn-input", RunTxnInput},
    {"raft-core", RunRaftCore},
    {"http1", RunHttp1},
    {"backup-file", RunBackupFile},
    {"snapshot-chunks", RunSnapshotChunks},
    {"http2-connection", RunHttp2Connection},
    {"http1-connection", RunHttp1Connection},
    {"json", RunJson},
    {"handshake", RunHandshake},
    {"data-dir-files", RunDataDirFiles},
};

}  // namespace

absl::Span<const Target> Targets() { return kTargets; }

const Target* FindTarget(std::string_view name) {
  for (const Target& target : kTargets) {
    if (target.name == name) return &target;
  }
  return nullptr;
}

std::string EncodeRow(std::string_view key, std::string_view value) {
  std::string row;
  row.push_back(static_cast<char>(key.size()));
  row.push_back(static_cast<char>(value.size() >> 8));
  row.push_back(static_cast<char>(value.size()));
  return row.append(key).append(value);
}

std::string ScratchDirectory() {
  struct statvfs disk;
  const bool memory = statvfs("/dev/shm", &disk) == 0 &&
                      uint64_t{disk.f_bavail} * disk.f_frsize > uint64_t{512} << 20;
  std::string name = memory ? "/dev/shm/raftkv-fuzz-XXXXXX" : "/tmp/raftkv-fuzz-XXXXXX";
  PCHECK(mkdtemp(name.data()) != nullptr);
  return name;
}

std::string EncodePart(std::string_view part) {
  std::string encoded;
  encoded.push_back(static_cast<char>(part.size() >> 8));
  encoded.push_back(static_cast<char>(part.size()));
  return encoded.append(part);
}

}  // namespace raftkv::fuzz
