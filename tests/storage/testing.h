#ifndef RAFTKV_TESTS_STORAGE_TESTING_H_
#define RAFTKV_TESTS_STORAGE_TESTING_H_

// Small helpers of the storage and model tests: a directory that removes itself, entries, commands.

#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "glog/logging.h"
#include "proto/command.pb.h"
#include "server/raft/types.h"
#include "storage/data_dir/data_dir.h"

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
  return {
      {.term = term, .index = index}, raft::EntryType::kCommand, raft::Payload(std::move(payload))};
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

// The options of the tests' data directory, and how many entries the job "fill-data-dir" writes to
// its log.
inline constexpr raft::Index kLogEntries = 400;
inline DataDirOptions TestDirOptions(const std::string& dir) {
  DataDirOptions options;
  options.dir = dir;
  options.cluster_id = 0xc1;
  options.cluster_name = "demo";
  options.member_id = 1;
  options.member_name = "n1";
  return options;
}

}  // namespace raftkv

#endif  // RAFTKV_TESTS_STORAGE_TESTING_H_
