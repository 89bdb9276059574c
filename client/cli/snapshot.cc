// The verbs `snapshot save`, `snapshot status` and `snapshot restore`.

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "client/cli/cli.h"
#include "client/cli/usage.h"
#include "storage/backup/backup_file.h"
#include "storage/backup/progress_bar.h"
#include "storage/base/files.h"

namespace raftkv::client {
namespace {

// As in etcd, the size of a snapshot without its checksum is a multiple of this.
constexpr uint64_t kBlock = 512;

std::ostream* Terminal(const Context& context) {
  return context.streams.err_is_terminal ? &context.streams.err : nullptr;
}

// Writes the snapshot that arrives to FILE.part, and renames that to FILE when it is complete and
// synced. So FILE is always a complete snapshot.
class NewFile {
 public:
  explicit NewFile(const std::string& path) : path_(path), part_(path + ".part") {}
  ~NewFile() {
    if (fd_ >= 0) close(fd_);
    if (created_) unlink(part_.c_str());
  }

  absl::Status Create() {
    std::error_code error;
    if (std::filesystem::is_directory(path_, error)) {
      return absl::InvalidArgumentError(absl::StrCat(path_, ": is a directory; name a file"));
    }
    fd_ = open(part_.c_str(), O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
    created_ = fd_ >= 0;
    return created_ ? absl::OkStatus() : SystemError(part_, "cannot create", errno);
  }

  absl::Status Write(std::string_view data) {
    for (std::string_view left = data; !left.empty();) {
      const ssize_t n = write(fd_, left.data(), left.size());
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) return SystemError(part_, "cannot write", n < 0 ? errno : ENOSPC);
      left.remove_prefix(static_cast<size_t>(n));
    }
    size_ += data.size();
    // The last bytes may be the SHA-256 of those before.
    tail_.append(data);
    if (tail_.size() > Sha256::kBytes) {
      const size_t sure = tail_.size() - Sha256::kBytes;
      sha256_.Update(std::string_view(tail_).substr(0, sure));
      tail_.erase(0, sure);
    }
    return absl::OkStatus();
  }

  absl::Status Finish() {
    if (size_ % kBlock != Sha256::kBytes || sha256_.Finish() != tail_) {
      return absl::DataLossError("the snapshot that arrived is torn or damaged; save it again");
    }
    const bool synced = fsync(fd_) == 0;
    const int error = errno;
    const bool closed = close(fd_) == 0;
    fd_ = -1;
    if (!synced || !closed) return SystemError(part_, "cannot sync", error);
    if (rename(part_.c_str(), path_.c_str()) != 0)
      return SystemError(path_, "cannot rename", errno);
    created_ = false;
    const std::string parent = std::filesystem::path(path_).parent_path().string();
    return SyncDirectory(parent.empty() ? "." : parent);
  }

