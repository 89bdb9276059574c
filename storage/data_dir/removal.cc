#include "storage/data_dir/removal.h"

#include <unistd.h>

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "proto/parse_command.h"
#include "storage/base/check.h"
#include "storage/base/files.h"

namespace raftkv {
namespace {

constexpr char kRemovedFile[] = "REMOVED";
constexpr size_t kReadBytes = 1 << 20;

}  // namespace

absl::Status NoteRemoved(const std::string& dir) { return WriteFile(dir, kRemovedFile, ""); }

bool IsNotedRemoved(const std::string& dir) {
  return access(absl::StrCat(dir, "/", kRemovedFile).c_str(), F_OK) == 0;
}

absl::Status ForgetRemoval(const std::string& dir) {
  const std::string path = absl::StrCat(dir, "/", kRemovedFile);
  if (unlink(path.c_str()) != 0) {
    return errno == ENOENT ? absl::OkStatus() : SystemError(path, "cannot remove", errno);
  }
  return SyncDirectory(dir);
}

Members MembersInLog(const StateMachine& state, const LogStore& log) {
  Members members = state.members();
  for (raft::Index next = state.applied().index + 1; next <= log.last_index();) {
    for (const raft::Entry& entry : log.Entries(next, log.last_index(), kReadBytes)) {
      next = entry.id.index + 1;
      if (entry.type != raft::EntryType::kConfiguration) continue;
      proto::Command command;
      CHECK(ParseCommand(entry.payload.view(), &command)) << "checked when it was appended";
      members.Apply(command.change_members());
    }
  }
  return members;
}

}  // namespace raftkv
