// Directories that are removed in the background.

#include "storage/data_dir/dir_remover.h"

#include <filesystem>
#include <string>

#include "absl/time/clock.h"
#include "gtest/gtest.h"
#include "storage/base/files.h"
#include "tests/storage/testing.h"

namespace raftkv {
namespace {

namespace fs = std::filesystem;

class DirRemoverTest : public testing::Test {
 protected:
  std::string DirWithFiles(const std::string& name, int files) {
    const std::string dir = dir_ / name;
    fs::create_directory(dir);
    for (int i = 0; i < files; ++i) {
      EXPECT_TRUE(WriteFile(dir, std::to_string(i), "x").ok());
    }
    return dir;
  }

  TempDir dir_;
};

TEST_F(DirRemoverTest, RemovesAllDirectories) {
  const std::string a = DirWithFiles("a", 3), b = DirWithFiles("b", 0);
  DirRemover remover;
  remover.Remove(a);
  remover.Remove(dir_ / "does not exist");
  remover.Remove(b);
  for (int i = 0; i < 2000 && (fs::exists(a) || fs::exists(b)); ++i) {
    absl::SleepFor(absl::Milliseconds(10));
  }
  EXPECT_FALSE(fs::exists(a));
  EXPECT_FALSE(fs::exists(b));
}

}  // namespace
}  // namespace raftkv
