#include "storage/data_dir/data_dir.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <iterator>
#include <set>
#include <system_error>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "storage/base/disk_space.h"
#include "storage/base/files.h"
#include "storage/data_dir/log_dir.h"
#include "storage/data_dir/removal.h"
#include "storage/data_dir/start_space.h"
#include "storage/engine/memory_engine.h"
#include "storage/engine/rocks_engine.h"
#include "storage/log/watermark.h"
#include "storage/mvcc/layout.h"

namespace raftkv {
namespace {

namespace fs = std::filesystem;

// What the operator should do about damage.
constexpr char kRemedy[] =
    "; keep a copy of this directory before you change anything. If files were moved or the disk "
    "can be repaired, put the files back exactly as they were, never from an older copy. In a "
    "cluster of several members the others hold the data: keep them running, and replace this one "
    "(raftkv member replace). A single member has the only copy of its data";

// OK if the last part of the path that exists is a directory.
absl::Status CheckIsDirectory(const std::string& dir) {
  std::error_code error;
  fs::path path = dir;
  while (!fs::exists(path, error) && path.has_relative_path()) path = path.parent_path();
  if (path.empty() || !fs::exists(path, error) || fs::is_directory(path, error)) {
    return absl::OkStatus();
  }
  return absl::UnavailableError(absl::StrCat(path.string(), ": is not a directory"));
}

// Creates the directory and its parents, and syncs the directory of each new name.
absl::Status MakeDirectory(const std::string& dir) {
  std::error_code error;
  if (fs::is_directory(dir, error)) return absl::OkStatus();
  const fs::path parent = fs::path(dir).parent_path();
  if (!parent.empty() && parent != dir) {
    if (absl::Status s = MakeDirectory(parent.string()); !s.ok()) return s;
  }
  if (mkdir(dir.c_str(), 0700) != 0 && errno != EEXIST) {
    return SystemError(dir, "cannot create the data directory", errno);
  }
  return SyncDirectory(parent.empty() ? "." : parent.string());
}

// A restore that was interrupted has left a part of the data.
absl::Status CheckNotRestoring(const std::string& dir) {
  if (access((dir + "/" + kRestoringFile).c_str(), F_OK) != 0) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat(dir,
                   ": a restore of a backup did not finish here; repeat raftkv snapshot "
                   "restore"));
}

// A directory without our files must be empty, so that we do not mix our files with those of
// another program or user. Files that an interrupted first start leaves are ours.
absl::Status CheckOursOrEmpty(const std::string& dir) {
  static constexpr std::string_view kOurs[] = {"LOCK", "IDENTITY.tmp", "RESTORING.tmp",
                                               "lost+found"};
  for (const char* ours : {"IDENTITY", "INITIALIZED", kRestoringFile}) {
    if (access((dir + "/" + ours).c_str(), F_OK) == 0) return absl::OkStatus();
  }
  const absl::StatusOr<std::vector<std::string>> names = NamesIn(dir);
  if (!names.ok()) return names.status();
  std::set<std::string> others;
  for (const std::string& name : *names) {
    if (std::find(std::begin(kOurs), std::end(kOurs), name) == std::end(kOurs)) others.insert(name);
  }
  if (others.empty()) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat(dir, ": is not a raftkv data directory and not empty (it contains \"",
                   absl::CEscape(*others.begin()), "\"); choose another data_dir, or empty it"));
}

// What a process has written into the LOCK that it holds.
std::string OwnerIn(int fd) {
  char owner[32] = {};
  (void)!pread(fd, owner, sizeof(owner) - 1, 0);
  return std::string(absl::StripAsciiWhitespace(owner));
}

absl::StatusOr<std::unique_ptr<DirLock>> Lock(const std::string& dir) {
  const std::string path = dir + "/LOCK";
  const int fd = open(path.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600);
  if (fd < 0) return SystemError(path, "cannot open", errno);
  auto lock = std::make_unique<DirLock>(fd, path);
  if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return SystemError(path, "cannot lock", errno);
    return absl::FailedPreconditionError(
        absl::StrCat(dir, ": is in use by process ", OwnerIn(fd),
                     "; stop it first. Two members never share a directory"));
  }
  const std::string text = absl::StrCat(getpid(), "\n");
  // On a full disk the lock is held without the process id.
  if ((ftruncate(fd, 0) != 0 || pwrite(fd, text.data(), text.size(), 0) < 0) && errno != ENOSPC) {
    return SystemError(path, "cannot write", errno);
  }
  return lock;
}

