// Gives to each fuzz target its committed inputs, its real encodings, and these with random changes
// for a short time. `make fuzz` goes further. With RAFTKV_WRITE_CORPUS=1 it writes the real
// encodings into the corpus. With RAFTKV_FUZZ_TARGET=NAME it does so for one target.

#include <google/protobuf/stubs/logging.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <string>

#include "absl/strings/str_format.h"
#include "glog/logging.h"
#include "gtest/gtest.h"
#include "proto/command.pb.h"
#include "server/raft/prng.h"
#include "storage/base/checksum.h"
#include "tests/fuzz/targets.h"

namespace raftkv::fuzz {
namespace {

namespace fs = std::filesystem;

constexpr uintmax_t kCorpusBytesMax = 2 << 20;
constexpr int kChangedInputs = 3000;  // for each target

const fs::path kCorpus = fs::path(RAFTKV_SOURCE_DIR) / "tests/fuzz/corpus";

// All targets, or the one that RAFTKV_FUZZ_TARGET names.
std::vector<Target> ChosenTargets() {
  const char* name = std::getenv("RAFTKV_FUZZ_TARGET");
  if (name == nullptr) return {Targets().begin(), Targets().end()};
  const Target* target = FindTarget(name);
  CHECK(target != nullptr) << "there is no target " << name;
  return {*target};
}

std::vector<std::string> CommittedInputs(std::string_view target) {
  std::vector<std::string> inputs;
  for (const fs::directory_entry& entry : fs::directory_iterator(kCorpus / target)) {
    std::ifstream file(entry.path(), std::ios::binary);
    inputs.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }
  return inputs;
}

std::string Changed(std::string input, raft::Prng* prng) {
  for (uint64_t changes = 1 + prng->Below(4); changes > 0; --changes) {
    const size_t at = prng->Below(input.size() + 1);
    switch (prng->Below(4)) {
      case 0:
        input.resize(at);
        break;
      case 1:
        input.insert(at, 1, static_cast<char>(prng->Below(256)));
        break;
      case 2:
        input.erase(at, 1 + prng->Below(8));
        break;
      default:
        if (at < input.size()) input[at] = static_cast<char>(prng->Below(256));
    }
  }
  return input;
}

TEST(Corpus, IsSmallAndEachTargetHasOne) {
  uintmax_t bytes = 0;
  for (const Target& target : ChosenTargets()) {
    if (std::getenv("RAFTKV_WRITE_CORPUS") != nullptr) {
      fs::create_directories(kCorpus / target.name);
      for (const std::string& example : Examples(target.name)) {
        const std::string name = absl::StrFormat("%016x", Hash64(example, 0));
        std::ofstream(kCorpus / target.name / name, std::ios::binary) << example;
      }
    }
    const auto inputs = CommittedInputs(target.name);
    EXPECT_FALSE(inputs.empty()) << target.name;
    for (const std::string& input : inputs) bytes += input.size();
  }
  EXPECT_LT(bytes, kCorpusBytesMax);
}

TEST(Corpus, ExamplesHaveEveryCommand) {
  std::set<std::string> found;
  for (const std::string& example : Examples("command")) {
    proto::Command command;
    ASSERT_TRUE(command.ParseFromString(example.substr(1)));  // after the kind of entry
    ASSERT_NE(command.op_case(), proto::Command::OP_NOT_SET);
    found.insert(proto::Command::descriptor()->FindFieldByNumber(command.op_case())->name());
  }
  const auto* const op = proto::Command::descriptor()->FindOneofByName("op");
  for (int i = 0; i < op->field_count(); ++i)
    EXPECT_TRUE(found.contains(op->field(i)->name())) << op->field(i)->name();
}

TEST(Corpus, EveryInputIsHandled) {
  for (const Target& target : ChosenTargets()) {
    SCOPED_TRACE(target.name);
    for (const std::string& input : CommittedInputs(target.name)) target.run(input);
  }
}

TEST(Corpus, RealEncodingsWithRandomChangesAreHandled) {
  for (const Target& target : ChosenTargets()) {
    SCOPED_TRACE(target.name);
    const std::vector<std::string> examples = Examples(target.name);
    ASSERT_FALSE(examples.empty());
    raft::Prng prng(1);
    for (int i = 0; i < kChangedInputs; ++i) {
      target.run(Changed(examples[prng.Below(examples.size())], &prng));
    }
  }
}

}  // namespace
}  // namespace raftkv::fuzz

int main(int argc, char** argv) {
  google::InitGoogleLogging(argv[0]);
  FLAGS_logtostderr = true;
  FLAGS_minloglevel = google::FATAL;
  google::protobuf::SetLogHandler(nullptr);  // it reports each damaged text field
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
