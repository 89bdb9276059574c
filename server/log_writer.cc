#include "server/log_writer.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <nlohmann/json.hpp>
#include <string_view>
#include <thread>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace raftkv {

namespace {

constexpr int64_t kFlushMaxMs = 1000;

// After a fatal line, glog calls WaitTillSent on the same thread.
thread_local bool fatal_sent = false;

std::atomic<LogWriter*> installed{nullptr};

// False: nobody can read `fd` any more.
bool WriteAll(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = write(fd, bytes.data(), bytes.size());
    if (written >= 0) {
      bytes.remove_prefix(static_cast<size_t>(written));
    } else if (errno == EAGAIN) {
      pollfd writable = {fd, POLLOUT, 0};
      poll(&writable, 1, /*timeout=*/-1);
    } else if (errno != EINTR) {
      return false;
    }
  }
  return true;
}

}  // namespace

LogWriter* LogWriter::Start(Format format, int fd) {
  auto* writer = new LogWriter(format, fd);
  std::thread([writer] { writer->Run(); }).detach();
  return writer;
}

void LogWriter::Install(google::LogSeverity severity) {
  for (int each = google::INFO; each < google::NUM_SEVERITIES; ++each) {
    google::SetLogDestination(each, "");  // no files
  }
  FLAGS_stderrthreshold = google::NUM_SEVERITIES;  // only this class writes to stderr
  FLAGS_minloglevel = severity;
  google::AddLogSink(this);
  installed = this;
  signal(SIGABRT, BeforeAbort);
}

// Calls only functions that a signal handler may call. abort() ends the process when this returns.
void LogWriter::BeforeAbort(int /*signal*/) {
  const LogWriter* const writer = installed;
  constexpr int kSteps = 1000;
  for (int i = 0; i < kSteps && writer->pending_; ++i) {
    const timespec step = {0, kFlushMaxMs * 1'000'000 / kSteps};
    nanosleep(&step, nullptr);
  }
}

void LogWriter::Run() {
  for (;;) {
    std::string lines;
    int64_t lost = 0;
    {
      absl::MutexLock lock(&mutex_);
      writing_ = false;
      pending_ = !queue_.empty();
      mutex_.Await(absl::Condition(
          +[](std::string* queue) { return !queue->empty(); }, &queue_));
      writing_ = true;
      lines.swap(queue_);
      lost = std::exchange(lost_, 0);
    }
    if (lost > 0) {
      // They were lost after the last of `lines` was queued.
      lines += Line(google::WARNING, "log_writer.cc",
                    absl::StrCat(lost, " log lines were lost here, because stderr was not read"));
    }
    WriteAll(fd_, lines);
  }
}

std::string LogWriter::Line(google::LogSeverity severity, const std::string& caller,
                            const std::string& message) const {
  const std::string time =
      absl::FormatTime("%Y-%m-%d%ET%H:%M:%E6SZ", absl::Now(), absl::UTCTimeZone());
  const char* const level = google::GetLogSeverityName(severity);
  if (format_ == Format::kText) {
    return absl::StrCat(time, " ", level, " ", caller, "] ", message, "\n");
  }
  const nlohmann::ordered_json line = {
      {"level", absl::AsciiStrToLower(level)}, {"ts", time}, {"caller", caller}, {"msg", message}};
  // Bytes that are not UTF-8 are replaced.
  return line.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

void LogWriter::Flush() {
  absl::MutexLock lock(&mutex_);
  const auto written = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return queue_.empty() && !writing_;
  };
  mutex_.AwaitWithTimeout(absl::Condition(&written), kFlushMax);
}

void LogWriter::FlushInstalled() {
  if (LogWriter* const writer = installed) writer->Flush();
}

void LogWriter::send(google::LogSeverity severity, const char* /*full_filename*/,
                     const char* base_filename, int line, const google::LogMessageTime& /*time*/,
                     const char* message, size_t message_len) {
  const std::string text =
      Line(severity, absl::StrCat(base_filename, ":", line), std::string(message, message_len));
  fatal_sent = severity == google::FATAL;
  absl::MutexLock lock(&mutex_);
  if (queue_.size() + text.size() > kQueueBytesMax) {
    ++lost_;
  } else {
    queue_ += text;
    pending_ = true;
  }
}

void LogWriter::WaitTillSent() {
  if (!std::exchange(fatal_sent, false)) return;
  Flush();
  absl::MutexLock lock(&mutex_);
  if (queue_.empty() && !writing_) return;
  // glog now writes a stack trace to stderr. That must not keep the process from ending.
  const int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
  if (null >= 0) dup2(null, STDERR_FILENO);
}

}  // namespace raftkv
