// Directories that cannot be read to their end.

#include <dirent.h>
#include <dlfcn.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "storage/base/files.h"
#include "tests/storage/testing.h"

namespace {

// The number of entries after which reading a directory fails; -1: it does not fail.
std::atomic<int> g_entries_left{-1};

template <typename Entry>
Entry* ReadOne(const char* name, DIR* dir) {
  const int left = g_entries_left;
  if (left == 0) {
    errno = EIO;
    return nullptr;
  }
  if (left > 0) g_entries_left = left - 1;
  return reinterpret_cast<Entry* (*)(DIR*)>(dlsym(RTLD_NEXT, name))(dir);
}

}  // namespace

// They replace libc's functions: the dynamic linker finds the program's functions first, also for
// calls by the C++ library.
extern "C" dirent* readdir(DIR* dir) { return ReadOne<dirent>("readdir", dir); }
extern "C" dirent64* readdir64(DIR* dir) { return ReadOne<dirent64>("readdir64", dir); }

namespace raftkv {
namespace {

class Names : public testing::Test {
 protected:
  Names() {
    for (const char* name : {"a", "b", "c"}) EXPECT_TRUE(WriteFile(dir_.path(), name, "x").ok());
  }
  ~Names() override { g_entries_left = -1; }

  TempDir dir_;
};

TEST_F(Names, AreAllOfTheDirectory) {
  auto names = NamesIn(dir_.path());
  ASSERT_TRUE(names.ok()) << names.status();
  std::sort(names->begin(), names->end());
  EXPECT_EQ(*names, (std::vector<std::string>{"a", "b", "c"}));
  const auto missing = NamesIn(dir_ / "missing");
  EXPECT_EQ(missing.status().message(),
            dir_ / "missing" + ": cannot list: No such file or directory");
}

TEST_F(Names, AreAnErrorIfReadingFails) {
  for (const int entries : {0, 1, 3}) {  // "." and ".." are entries, too
    g_entries_left = entries;
    const auto names = NamesIn(dir_.path());
    EXPECT_EQ(names.status().message(), dir_.path() + ": cannot list: Input/output error")
        << entries;
    g_entries_left = entries;
    EXPECT_FALSE(SyncTree(dir_.path()).ok());
  }
}

}  // namespace
}  // namespace raftkv
