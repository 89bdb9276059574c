#ifndef RAFTKV_TESTS_SERVER_LOG_LINES_H_
#define RAFTKV_TESTS_SERVER_LOG_LINES_H_

#include <string>

#include "absl/synchronization/mutex.h"
#include "glog/logging.h"

namespace raftkv {

// Collects the lines of the log while it exists.
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

}  // namespace raftkv

#endif  // RAFTKV_TESTS_SERVER_LOG_LINES_H_
