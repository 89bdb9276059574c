// `raftkv completion`: a shell loads the script and completes command lines with it.

#include <gmock/gmock.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "tests/client/cli_fixture.h"

namespace raftkv::client {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::IsSupersetOf;
using testing::Not;
using Words = std::vector<std::string>;

// Runs a shell script on standard input. Returns the lines that it prints.
Words RunShell(const std::string& shell, const std::string& script) {
  const std::string file = testing::TempDir() + "/completion_test." + std::to_string(getpid());
  std::ofstream(file) << script;
  FILE* pipe = popen(absl::StrCat(shell, " ", file, " 2>&1").c_str(), "r");
  std::string out;
  for (int c = 0; (c = fgetc(pipe)) != EOF;) out += static_cast<char>(c);
  EXPECT_EQ(pclose(pipe), 0) << out;
  remove(file.c_str());
  return absl::StrSplit(out, '\n', absl::SkipEmpty());
}

// Completes the last word, as readline does: it calls the function with the words so far.
Words Bash(const std::string& words) {
  const Result script = Raftkv({"completion", "bash"});
  EXPECT_EQ(script.code, kExitOk);
  return RunShell("bash --norc", absl::StrCat("set -u\n", script.out, "COMP_WORDS=(raftkv ", words,
                                              ")\nCOMP_CWORD=$((${#COMP_WORDS[@]} - 1))\n_raftkv\n"
                                              "printf '%s\\n' \"${COMPREPLY[@]-}\"\n"));
}

// The same in zsh, without its line editor: the functions that add words print them.
Words Zsh(const std::string& words) {
  const Result script = Raftkv({"completion", "zsh"});
  EXPECT_EQ(script.code, kExitOk);
  return RunShell("zsh -f", absl::StrCat(R"(
compdef() { }
compset() { PREFIX=${PREFIX#*=} }
compadd() { for word in $@; do [[ $word == $PREFIX* ]] && print -r -- $word; done; true }
_files() { print FILES }
_describe() { [[ $1 == -o ]] && shift; for word in ${(P)2}; do compadd ${word%%:*}; done }
)",
                                         script.out, "words=(raftkv ", words,
                                         ")\nCURRENT=$#words\nPREFIX=$words[-1]\n_raftkv\n"));
}

TEST(Completion, BashCompletesVerbsFlagsAndValues) {
  EXPECT_THAT(Bash("''"), IsSupersetOf({"put", "get", "endpoint", "lock", "completion"}));
  EXPECT_THAT(Bash("''"), Not(Contains("--endpoints")));
  EXPECT_THAT(Bash("pu"), ElementsAre("put"));
  EXPECT_THAT(Bash("endpoint ''"), ElementsAre("status", "health", "hashkv"));
  EXPECT_THAT(Bash("--endpoints a:1 endpoint s"), ElementsAre("status"));
  EXPECT_THAT(Bash("get --pre"), ElementsAre("--prefix"));
  EXPECT_THAT(Bash("get key --li"), ElementsAre("--limit"));
  EXPECT_THAT(Bash("endpoint hashkv --r"), ElementsAre("--rev"));
  EXPECT_THAT(Bash("endpoint hashkv --cl"), ElementsAre("--cluster")) << "of the group";
  EXPECT_THAT(Bash("put --he"), ElementsAre("--help", "--hex"));
  EXPECT_THAT(Bash("put --endp"), ElementsAre("--endpoints")) << "a global flag";
  EXPECT_THAT(Bash("get a -w j"), ElementsAre("json"));
  EXPECT_THAT(Bash("get a --write-out = ta"), ElementsAre("table")) << "bash splits at =";
  EXPECT_THAT(Bash("get a --order =") /* after = */, ElementsAre("ASCEND", "DESCEND"));
  EXPECT_THAT(Bash("completion ''"), ElementsAre("bash", "zsh"));
  EXPECT_THAT(Bash("help comp"), ElementsAre("compaction", "completion"));
  // Left to the completion of file names:
  EXPECT_THAT(Bash("snapshot save ba"), ElementsAre());
  EXPECT_THAT(Bash("snapshot restore --config ba"), ElementsAre());
  EXPECT_THAT(Bash("lock name -- ''"), ElementsAre());
  EXPECT_THAT(Bash("get get p"), ElementsAre()) << "a key that is called like a verb";
}

TEST(Completion, ZshCompletesTheSame) {
  if (std::system("command -v zsh >/dev/null") != 0) GTEST_SKIP() << "zsh is not installed";
  EXPECT_THAT(Zsh("''"), IsSupersetOf({"put", "get", "endpoint", "lock", "completion"}));
  EXPECT_THAT(Zsh("pu"), ElementsAre("put"));
  EXPECT_THAT(Zsh("endpoint ''"), ElementsAre("status", "health", "hashkv"));
  EXPECT_THAT(Zsh("get key --li"), ElementsAre("--limit"));
  EXPECT_THAT(Zsh("put --endp"), ElementsAre("--endpoints"));
  EXPECT_THAT(Zsh("get a -w j"), ElementsAre("json"));
  EXPECT_THAT(Zsh("get a --write-out=ta"), ElementsAre("table"));
  EXPECT_THAT(Zsh("completion ''"), ElementsAre("bash", "zsh"));
  EXPECT_THAT(Zsh("snapshot save ba"), ElementsAre("FILES"));
  EXPECT_THAT(Zsh("lock name -- ''"), ElementsAre("FILES"));
}

}  // namespace
}  // namespace raftkv::client