// The process that uses the directory, as its LOCK has it. None: no process does. The lock is not
// kept, because a start must not fail on account of a check.
std::optional<std::string> UserOf(const std::string& dir) {
  const int fd = open((dir + "/LOCK").c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return std::nullopt;
  const absl::Cleanup close_it = [fd] { close(fd); };
  if (flock(fd, LOCK_SH | LOCK_NB) == 0 || errno != EWOULDBLOCK) return std::nullopt;
  return OwnerIn(fd);
}

bool IsInitialized(const std::string& dir) {
  return access((dir + "/INITIALIZED").c_str(), F_OK) == 0;
}

// --- the identity
// OK if the directory belongs to the configured member. After an edit of the config file the remedy
// must not be a new directory: with one on every member, the cluster would be empty.
absl::Status CheckIdentity(const std::string& path, const Identity& identity,
                           const DataDirOptions& o) {
  if (identity.cluster_name != o.cluster_name) {
    return absl::FailedPreconditionError(absl::StrFormat(
        "%s: belongs to cluster \"%s\" (%x), not to \"%s\" (%x); if the config file was edited, "
        "restore it: a cluster's name cannot change; else set data_dir to this member's own "
        "directory",
        path, identity.cluster_name, identity.cluster_id, o.cluster_name, o.cluster_id));
  }
  if (identity.member_id != o.member_id) {
    const Members members = ReadMembers(o.dir);
    const Members::Member* known = members.Find(identity.member_id);
    return absl::FailedPreconditionError(absl::StrFormat(
        "%s: belongs to member \"%s\" (%x)%s, not to \"%s\" (%x); start it with -n %s, or set "
        "data_dir of %s to its own directory; if name and peer_url of one member were both "
        "edited, restore one of them: the name may change, and the peer_url changes with raftkv "
        "member update",
        path, identity.member_name, identity.member_id,
        known == nullptr ? ""
                         : absl::StrCat(", which the cluster reaches at ",
                                        absl::StrJoin(known->info.peerurls(), ",")),
        o.member_name, o.member_id, identity.member_name, o.member_name));
  }
  if (identity.cluster_id != o.cluster_id) {  // the server sets it from the directory (SetIds)
    return absl::FailedPreconditionError(
        absl::StrFormat("%s: belongs to cluster \"%s\" (%x), not to one with other members (%x)",
                        path, identity.cluster_name, identity.cluster_id, o.cluster_id));
  }
  return absl::OkStatus();
}

absl::StatusOr<Identity> LoadOrCreateIdentity(const DataDirOptions& o, bool initialized) {
  absl::StatusOr<std::optional<Identity>> identity = ReadIdentityFile(o.dir);
  if (!identity.ok()) return identity.status();
  if (identity->has_value()) {
    if (absl::Status s = CheckIdentity(IdentityPath(o.dir), **identity, o); !s.ok()) return s;
    return *std::move(*identity);
  }
  if (initialized) {
    return absl::DataLossError(absl::StrCat(IdentityPath(o.dir), ": is missing or empty"));
  }
  Identity created{o.cluster_id,    o.cluster_name, o.member_id, o.member_name,
                   /*store_id=*/"", o.joins,        o.restored};
  if (absl::Status s = CreateIdentityFile(o.dir, &created); !s.ok()) return s;
  return created;
}

// --- the log and the state machine
absl::Status LostEntries(const std::string& dir, const LogStore& log) {
  return absl::DataLossError(absl::StrCat(dir, ": entries ", log.lost()->first, " to ",
                                          log.lost()->last.index,
                                          " were saved but are missing (see WATERMARK)"));
}

absl::StatusOr<std::unique_ptr<StateMachine>> OpenOrRebuildStateMachine(
    StateDirs* states, bool initialized, bool read_only, const LogStore& log,
    std::vector<std::string>* warnings) {
  const std::string dir = states->path();
  absl::StatusOr<std::unique_ptr<StateMachine>> state = states->OpenStateMachine(!initialized);
  if (state.ok()) return state;
  if (!absl::IsDataLoss(state.status()) || !initialized) {
    return WithPath(dir, state.status());
  }
  if (log.first_index() != 1) {
    return absl::DataLossError(
        absl::StrCat(WithPath(dir, state.status()).message(),
                     "; it cannot be rebuilt, because the log no longer has all entries"));
  }
  warnings->push_back(absl::StrCat(WithPath(dir, state.status()).message(), "; ",
                                   read_only ? "a start rebuilds it" : "repaired: rebuilding it",
                                   " from the log, entries 1 to ", log.last_index()));
  if (read_only) {
    return StateMachine::Open(
        std::make_unique<MemoryEngine>(std::make_shared<MemoryDisk>(), Durability::kFlushed), {});
  }
  std::error_code error;
  fs::remove_all(dir, error);
  if (error) return SystemError(dir, "cannot remove the damaged state", error.value());
  return states->OpenStateMachine(/*create=*/true);
}

// Whether this member is the only voter, so that nobody can lead and repair its log.
bool IsOnlyVoter(const DataDirOptions& o, const StateMachine& state) {
  if (!state.members().known()) return !o.has_peers && !o.joins;
  return state.members().configuration().voters == std::vector<raft::MemberId>{o.member_id};
}

// If the log has lost entries, it continues after the last one that is applied, or it must be
// repaired.
absl::Status HandleLoss(const DataDirOptions& o, LogStore* log, const StateMachine& state,
                        std::vector<std::string>* warnings) {
  const std::string dir = o.dir + "/log";
  const raft::Index first = log->lost()->first, last = log->lost()->last.index;
  if (!log->ContinueAfter(state.applied())) return LostEntries(dir, *log);
  if (!log->lost()) {
    const bool votes = IsOnlyVoter(o, state);
    if (votes) log->AllowVoting();
    warnings->push_back(absl::StrCat(
        dir, ": lost entries ", first, " to ", last,
        "; the state has them, so they are not missing",
        votes ? ""
              : "; this member does not vote until a leader has sent it what may follow them"));
    return absl::OkStatus();
  }
  if (IsOnlyVoter(o, state)) return LostEntries(dir, *log);
  warnings->push_back(
      absl::StrCat(dir, ": lost entries ", first, " to ", last,
                   ", which this member had acknowledged; a leader sends them again, and this "
                   "member does not vote before it has them"));
  return absl::OkStatus();
}

// The log must contain the entry that the state machine applied last. If the state machine is ahead
// of the log, the log lost entries.
absl::Status CheckTogether(const std::string& dir, const LogStore& log, const StateMachine& state) {
  const raft::EntryId applied = state.applied();
  if (applied.index > log.last_index()) {
    return absl::DataLossError(absl::StrCat(dir, "/log: ends at entry ", log.last_index(),
                                            ", but entry ", applied.index, " was applied"));
  }
  if (applied.index + 1 < log.first_index()) {
    return absl::DataLossError(absl::StrCat(dir, "/sm: ends at entry ", applied.index,
                                            ", but the log starts at ", log.first_index()));
  }
  if (log.TermAt(applied.index) != applied.term) {
    return absl::DataLossError(absl::StrCat(dir, "/sm: entry ", applied.index, " of term ",
                                            applied.term, " was applied, but the log's is of term ",
                                            log.TermAt(applied.index)));
  }
  return absl::OkStatus();
}

absl::Status Removed(const DataDirOptions& o) {
  return absl::FailedPreconditionError(absl::StrFormat(
      "%s: member \"%s\" (%x) was removed from cluster \"%s\"; it cannot use this directory "
      "again. If a member is to run here again: raftkv member add, then start it with an empty "
      "data_dir and --join. If all other members are lost and only this directory is left: "
      "--force-new-cluster (docs/cli.md)",
      o.dir, o.member_name, o.member_id, o.cluster_name));
}

bool SaysRemoved(const DataDirOptions& o, const StateMachine& state, const LogStore& log) {
  return !o.even_if_removed && state.members().removed(o.member_id) &&
         MembersInLog(state, log).Find(o.member_id) == nullptr;
}

absl::Status WithRemedy(const absl::Status& status) {
  if (!absl::IsDataLoss(status)) return status;
  return absl::DataLossError(absl::StrCat(status.message(), kRemedy));
}

// Opens the log and the state, repairs what can be repaired, and checks that the two fit together.
// `read_only`: the repairs are made in memory only. `*salvaged`: as for OpenOrSalvageLog.
absl::Status OpenParts(const DataDirOptions& options, bool initialized, bool read_only,
                       bool* salvaged, DataDir* result) {
  absl::StatusOr<std::unique_ptr<StateDirs>> states =
      StateDirs::Open({.data_dir = options.dir,
                       .cache_bytes = options.cache_bytes,
                       .min_free_bytes = options.min_free_bytes,
                       .newest_version = options.newest_version,
                       .read_only = read_only});
  if (!states.ok()) return states.status();
  result->states = *std::move(states);
  absl::StatusOr<std::unique_ptr<LogStore>> log =
      OpenOrSalvageLog(options, initialized, read_only, salvaged, &result->warnings);
  if (!log.ok()) return log.status();
  result->log = *std::move(log);
  if (!initialized && result->identity.restored) {
    result->log->Reset({.id = result->identity.restored->base});
  }
  if (const auto& resume = result->states->resume()) {
    ResumeInstall(*resume, result->log.get());
    result->warnings.push_back(
        absl::StrCat(options.dir, read_only ? ": a start finishes" : ": finished",
                     " the install of a snapshot up to entry ", resume->id.index));
  }

  absl::StatusOr<std::unique_ptr<StateMachine>> state = OpenOrRebuildStateMachine(
      result->states.get(), initialized, read_only, *result->log, &result->warnings);
  if (!state.ok()) return state.status();
  result->state = *std::move(state);
  if (result->log->lost()) {
    const absl::Status s =
        HandleLoss(options, result->log.get(), *result->state, &result->warnings);
    if (!s.ok()) return s;
  }
  if (absl::Status s = CheckTogether(options.dir, *result->log, *result->state); !s.ok()) return s;
  return SaysRemoved(options, *result->state, *result->log) ? Removed(options) : absl::OkStatus();
}

// OK if the directory, which does not exist, can be created.
absl::Status CheckMayCreate(const std::string& dir) {
  std::error_code error;
  fs::path missing = dir;  // its parent exists
  while (missing.has_parent_path() && !fs::exists(missing.parent_path(), error)) {
    missing = missing.parent_path();
  }
  // Not access(2): it does not know what a special file system such as /proc allows.
  if (mkdir(missing.c_str(), 0700) != 0) {
    return SystemError(dir, "cannot create the data directory", errno);
  }
  rmdir(missing.c_str());
  return absl::OkStatus();
}

// Reads the log and the state of a directory of this member, without changing them. If a running
// member uses the directory, its log cannot be read as a whole, so only the stored members are.
absl::Status CheckParts(const DataDirOptions& options, DataDirCheck* check) {
  bool salvaged = false;
  DataDir parts;
  parts.identity = *check->identity;
  absl::Status status = absl::OkStatus();
  std::optional<std::string> user = UserOf(options.dir);
  if (!user) {
    status = OpenParts(options, /*initialized=*/true, /*read_only=*/true, &salvaged, &parts);
    if (!status.ok()) user = UserOf(options.dir);  // started meanwhile: what was read is worthless
  }
  if (user) {
    check->members = ReadMembers(options.dir);
    check->text = absl::StrCat(options.dir,
                               " belongs to this member; log not read: in use by process ", *user);
    return absl::OkStatus();
  }
  if (!status.ok()) return status;
  check->members = parts.state->members();
  check->last_index = parts.log->last_index();
  const bool repairs = salvaged || parts.log->lost() || !parts.warnings.empty();
  check->text =
      absl::StrCat(options.dir, " belongs to this member, and its log ",
                   repairs ? "can be repaired" : "is intact", ", up to entry ", *check->last_index);
  std::move(parts.warnings.begin(), parts.warnings.end(), std::back_inserter(check->warnings));
  return absl::OkStatus();
}

absl::StatusOr<DataDir> Open(const DataDirOptions& options, std::unique_ptr<DirLock> lock) {
  bool salvaged = false;
  const absl::Cleanup remove_salvage = [&] {  // at the end: the log may be open there
    RemoveSalvage(options.dir).IgnoreError();
  };
  DataDir result;
  result.lock = std::move(lock);
  if (absl::Status s = CheckSpaceForStart(options.dir, &result.warnings); !s.ok()) return s;
  WarnOfSmallVolume(options.dir, options.min_free_bytes, &result.warnings);
  if (!options.restored) {
    if (absl::Status s = CheckNotRestoring(options.dir); !s.ok()) return s;
  }
  const bool initialized = IsInitialized(options.dir);
  absl::StatusOr<Identity> identity = LoadOrCreateIdentity(options, initialized);
  if (!identity.ok()) return identity.status();
  result.identity = *std::move(identity);
  if (!options.even_if_removed && IsNotedRemoved(options.dir)) return Removed(options);
  result.is_new = !initialized;
  if (absl::Status s = RemoveSalvage(options.dir); !s.ok()) return s;
  if (!initialized) {
    for (const char* part : {"/log", "/sm"}) {
      if (absl::Status s = MakeDirectory(options.dir + part); !s.ok()) return s;
    }
  }
  if (absl::Status s = OpenParts(options, initialized, /*read_only=*/false, &salvaged, &result);
      !s.ok()) {
    return s;
  }
  if (salvaged) {
    const absl::Status s = UseSalvagedCopy(options, *result.state, &result.log);
    if (!s.ok()) return s;
  }
  if (result.states->resume()) result.states->Replaced();
  if (!initialized) {
    if (absl::Status s = SyncDirectory(options.dir + "/log"); !s.ok()) return s;
    if (absl::Status s = WriteFile(options.dir, "INITIALIZED", ""); !s.ok()) return s;
  }
  if (absl::Status s = result.states->RemoveLeftovers(); !s.ok()) return s;
  return result;
}

}  // namespace

