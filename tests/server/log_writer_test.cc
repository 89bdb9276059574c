#include "server/log_writer.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/strings/str_cat.h"

namespace raftkv {
namespace {

using testing::HasSubstr;

struct Pipe {
  Pipe() {
    int fds[2];
    PCHECK(pipe(fds) == 0);
    out = fds[0];
    in = fds[1];
  }
  std::string ReadUntil(const std::string& text) const {
    std::string all;
    char bytes[4096];
    while (all.find(text) == std::string::npos) {
      const ssize_t n = read(out, bytes, sizeof(bytes));
      if (n <= 0) break;
      all.append(bytes, static_cast<size_t>(n));
    }
    return all;
  }
  int out, in;
};

void Send(LogWriter* writer, const std::string& message,
          google::LogSeverity severity = google::INFO) {
  writer->send(severity, "/server/loop.cc", "loop.cc", 7, google::LogMessageTime(), message.data(),
               message.size());
}

TEST(LogWriter, TextHasATimeInUtcALevelAndTheSource) {
  Pipe pipe;
  Send(LogWriter::Start(LogWriter::Format::kText, pipe.in), "hello", google::WARNING);
  EXPECT_THAT(pipe.ReadUntil("\n"),
              testing::MatchesRegex("[0-9-]+T[0-9:]+\\.[0-9]+Z WARNING loop\\.cc:7\\] hello\n"));
}

TEST(LogWriter, JsonIsOneObjectALineWhateverTheMessageHolds) {
  Pipe pipe;
  Send(LogWriter::Start(LogWriter::Format::kJson, pipe.in), "two\nlines \"and\" \xff");
  const std::string line = pipe.ReadUntil("}\n");
  EXPECT_EQ(std::count(line.begin(), line.end(), '\n'), 1);
  const auto json = nlohmann::json::parse(line);
  EXPECT_EQ(json.at("level"), "info");
  EXPECT_EQ(json.at("caller"), "loop.cc:7");
  EXPECT_EQ(json.at("msg"), "two\nlines \"and\" \xef\xbf\xbd");
}

// send would block here for ever if it wrote to the full pipe.
TEST(LogWriter, LosesLinesThatNobodyReadsAndSaysHowMany) {
  Pipe pipe;
  LogWriter* const writer = LogWriter::Start(LogWriter::Format::kText, pipe.in);
  const std::string large(64 << 10, 'x');
  const int lines = 4 * LogWriter::kQueueBytesMax / large.size();
  for (int i = 0; i < lines; ++i) Send(writer, large);
  const std::string read = pipe.ReadUntil("were lost here");
  EXPECT_THAT(read, HasSubstr(" log lines were lost here"));
  EXPECT_LT(read.size(), 2 * LogWriter::kQueueBytesMax + (1 << 20));
  Send(writer, "after");
  EXPECT_THAT(pipe.ReadUntil("after\n"), HasSubstr("after\n"));
}

TEST(LogWriter, FlushReturnsWhenTheLinesAreWritten) {
  Pipe pipe;
  LogWriter* const writer = LogWriter::Start(LogWriter::Format::kText, pipe.in);
  Send(writer, "hello");
  writer->Flush();
  fcntl(pipe.out, F_SETFL, O_NONBLOCK);
  EXPECT_THAT(pipe.ReadUntil("\n"), HasSubstr("hello"));
}

}  // namespace
}  // namespace raftkv
