#ifndef RAFTKV_CONFIG_VERSION_H_
#define RAFTKV_CONFIG_VERSION_H_

// The version of the programs of this project. The build writes version.cc (version.cmake).

#include <string>

namespace raftkv {

// "0.1.0"
extern const char kVersion[];
// The commit that was built: "0648ad3c5e1f", or "0648ad3c5e1f-dirty" if files differed from it.
// Empty if the sources are not in a git repository.
extern const char kCommit[];

// "0.1.0 (commit 0648ad3c5e1f)", or just the version without a known commit.
std::string VersionText();

// What `PROGRAM --version` prints, without the last newline. As etcdctl does, the second line names
// the version of etcd's API:
//   raftkv version: 0.1.0 (commit 0648ad3c5e1f)
//   API version: 3.7
std::string VersionLines(const std::string& program);

}  // namespace raftkv

#endif  // RAFTKV_CONFIG_VERSION_H_
