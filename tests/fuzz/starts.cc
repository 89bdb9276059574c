// What a member reads when it starts or meets another one: the introductions of peers, and the
// small files of its data directory.

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "glog/logging.h"
#include "server/peer/handshake.h"
#include "server/peer/raft_codec.h"
#include "storage/base/checksum.h"
#include "storage/data_dir/data_dir.h"
#include "storage/data_dir/state_dirs.h"
#include "tests/fuzz/input.h"
#include "tests/fuzz/targets.h"

namespace raftkv::fuzz {
namespace {

constexpr uint64_t kCluster = 0xc1;
constexpr raft::MemberId kSelf = 1, kKnown = 2, kAlsoKnown = 3;
constexpr size_t kStoreIdBytes = 16;

bool IsOneLine(const absl::Status& status) {
  return !status.message().empty() && status.message().find('\n') == absl::string_view::npos;
}

// The rules of a handshake, once more.
bool IsForThisMember(const proto::Peer& who) {
  return who.cluster_id() == kCluster && who.to() == kSelf && who.from() != raft::kNobody &&
         who.from() != kSelf && who.store_id().size() == kStoreIdBytes;
}

// The answer to a Hello means the same after it was encoded again.
void CheckReply(const proto::HelloResponse& in) {
  const absl::StatusOr<HelloReply> reply = Decode(in);
  if (!reply.ok()) return;
  CHECK(!reply->log_empty ||
        (!reply->store_id_rejected && !reply->removed && reply->forgotten == raft::Reached{}))
      << "a rejection that permits to vote";
  const absl::StatusOr<HelloReply> again = Decode(Encode(*reply));
  CHECK(again.ok()) << again.status();
  CHECK(again->log_empty == reply->log_empty &&
        again->store_id_rejected == reply->store_id_rejected && again->removed == reply->removed &&
        again->forgotten == reply->forgotten);
}

// Corrects the checksum in the last line of a file of text.
void CorrectLastLine(std::string* text) {
  constexpr std::string_view kName = "crc32c ";
  const size_t at = text->rfind(kName);
  if (at == std::string::npos) return;
  const std::string_view before = std::string_view(*text).substr(0, at);
  text->replace(at + kName.size(), std::string::npos, absl::StrFormat("%08x\n", Crc32c(before)));
}

// The owner of the directory may use it, and nobody else.
void CheckIdentity(const std::string& dir) {
  const absl::StatusOr<std::optional<Identity>> identity = ReadIdentity(dir);
  DataDirOptions options = {.dir = dir, .cluster_name = "a", .member_name = "n1"};
  if (!identity.ok()) {
    CHECK(IsOneLine(identity.status())) << identity.status();
    CHECK(!CheckDataDir(options).ok());
    return;
  }
  if (!*identity) return;
  CHECK_EQ((*identity)->store_id.size(), kStoreIdBytes);
  options.cluster_id = (*identity)->cluster_id;
  options.cluster_name = (*identity)->cluster_name;
  options.member_id = (*identity)->member_id;
  options.member_name = (*identity)->member_name;
  CHECK(CheckDataDir(options).ok()) << CheckDataDir(options).status();
  options.member_id ^= 1;
  const absl::StatusOr<DataDirCheck> other = CheckDataDir(options);
  CHECK(!other.ok());
  CHECK(IsOneLine(other.status())) << other.status();
}

// The state's directory is one in the data directory.
void CheckCurrent(const std::string& dir) {
  const absl::StatusOr<std::unique_ptr<StateDirs>> states = StateDirs::Open({.data_dir = dir});
  if (!states.ok()) {
    CHECK(absl::IsDataLoss(states.status()) && IsOneLine(states.status())) << states.status();
    return;
  }
  const std::filesystem::path path = (*states)->path();
  CHECK_EQ(path.parent_path().string(), dir);
  const std::string name = path.filename().string();
  CHECK(name == "sm" || name.starts_with("sm-")) << name;
}

}  // namespace

// The parts of the input are Hello requests. The first byte of each says whether it is an answer.
void RunHandshake(std::string_view input) {
  Handshake handshake(kCluster,
                      {.id = kSelf,
                       .store_id = std::string(kStoreIdBytes, 's'),
                       .newest_version = kNewestVersion,
                       .boot_id = 1},
                      {{kKnown, {"n2", "a:1"}}, {kAlsoKnown, {"n3", "b:1"}}},
                      /*listed=*/{});
  std::set<raft::MemberId> strangers;
  while (!input.empty()) {
    std::string_view part = TakePart(&input);
    const uint8_t kind = TakeByte(&part);
    const int bytes = static_cast<int>(part.size());
    const uint64_t rejected = handshake.rejections().total();
    if (kind % 2 == 0) {
      proto::HelloRequest hello;
      if (!hello.ParseFromArray(part.data(), bytes)) continue;
      const proto::Peer& who = hello.peer();
      const absl::Status status = handshake.Check(who);
      CHECK_EQ(handshake.rejections().total(), rejected + (status.ok() ? 0 : 1));
      if (!status.ok()) {
        CHECK(absl::IsFailedPrecondition(status) && IsOneLine(status)) << status;
        continue;
      }
      CHECK(IsForThisMember(who)) << who.ShortDebugString();
      if (who.from() != kKnown && who.from() != kAlsoKnown) strangers.insert(who.from());
      CHECK_LE(strangers.size(), kStrangersMax);
      const Sender sender = Handshake::SenderOf(who);
      CHECK(sender.id == who.from() && sender.newest_version >= kFirstVersion);
    } else {
      proto::HelloResponse hello;
      if (!hello.ParseFromArray(part.data(), bytes)) continue;
      const proto::Peer& who = hello.peer();
      if (handshake.CheckAnswer(kKnown, who)) {
        CHECK(IsForThisMember(who) && who.from() == kKnown) << who.ShortDebugString();
      } else {
        CHECK_EQ(handshake.rejections().total(), rejected + 1);
      }
      CheckReply(hello);
    }
  }
  const proto::Peer who = handshake.Introduction(kKnown);
  CHECK(who.to() == kKnown && who.from() == kSelf);
}

// The first byte chooses the file. Its checksum is corrected.
void RunDataDirFiles(std::string_view input) {
  const bool identity = TakeByte(&input) % 2 == 0;
  std::string text(input);
  CorrectLastLine(&text);
  const std::string dir = ScratchDirectory();
  std::ofstream(absl::StrCat(dir, identity ? "/IDENTITY" : "/CURRENT"), std::ios::binary) << text;
  identity ? CheckIdentity(dir) : CheckCurrent(dir);
  std::filesystem::remove_all(dir);
}

}  // namespace raftkv::fuzz
