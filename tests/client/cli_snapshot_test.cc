// The verbs `snapshot save` and `snapshot status`. `restore` runs another program
// (tests/e2e/backup_test.cc).

#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "storage/backup/backup_file.h"
#include "tests/client/cli_fixture.h"

namespace raftkv::client {
namespace {

using testing::HasSubstr;

class CliSnapshot : public Cli {
 protected:
  CliSnapshot() {
    std::string dir = (std::filesystem::temp_directory_path() / "raftkv-cli-XXXXXX").string();
    dir_ = mkdtemp(dir.data());
    file_ = dir_ + "/backup";
    proto::BackupHeader header;
    header.add_files()->set_name("CURRENT");
    header.mutable_files(0)->set_size(3);
    header.set_revision(5);
    header.set_keys(4);
    header.set_compact_revision(-1);
    header.set_cluster_name("demo");
    header.set_server_version("0.1.0");
    BackupEncoder encoder(header, [](size_t, uint64_t, size_t) { return "abc"; });
    while (!encoder.done()) server_.snapshot.push_back(encoder.Next().value());
  }
  ~CliSnapshot() override { std::filesystem::remove_all(dir_); }

  Result Save() { return Run({"snapshot", "save", file_.c_str()}); }
  Result Status(const char* format = "simple") {
    return Raftkv({"snapshot", "status", file_.c_str(), "-w", format});
  }
  size_t FilesInDir() const {
    return static_cast<size_t>(std::distance(std::filesystem::directory_iterator(dir_),
                                             std::filesystem::directory_iterator()));
  }

  std::string dir_;
  std::string file_;
};

TEST_F(CliSnapshot, SavesTheStreamAndTellsWhatItHolds) {
  const Result saved = Save();
  EXPECT_EQ(saved.code, kExitOk) << saved.err;
  EXPECT_EQ(saved.out, "Snapshot saved at " + file_ + "\n");
  EXPECT_EQ(saved.err, "");
  EXPECT_EQ(FilesInDir(), 1u);
  const Result status = Status();
  EXPECT_EQ(status.code, kExitOk) << status.err;
  EXPECT_THAT(status.out, testing::MatchesRegex("[0-9a-f]+, 5, 4, 544 B\n"));
  EXPECT_THAT(Status("json").out, HasSubstr(R"("revision":5,"totalKey":4,"totalSize":544)"));
  EXPECT_THAT(Status("fields").out, HasSubstr("\"Revision\" : 5\n\"Keys\" : 4\n"));
  EXPECT_THAT(Status("table").out, HasSubstr("| REVISION | TOTAL KEYS | TOTAL SIZE |"));
}

TEST_F(CliSnapshot, StreamThatIsTornOrFailsLeavesNoFile) {
  const std::vector<std::string> whole = server_.snapshot;
  for (size_t pieces = 0; pieces < whole.size(); ++pieces) {
    server_.snapshot.assign(whole.begin(), whole.begin() + static_cast<long>(pieces));
    const Result torn = Save();
    EXPECT_EQ(torn.code, kExitFailed);
    EXPECT_THAT(torn.err, HasSubstr("torn or damaged")) << pieces;
    EXPECT_EQ(FilesInDir(), 0u);
  }
  server_.snapshot = whole;
  server_.snapshot[1][0] ^= 1;
  EXPECT_THAT(Save().err, HasSubstr("torn or damaged"));
  server_.snapshot = whole;
  server_.snapshot_end = {grpc::StatusCode::RESOURCE_EXHAUSTED, "etcdserver: too many requests"};
  const Result failed = Save();
  EXPECT_EQ(failed.code, kExitFailed);
  EXPECT_EQ(failed.err, "Error: etcdserver: too many requests\n");
  EXPECT_EQ(FilesInDir(), 0u);
}

TEST_F(CliSnapshot, EarlierFileStaysUntilTheNewOneIsWhole) {
  ASSERT_EQ(Save().code, kExitOk);
  server_.snapshot.pop_back();
  EXPECT_EQ(Save().code, kExitFailed);
  EXPECT_EQ(Status().code, kExitOk);
}

TEST_F(CliSnapshot, ErrorsNameTheFile) {
  EXPECT_EQ(Status().err, "Error: " + file_ +
                              ": does not exist; give a file that raftkv snapshot save has "
                              "written\n");
  const Result relative = Run({"snapshot", "status", "no-such-file"});
  EXPECT_EQ(relative.code, kExitFailed);
  EXPECT_THAT(relative.err, testing::StartsWith("Error: /")) << "the whole path";
  std::ofstream(file_) << "something else";
  EXPECT_EQ(Status().err, "Error: " + file_ + ": is not a backup of raftkv\n");
  const std::string nowhere = dir_ + "/none/backup";
  const Result directory = Run({"snapshot", "save", dir_.c_str()});
  EXPECT_EQ(directory.code, kExitFailed);
  EXPECT_EQ(directory.err, "Error: " + dir_ + ": is a directory; name a file\n");
  const Result saved = Run({"snapshot", "save", nowhere.c_str()});
  EXPECT_EQ(saved.code, kExitFailed);
  EXPECT_THAT(saved.err, HasSubstr(nowhere + ".part: cannot create: No such file"));
  EXPECT_EQ(Raftkv({"snapshot", "restore", "f"}).code, kExitBadArguments);
}

TEST_F(CliSnapshot, TakesTheNextEndpointIfOneCannotBeReached) {
  const std::string endpoints = absl::StrCat("--endpoints=127.0.0.1:1,", server_.address());
  EXPECT_EQ(Raftkv({"snapshot", "save", file_.c_str(), endpoints.c_str()}).code, kExitOk);
  const Result none = Raftkv({"snapshot", "save", file_.c_str(), "--endpoints=127.0.0.1:1"});
  EXPECT_EQ(none.code, kExitUnreachable);
  EXPECT_THAT(none.err, HasSubstr("127.0.0.1:1"));
}

}  // namespace
}  // namespace raftkv::client
