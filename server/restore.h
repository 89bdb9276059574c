#ifndef RAFTKV_SERVER_RESTORE_H_
#define RAFTKV_SERVER_RESTORE_H_

// Restores a backup into the data directory of one member of the config file (raftkv-server
// --restore, which raftkv snapshot restore runs). storage/data_dir/restore.h does the work.

#include <cstdint>
#include <ostream>
#include <string>

#include "absl/status/statusor.h"
#include "config/config.h"

namespace raftkv {

struct RestoreArguments {
  std::string file;
  // As in etcdutl, both must be set, or neither.
  int64_t bump_revision = 0;
  bool mark_compacted = false;
};

// Returns one line that says what was restored. `terminal`: for the progress; null: none is shown.
// Errors are one line, with the codes of RestoreDataDir.
absl::StatusOr<std::string> Restore(Config config, size_t self, const RestoreArguments& arguments,
                                    std::ostream* terminal);

}  // namespace raftkv

#endif  // RAFTKV_SERVER_RESTORE_H_