DirLock::~DirLock() { close(fd_); }

bool DirLock::InPlace() const {
  struct stat ours = {}, there = {};
  if (fstat(fd_, &ours) != 0) return true;  // not known
  if (stat(path_.c_str(), &there) != 0) return errno != ENOENT && errno != ENOTDIR;
  return ours.st_dev == there.st_dev && ours.st_ino == there.st_ino;
}

absl::StatusOr<std::optional<Identity>> ReadIdentity(const std::string& dir) {
  if (absl::Status s = CheckIsDirectory(dir); !s.ok()) return s;
  absl::StatusOr<std::optional<Identity>> identity = ReadIdentityFile(dir);
  if (!identity.ok()) return WithRemedy(identity.status());
  return identity;
}

absl::StatusOr<std::unique_ptr<DirLock>> LockDataDir(const std::string& dir,
                                                     std::vector<std::string>* warnings) {
  if (absl::Status s = CheckIsDirectory(dir); !s.ok()) return s;
  if (absl::Status s = MakeDirectory(dir); !s.ok()) return s;
  if (absl::Status s = CheckFileSystem(dir, warnings); !s.ok()) return s;
  if (absl::Status s = CheckOursOrEmpty(dir); !s.ok()) return s;
  return Lock(dir);
}

absl::StatusOr<DataDir> OpenLockedDataDir(const DataDirOptions& options,
                                          std::unique_ptr<DirLock> lock) {
  absl::StatusOr<DataDir> opened = Open(options, std::move(lock));
  if (!opened.ok()) return ExplainFullDisk(options.dir, WithRemedy(opened.status()));
  return opened;
}

