#ifndef RAFTKV_SERVER_LOG_WRITER_H_
#define RAFTKV_SERVER_LOG_WRITER_H_

// Writes the lines of LOG(...) to stderr, on a thread of its own. So a thread that logs never waits
// for the reader of stderr. If nobody reads stderr, lines are queued up to kQueueBytesMax, and
// further lines are lost. A later line says how many were lost.
//
// A line of text is "2026-11-26T06:14:02.123456Z WARNING peers.cc:61] message". A line of JSON is
// an object with the keys ts, level, caller and msg, as in etcd. Times are UTC.

#include <glog/logging.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace raftkv {

class LogWriter final : public google::LogSink {
 public:
  enum class Format { kText, kJson };
  static constexpr size_t kQueueBytesMax = 1 << 20;

  // Writes to the descriptor `fd`. Never deleted, because its thread may hang in a write.
  static LogWriter* Start(Format format, int fd);

  // Makes this the only destination of LOG(...). Lines below `severity` are discarded.
  void Install(google::LogSeverity severity);

  // Waits until all lines so far are written, but at most kFlushMax. May be called from any thread.
  void Flush();
  // Calls Flush of the installed writer, if there is one. Call it before the process ends.
  static void FlushInstalled();
  static constexpr absl::Duration kFlushMax = absl::Seconds(1);

  // google::LogSink. WaitTillSent waits only after a fatal line.
  void send(google::LogSeverity severity, const char* full_filename, const char* base_filename,
            int line, const google::LogMessageTime& time, const char* message,
            size_t message_len) override;
  void WaitTillSent() override;

 private:
  LogWriter(Format format, int fd) : format_(format), fd_(fd) {}
  void Run();
  // Handles SIGABRT: code that logs an error and calls abort() must not lose its line.
  static void BeforeAbort(int signal);
  std::string Line(google::LogSeverity severity, const std::string& caller,
                   const std::string& message) const;

  const Format format_;
  const int fd_;
  absl::Mutex mutex_;
  std::string queue_ ABSL_GUARDED_BY(mutex_);  // whole lines
  int64_t lost_ ABSL_GUARDED_BY(mutex_) = 0;   // lines lost since a line last reported the number
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  std::atomic<bool> pending_{
      false};  // lines are queued or being written; for the handler of SIGABRT
};

}  // namespace raftkv

#endif  // RAFTKV_SERVER_LOG_WRITER_H_
