// The verb watch with -i, which reads watches from standard input while others run.

#include <gmock/gmock.h>

#include <functional>
#include <istream>
#include <optional>
#include <streambuf>
#include <string>

#include "tests/client/cli_fixture.h"

namespace raftkv::client {
namespace {

// Standard input whose lines come from a function; none: the input ends.
class Lines final : public std::streambuf {
 public:
  explicit Lines(std::function<std::optional<std::string>()> next) : next_(std::move(next)) {}

 private:
  int_type underflow() override {
    std::optional<std::string> line = next_();
    if (!line.has_value()) return traits_type::eof();
    line_ = *std::move(line) + "\n";
    setg(line_.data(), line_.data(), line_.data() + line_.size());
    return traits_type::to_int_type(line_[0]);
  }

  const std::function<std::optional<std::string>()> next_;
  std::string line_;
};

// The server stops after the first line, and starts again before the last one.
TEST_F(Cli, AWatchThatCannotConnectDoesNotEndTheOthers) {
  int line = 0;
  Lines lines([&]() -> std::optional<std::string> {
    switch (++line) {
      case 1:
        return "watch a";
      case 2:
        EXPECT_TRUE(server_.AwaitCalls(1));
        server_.Stop();
        return "watch b";
      case 3:
        server_.Start();
        return "watch c";
      default:  // the first watch is resumed, and the last one is created
        EXPECT_TRUE(server_.AwaitCalls(3));
        return std::nullopt;
    }
  });
  std::istream in(&lines);
  std::ostringstream out, err;
  const std::vector<const char*> arguments = {"raftkv", endpoints_.c_str(), "watch", "-i"};
  const int code = RunCli(static_cast<int>(arguments.size()), arguments.data(),
                          {.in = in, .out = out, .err = err, .in_is_terminal = false});
  EXPECT_EQ(line, 4);
  EXPECT_NE(code, kExitOk);
  EXPECT_THAT(err.str(), testing::HasSubstr(server_.address()));
}

}  // namespace
}  // namespace raftkv::client
