#include "storage/data_dir/state_dirs.h"

#include <sys/random.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "glog/logging.h"
#include "storage/base/checksum.h"
#include "storage/base/files.h"
#include "storage/engine/rocks_engine.h"
#include "storage/mvcc/layout.h"
#include "storage/tables/members.h"

namespace raftkv {
namespace {

namespace fs = std::filesystem;

constexpr char kFirstDir[] = "sm";
constexpr char kStatePrefix[] = "sm-";
constexpr char kSentPrefix[] = "snapshot-";
constexpr char kCurrent[] = "CURRENT";

std::string NewName(const char* prefix) {
  uint64_t number = 0;
  CHECK_EQ(getrandom(&number, sizeof(number), 0), static_cast<ssize_t>(sizeof(number)));
  return absl::StrFormat("%s%016x", prefix, number);
}

bool IsName(std::string_view name, std::string_view prefix) {
  if (!name.starts_with(prefix) || name.size() != prefix.size() + 16) return false;
  for (const char c : name.substr(prefix.size())) {
    if (!absl::ascii_isdigit(c) && (c < 'a' || c > 'f')) return false;
  }
  return true;
}

[[noreturn]] void Die(const absl::Status& status) {
  LOG(ERROR) << "installing a snapshot: " << status.message()
             << "; stopping, because data on a failing disk cannot be trusted";
  google::FlushLogFiles(google::INFO);
  std::abort();
}

}  // namespace

// A directory of a state machine. If it is obsolete, it is removed when the last user of it ends.
class StateDirs::Dir {
 public:
  Dir(const std::string& data_dir, std::string name, std::shared_ptr<DirRemover> remover)
      : name_(std::move(name)),
        path_(absl::StrCat(data_dir, "/", name_)),
        remover_(std::move(remover)) {}
  ~Dir() {
    if (obsolete_) remover_->Remove(path_);
  }
  const std::string& name() const { return name_; }
  const std::string& path() const { return path_; }
  void set_obsolete(bool obsolete) { obsolete_ = obsolete; }

