#ifndef RAFTKV_STORAGE_BASE_FILES_H_
#define RAFTKV_STORAGE_BASE_FILES_H_

// Small files and directories of the data directory, written so that they survive a power loss.
// Errors name the path: PermissionDenied or Unavailable.

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace raftkv {

// "PATH: WHAT: the system's text for `error`".
absl::Status SystemError(const std::string& path, const char* what, int error);

// Adds the path in front of the error's text, if the text lacks it.
absl::Status WithPath(const std::string& path, const absl::Status& error);

// The names of everything in the directory. A loop over a directory_iterator would throw if the
// directory cannot be read to its end.
absl::StatusOr<std::vector<std::string>> NamesIn(const std::string& dir);

absl::Status SyncDirectory(const std::string& dir);
// Syncs every file in the directory, and the directory.
absl::Status SyncTree(const std::string& dir);

// Atomic, even if the power fails: writes and syncs a temporary file, renames it, syncs the
// directory. The text must be shorter than 1 MiB.
absl::Status WriteFile(const std::string& dir, const std::string& name, std::string_view text);

// Reads at most 1 MiB. Returns an empty string if the file is missing.
absl::StatusOr<std::string> ReadFile(const std::string& path);

}  // namespace raftkv

#endif  // RAFTKV_STORAGE_BASE_FILES_H_
