#include "storage/data_dir/log_dir.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "storage/base/disk_space.h"
#include "storage/base/files.h"
#include "storage/engine/rocks_engine.h"
#include "storage/log/watermark.h"

namespace raftkv {
namespace {

namespace fs = std::filesystem;

constexpr char kSalvage[] = "/log.salvage";

struct LogMode {
  bool create = false;
  bool salvage = false;    // RocksOptions
  bool read_only = false;  // changes nothing on the disk
};

// If the log cannot be opened, `*garbage` is set to whether RocksDB found it damaged. RocksDB does
// so if the log ends in garbage, but there may be other damage.
absl::StatusOr<std::unique_ptr<LogStore>> OpenLog(const DataDirOptions& o, const std::string& dir,
                                                  const LogMode& mode, bool* garbage = nullptr) {
  const std::string mark = dir + "/WATERMARK";
  // Before the log has been created for the first time, a crash may have left a part of the file.
  const bool first = mode.create && access((dir + "/CURRENT").c_str(), F_OK) != 0;
  if (first && unlink(mark.c_str()) != 0 && errno != ENOENT) {
    return SystemError(mark, "cannot remove", errno);
  }
  absl::StatusOr<std::unique_ptr<Watermark>> watermark =
      mode.read_only ? Watermark::Read(mark, {o.cluster_id, o.member_id})
                     : Watermark::Open(mark, {o.cluster_id, o.member_id}, /*create=*/first);
  if (!watermark.ok()) return watermark.status();
  RocksOptions rocks;
  rocks.dir = dir;
  rocks.durability = Durability::kSynced;
  rocks.create_if_missing = mode.create;
  rocks.cache_bytes = 8 << 20;
  rocks.salvage = mode.salvage;
  rocks.read_only = mode.read_only;
  if (o.min_free_bytes) rocks.room = std::make_shared<Room>(o.dir, *o.min_free_bytes);
  absl::StatusOr<std::unique_ptr<Engine>> engine = OpenRocksEngine(rocks);
  if (garbage != nullptr) *garbage = absl::IsDataLoss(engine.status());
  if (!engine.ok()) return engine.status();
  absl::StatusOr<std::unique_ptr<LogStore>> log =
      LogStore::Open(*std::move(engine), *std::move(watermark));
  if (!log.ok()) return WithPath(dir, log.status());
  return log;
}

// Table files never change, so the copy shares them, if the file system can.
void CopyLog(const std::string& dir, const std::string& copy, std::error_code* error) {
  fs::create_directory(copy, dir, *error);  // with the same permissions
  for (fs::directory_iterator it(dir, *error), end; !*error && it != end; it.increment(*error)) {
    const fs::path to = copy / it->path().filename();
    std::error_code not_linked = std::make_error_code(std::errc::not_supported);
    if (it->path().extension() == ".sst") fs::create_hard_link(it->path(), to, not_linked);
    if (not_linked) fs::copy(it->path(), to, fs::copy_options::recursive, *error);
  }
}

// After a power loss a log may end in zeros or garbage. They were never acknowledged. This opens a
// copy of the log, in which RocksDB cuts off the garbage. A check needs no copy: it changes
// nothing.
absl::StatusOr<std::unique_ptr<LogStore>> OpenSalvaged(const DataDirOptions& o,
                                                       const std::string& dir, bool read_only) {
  if (read_only) return OpenLog(o, dir, {.salvage = true, .read_only = true});
  const std::string copy = o.dir + kSalvage;
  std::error_code error;
  CopyLog(dir, copy, &error);
  if (error) return SystemError(copy, "cannot copy the log", error.value());
  return OpenLog(o, copy, {.salvage = true});
}

}  // namespace

absl::Status RemoveSalvage(const std::string& dir) {
  std::error_code error;
  fs::remove_all(dir + kSalvage, error);
  return error ? SystemError(dir + kSalvage, "cannot remove", error.value()) : absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<LogStore>> OpenOrSalvageLog(const DataDirOptions& o,
                                                           bool initialized, bool read_only,
                                                           bool* salvaged,
                                                           std::vector<std::string>* warnings) {
  const std::string dir = o.dir + "/log";
  bool garbage = false;
  absl::StatusOr<std::unique_ptr<LogStore>> log =
      OpenLog(o, dir, {.create = !initialized, .read_only = read_only}, &garbage);
  // RocksDB can cut off only damage that it notices. Other damage would still be in the copy.
  if (log.ok() || !garbage || !initialized) return log;
  absl::StatusOr<std::unique_ptr<LogStore>> rest = OpenSalvaged(o, dir, read_only);
  if (!rest.ok()) return log;
  *salvaged = true;
  warnings->push_back(absl::StrCat(
      dir, ": ended in garbage, as after a power loss; ",
      read_only ? "a start repairs it: it will contain " : "repaired: it contains ",
      (*rest)->lost() ? "the entries up to " : "all saved entries, up to ", (*rest)->last_index()));
  return rest;
}

absl::Status UseSalvagedCopy(const DataDirOptions& o, const StateMachine& state,
                             std::unique_ptr<LogStore>* log) {
  const std::string dir = o.dir + "/log", copy = o.dir + kSalvage;
  log->reset();  // RocksDB has written the recovered entries to a new file
  if (absl::Status status = SyncTree(copy); !status.ok()) return status;
  if (renameat2(AT_FDCWD, copy.c_str(), AT_FDCWD, dir.c_str(), RENAME_EXCHANGE) != 0) {
    return SystemError(dir, "cannot replace it with its repaired copy", errno);
  }
  if (absl::Status status = SyncDirectory(o.dir); !status.ok()) return status;
  absl::StatusOr<std::unique_ptr<LogStore>> opened = OpenLog(o, dir, {});
  if (!opened.ok()) return opened.status();
  *log = *std::move(opened);
  if ((*log)->lost()) (*log)->ContinueAfter(state.applied());  // as HandleLoss
  return absl::OkStatus();
}

}  // namespace raftkv
