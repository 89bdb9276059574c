#include "server/restore.h"

#include <filesystem>
#include <memory>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "storage/backup/progress_bar.h"
#include "storage/data_dir/restore.h"

namespace raftkv {

absl::StatusOr<std::string> Restore(Config config, size_t self, const RestoreArguments& arguments,
                                    std::ostream* terminal) {
  if ((arguments.bump_revision > 0) != arguments.mark_compacted) {
    return absl::InvalidArgumentError("--bump-revision and --mark-compacted need each other");
  }
  absl::StatusOr<std::unique_ptr<BackupReader>> backup = BackupReader::Open(arguments.file);
  if (!backup.ok()) return backup.status();
  DeriveIds(&config, RestoreToken(**backup, arguments.bump_revision));
  const MemberConfig& member = config.members[self];
  std::error_code error;
  const std::filesystem::path dir = std::filesystem::absolute(member.data_dir, error);
  if (error) return absl::UnavailableError(absl::StrCat("the working directory is gone"));

  ProgressBar bar(terminal, absl::Now());
  RestoreOptions options;
  options.bump_revision = arguments.bump_revision;
  for (const MemberConfig& each : config.members) {
    etcdserverpb::Member& info = options.members.emplace_back();
    info.set_id(each.id);
    info.set_name(each.name);
    info.add_peerurls(each.peer_url);
    info.add_clienturls(each.client_url);
  }
  options.on_progress = [&](uint64_t bytes) { bar.Set(bytes, (*backup)->size(), absl::Now()); };
  const absl::StatusOr<Restored> restored = RestoreDataDir(backup->get(),
                                                           {.dir = dir.lexically_normal().string(),
                                                            .cluster_id = config.cluster_id,
                                                            .cluster_name = config.cluster_name,
                                                            .member_id = member.id,
                                                            .member_name = member.name},
                                                           options);
  if (!restored.ok()) return restored.status();
  return absl::StrFormat(
      "restored member %s (%x) of cluster %s (%x) into %s: revision %d, %d keys; restore the same "
      "file on each other member, then start them",
      member.name, member.id, config.cluster_name, config.cluster_id, member.data_dir,
      restored->revision, restored->keys);
}

}  // namespace raftkv
