// raft_test [--rewrite]. With --rewrite it writes the current output into the transcripts in
// scripts/; then review the diff.

#include <cstdlib>
#include <cstring>

#include "config/process.h"
#include "gtest/gtest.h"

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--rewrite") == 0) setenv("RAFTKV_REWRITE_SCRIPTS", "1", 1);
  }
  return RUN_ALL_TESTS();
}
