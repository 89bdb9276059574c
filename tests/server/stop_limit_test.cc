#include "server/stop_limit.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "glog/logging.h"
#include "storage/base/disk_operations.h"

namespace raftkv {
namespace {

// Collects the lines of the log.
class LogLines final : public google::LogSink {
 public:
  LogLines() { google::AddLogSink(this); }
  ~LogLines() override { google::RemoveLogSink(this); }
  void send(google::LogSeverity, const char*, const char*, int, const google::LogMessageTime&,
            const char* message, size_t size) override {
    absl::MutexLock lock(&mutex_);
    text_.append(message, size);
    text_ += "\n";
  }
  std::string text() {
    absl::MutexLock lock(&mutex_);
    return text_;
  }

 private:
  absl::Mutex mutex_;
  std::string text_;
};

TEST(StopLimit, AStopThatHangsEndsTheProcessAndSaysWhatHung) {
  LogLines lines;
  absl::Notification ended;
  const WaitForSpace wait;
  const StopLimit limit({.limit = absl::Milliseconds(1),
                         .step = [] { return "closes connections"; },
                         .end_process = [&] { ended.Notify(); }});
  ended.WaitForNotification();
  EXPECT_THAT(lines.text(), testing::HasSubstr("it still closes connections, and a write waits for "
                                               "space, because the disk is full"));
}

TEST(StopLimit, AStopThatEndsIsLeftAlone) {
  const StopLimit limit({.limit = absl::InfiniteDuration(),
                         .step = [] { return ""; },
                         .end_process = [] { ADD_FAILURE(); }});
}

}  // namespace
}  // namespace raftkv