 private:
  const std::string path_;
  const std::string part_;
  int fd_ = -1;
  bool created_ = false;
  uint64_t size_ = 0;
  std::string tail_;
  Sha256 sha256_;
};

int Save(const std::string& path, const Context& context) {
  NewFile file(path);
  absl::Status status = file.Create();
  if (!status.ok()) return context.Fail(kExitFailed, status.message());
  bool arrived = false;
  {
    ProgressBar bar(Terminal(context), absl::Now());
    uint64_t bytes = 0;
    status = context.Connect()->Snapshot([&](std::string_view piece, uint64_t remaining) {
      bytes += piece.size();
      bar.Set(bytes, bytes + remaining, absl::Now());
      return file.Write(piece);
    });
    arrived = status.ok();
    if (arrived) status = file.Finish();
  }
  if (!status.ok() && !arrived) return context.Fail(status);
  if (!status.ok()) return context.Fail(kExitFailed, status.message());
  context.streams.out << "Snapshot saved at " << path << "\n";
  return kExitOk;
}

int Status(const std::string& path, const Context& context) {
  const auto backup = BackupReader::Open(path);
  if (!backup.ok()) return context.Fail(kExitFailed, backup.status().message());
  absl::Status status;
  {
    ProgressBar bar(Terminal(context), absl::Now());
    status = (*backup)->ReadAll(
        {}, [&](uint64_t bytes) { bar.Set(bytes, (*backup)->size(), absl::Now()); });
  }
  if (!status.ok()) return context.Fail(kExitFailed, status.message());
  const proto::BackupHeader& header = (*backup)->header();
  BackupStatus result;
  result.sha256 = absl::BytesToHexString((*backup)->sha256());
  result.revision = header.revision();
  result.compact_revision = header.compact_revision();
  result.total_keys = header.keys();
  result.total_size = static_cast<int64_t>((*backup)->size());
  result.raft_index = header.index();
  result.raft_term = header.term();
  result.cluster_version = header.cluster_version();
  result.cluster_name = header.cluster_name();
  result.cluster_id = header.cluster_id();
  result.member_name = header.member_name();
  result.member_id = header.member_id();
  result.taken_at = absl::FromUnixSeconds(header.taken_at());
  result.server_version = header.server_version();
  context.MakeOutput().Backup(result);
  return kExitOk;
}

struct RestoreWords {
  std::string file;
  std::string config;
  std::string member;
  const CLI::Option* bump = nullptr;
  int64_t bump_revision = 0;
  bool mark_compacted = false;
};

// Runs raftkv-server, which writes the data directory: the program in the directory of this one, or
// else the one on the PATH.
int Restore(const RestoreWords& words, const Context& context) {
  if (words.config.empty()) {
    return context.BadArguments(
        "snapshot restore: needs -c FILE, the config file of the new cluster; the directory is "
        "data_dir of member -n in that file");
  }
  std::vector<std::string> arguments = {"raftkv-server", "--restore", words.file, "-c",
                                        words.config};
  if (!words.member.empty()) arguments.insert(arguments.end(), {"-n", words.member});
  if (words.bump->count() > 0) {
    arguments.insert(arguments.end(), {"--bump-revision", absl::StrCat(words.bump_revision)});
  }
  if (words.mark_compacted) arguments.emplace_back("--mark-compacted");
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  context.streams.out.flush();
  std::error_code error;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", error);
  if (!error) execv((self.parent_path() / "raftkv-server").c_str(), argv.data());
  execvp("raftkv-server", argv.data());
  return context.Fail(kExitFailed, absl::StrCat("cannot run raftkv-server, which writes the data "
                                                "directory: ",
                                                strerror(errno)));
}

}  // namespace

void AddSnapshotVerbs(CLI::App& app, Context& context) {
  CLI::App* snapshot = app.add_subcommand("snapshot", "Saves, checks and restores backups");
  snapshot->require_subcommand(0, 1);

  auto path = std::make_shared<std::string>();
  CLI::App* save = snapshot->add_subcommand(
      "save", "Saves the state of one member, the first endpoint that can be reached");
  save->add_option("file", *path, "the file to write")->required();
  context.OnVerb(save, [&context, path] { return Save(*path, context); });

  CLI::App* status = snapshot->add_subcommand(
      "status", "Checks a backup, and prints its hash, revision, keys and size");
  status->add_option("file", *path, "the backup")->required();
  context.OnVerb(status, [&context, path] { return Status(*path, context); });

  auto words = std::make_shared<RestoreWords>();
  CLI::App* restore = snapshot->add_subcommand(
      "restore", "Writes the data directory of one member of a new cluster (docs/backup.md)");
  restore->add_option("file", words->file, "the backup")->required();
  restore->add_option("-c,--config", words->config, "the TOML file of the new cluster");
  restore->add_option("-n,--member", words->member, "the member: its name or 1-based number");
  words->bump = AddNumber(*restore, "--bump-revision", words->bump_revision,
                          "raise the revision by this number; needs --mark-compacted");
  restore->add_flag("--mark-compacted", words->mark_compacted,
                    "compact all revisions of the backup, so that watches of the old cluster end");
  context.OnVerb(restore, [&context, words] { return Restore(*words, context); });
}

}  // namespace raftkv::client