absl::StatusOr<DataDir> OpenDataDir(const DataDirOptions& options) {
  std::vector<std::string> warnings;
  absl::StatusOr<std::unique_ptr<DirLock>> lock = LockDataDir(options.dir, &warnings);
  if (!lock.ok()) return ExplainFullDisk(options.dir, lock.status());
  absl::StatusOr<DataDir> opened = OpenLockedDataDir(options, *std::move(lock));
  if (opened.ok()) {
    opened->warnings.insert(opened->warnings.begin(), warnings.begin(), warnings.end());
  }
  return opened;
}

absl::StatusOr<DataDirCheck> CheckDataDir(const DataDirOptions& options) {
  if (absl::Status s = CheckIsDirectory(options.dir); !s.ok()) return s;
  DataDirCheck check;
  std::error_code error;
  if (!fs::exists(options.dir, error)) {
    if (absl::Status s = CheckMayCreate(options.dir); !s.ok()) return s;
    check.text = absl::StrCat(options.dir, " does not exist: the first start creates it");
    return check;
  }
  if (absl::Status s = CheckFileSystem(options.dir, &check.warnings); !s.ok()) return s;
  if (absl::Status s = CheckOursOrEmpty(options.dir); !s.ok()) return s;
  if (absl::Status s = CheckNotRestoring(options.dir); !s.ok()) return s;
  if (access(options.dir.c_str(), R_OK | W_OK | X_OK) != 0) {
    return SystemError(options.dir, "cannot use the data directory", errno);
  }
  absl::StatusOr<std::optional<Identity>> identity = ReadIdentityFile(options.dir);
  if (!identity.ok()) return WithRemedy(identity.status());
  const std::string path = IdentityPath(options.dir);
  const bool initialized = IsInitialized(options.dir);
  if (!identity->has_value()) {
    if (initialized) {
      return WithRemedy(absl::DataLossError(absl::StrCat(path, ": is missing or empty")));
    }
    check.text = absl::StrCat(options.dir, " is new");
    return check;
  }
  check.identity = *std::move(*identity);
  if (absl::Status s = CheckIdentity(path, *check.identity, options); !s.ok()) return s;
  if (IsNotedRemoved(options.dir)) return Removed(options);
  if (!initialized) {
    check.text = absl::StrCat(options.dir,
                              " belongs to this member; log not read: its first start did not end");
    return check;
  }
  if (absl::Status s = CheckParts(options, &check); !s.ok()) return WithRemedy(s);
  return check;
}

Members ReadMembers(const std::string& dir) {
  const auto states = StateDirs::Open({.data_dir = dir});
  return states.ok() ? (*states)->ReadMembers() : Members();
}

}  // namespace raftkv
