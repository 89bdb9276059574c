#ifndef RAFTKV_TESTS_STORAGE_TESTING_H_
#define RAFTKV_TESTS_STORAGE_TESTING_H_

// Small helpers of the storage tests: a directory that removes itself, entries, commands.

#include <cstdlib>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include <sys/wait.h>
#include <unistd.h>

#include "glog/logging.h"
#include "proto/command.pb.h"
#include "server/raft/types.h"

namespace raftkv {

class TempDir {
 public:
  TempDir() {
    std::string name = (std::filesystem::temp_directory_path() / "raftkv-test-XXXXXX").string();
    CHECK(mkdtemp(name.data()) != nullptr);
    path_ = name;
  }
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;

  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

inline raft::Entry MakeEntry(raft::Term term, raft::Index index, std::string payload) {
  return {{.term = term, .index = index}, raft::EntryType::kCommand,
          raft::Payload(std::move(payload))};
}

inline proto::Command PutCommand(const std::string& key, const std::string& value) {
  proto::Command command;
  command.mutable_put()->set_key(key);
  command.mutable_put()->set_value(value);
  return command;
}

inline proto::Command DeleteCommand(const std::string& key, const std::string& range_end = "") {
  proto::Command command;
  command.mutable_delete_range()->set_key(key);
  command.mutable_delete_range()->set_range_end(range_end);
  return command;
}

inline raft::Entry MakeEntry(raft::Term term, raft::Index index, const proto::Command& command) {
  return MakeEntry(term, index, command.SerializeAsString());
}

// Runs `body` in a child process which then ends at once, as if killed: no destructor runs, nothing
// is closed or flushed. Returns its wait status.
inline int RunAndKill(const std::function<void()>& body) {
  const pid_t child = fork();
  CHECK_GE(child, 0);
  if (child == 0) {
    body();
    _exit(0);
  }
  int status = 0;
  CHECK_EQ(waitpid(child, &status, 0), child);
  return status;
}

}  // namespace raftkv

#endif  // RAFTKV_TESTS_STORAGE_TESTING_H_