 private:
  const std::string name_;
  const std::string path_;
  const std::shared_ptr<DirRemover> remover_;
  bool obsolete_ = false;  // set while the object is shared; read when its last owner deletes it
};

class StateDirs::Received final : public ReceivedSnapshot {
 public:
  Received(const LogStore::Tip& base, std::shared_ptr<Dir> dir, std::unique_ptr<StateMachine> state)
      : ReceivedSnapshot(base, state->members().configuration()),
        dir(std::move(dir)),
        state(std::move(state)) {}
  const std::shared_ptr<Dir> dir;
  std::unique_ptr<StateMachine> state;
};

StateDirs::~StateDirs() = default;

// CURRENT: lines "name value". The last line is a checksum of those before it.
absl::Status StateDirs::WriteCurrent() const {
  std::string text = absl::StrFormat("state %s\n", current_->name());
  if (resume_) {
    absl::StrAppendFormat(&text, "log_after_term %d\nlog_after_index %d\nlog_after_chain %016x\n",
                          resume_->id.term, resume_->id.index, resume_->chain_hash);
  }
  absl::StrAppendFormat(&text, "crc32c %08x\n", Crc32c(text));
  return WriteFile(options_.data_dir, kCurrent, text);
}

absl::StatusOr<std::unique_ptr<StateDirs>> StateDirs::Open(StateDirsOptions options) {
  const std::string path = absl::StrCat(options.data_dir, "/", kCurrent);
  std::unique_ptr<StateDirs> dirs(new StateDirs(std::move(options)));
  const std::string& data_dir = dirs->options_.data_dir;
  const absl::StatusOr<std::string> text = ReadFile(path);
  if (!text.ok()) return text.status();
  if (text->empty()) {
    dirs->current_ = std::make_shared<Dir>(data_dir, kFirstDir, dirs->remover_);
    return dirs;
  }
  const absl::Status damaged = absl::DataLossError(absl::StrCat(path, ": is damaged"));
  std::map<std::string, std::string> values;
  for (const absl::string_view line : absl::StrSplit(*text, '\n', absl::SkipEmpty())) {
    const std::pair<std::string, std::string> pair = absl::StrSplit(line, absl::MaxSplits(' ', 1));
    values.insert(pair);
  }
  const size_t crc_at = text->rfind("crc32c ");
  uint64_t crc = 0;
  if (crc_at == std::string::npos || !absl::SimpleHexAtoi(values["crc32c"], &crc) ||
      crc != Crc32c(text->substr(0, crc_at))) {
    return damaged;
  }
  const std::string name = values["state"];
  if (name != kFirstDir && !IsName(name, kStatePrefix)) return damaged;
  dirs->current_ = std::make_shared<Dir>(data_dir, name, dirs->remover_);
  if (values.contains("log_after_index")) {
    LogStore::Tip tip;
    if (!absl::SimpleAtoi(values["log_after_term"], &tip.id.term) ||
        !absl::SimpleAtoi(values["log_after_index"], &tip.id.index) ||
        !absl::SimpleHexAtoi(values["log_after_chain"], &tip.chain_hash)) {
      return damaged;
    }
    dirs->resume_ = tip;
  }
  return dirs;
}

const std::string& StateDirs::path() const { return current_->path(); }

absl::StatusOr<std::unique_ptr<StateMachine>> StateDirs::OpenStateMachine(bool create) {
  return OpenIn(current_, create);
}

Members StateDirs::ReadMembers() const {
  Members members;
  const absl::Status status = ScanClosedRocks(
      {.dir = path(), .durability = Durability::kFlushed}, /*verify=*/false,
      {{std::string(1, MemberTable::kLetter), mvcc::TableEnd(MemberTable::kLetter)}},
      [&](std::string_view key, std::string_view value) {
        return MemberTable::ReadRow(key, value, &members);
      });
  return status.ok() ? members : Members();
}

absl::StatusOr<std::unique_ptr<StateMachine>> StateDirs::OpenIn(std::shared_ptr<Dir> dir,
                                                                bool create) const {
  RocksOptions rocks;
  rocks.dir = dir->path();
  rocks.durability = Durability::kFlushed;
  rocks.filter_prefix = mvcc::VersionFilterPrefix;
  rocks.hint_prefix = mvcc::TableLetter;
  rocks.create_if_missing = create;
  rocks.read_only = options_.read_only;
  rocks.cache_bytes = options_.cache_bytes;
  if (options_.min_free_bytes) {
    rocks.room = std::make_shared<Room>(options_.data_dir, *options_.min_free_bytes);
  }
  rocks.held = std::move(dir);
  absl::StatusOr<std::unique_ptr<Engine>> engine = OpenRocksEngine(rocks);
  if (!engine.ok()) return engine.status();
  return StateMachine::Open(*std::move(engine), {.newest_version = options_.newest_version});
}

absl::Status StateDirs::RemoveLeftovers() const {
  const absl::StatusOr<std::vector<std::string>> names = NamesIn(options_.data_dir);
  if (!names.ok()) return names.status();
  for (const std::string& name : *names) {
    const bool state = name == kFirstDir || IsName(name, kStatePrefix);
    const bool obsolete = state && name != current_->name();
    if (!obsolete && !name.starts_with(kSentPrefix)) continue;
    const std::string path = options_.data_dir + "/" + name;
    std::error_code error;
    fs::remove_all(path, error);
    if (error) return SystemError(path, "cannot remove", error.value());
  }
  return absl::OkStatus();
}

std::unique_ptr<StateMachine> StateDirs::Replace(std::unique_ptr<ReceivedSnapshot> snapshot) {
  auto& received = static_cast<Received&>(*snapshot);
  const std::shared_ptr<Dir> before = std::exchange(current_, received.dir);
  resume_ = received.base();
  if (absl::Status status = WriteCurrent(); !status.ok()) Die(status);
  current_->set_obsolete(false);
  before->set_obsolete(true);
  return std::move(received.state);
}

void StateDirs::Replaced() {
  resume_.reset();
  if (absl::Status status = WriteCurrent(); !status.ok()) Die(status);
}

absl::StatusOr<std::unique_ptr<TakenSnapshot>> StateDirs::Take(const StateMachine& state) const {
  const std::string dir = absl::StrCat(options_.data_dir, "/", NewName(kSentPrefix));
  if (absl::Status status = state.Checkpoint(dir); !status.ok()) return status;
  return TakenSnapshot::Open(dir);
}

absl::StatusOr<std::unique_ptr<SnapshotWriter>> StateDirs::Receive(
    const SnapshotManifest& manifest) const {
  return SnapshotWriter::Create(absl::StrCat(options_.data_dir, "/", NewName(kStatePrefix)),
                                manifest);
}

absl::StatusOr<std::unique_ptr<ReceivedSnapshot>> StateDirs::Accept(
    std::unique_ptr<SnapshotWriter> writer) const {
  if (absl::Status status = writer->Finish(); !status.ok()) return status;
  const std::string name = fs::path(writer->dir()).filename().string();
  auto dir = std::make_shared<Dir>(options_.data_dir, name, remover_);
  dir->set_obsolete(true);  // Replace sets it to false
  // A state that this program does not open, because of its cluster version for example, must not
  // replace the one in use.
  absl::StatusOr<std::unique_ptr<StateMachine>> state = OpenIn(dir, /*create=*/false);
  if (!state.ok()) return state.status();
  return std::make_unique<Received>(writer->manifest().base, std::move(dir), *std::move(state));
}

}  // namespace raftkv
