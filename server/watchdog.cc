#include "server/watchdog.h"

#include <cstdlib>
#include <utility>

#include "glog/logging.h"
#include "server/log_writer.h"
#include "server/rpc/completion.h"

namespace raftkv {

namespace {

constexpr int kHealthCallsMax = 1024;  // events handled in one interval

gpr_timespec After(absl::Duration duration) {
  return gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                      gpr_time_from_micros(absl::ToInt64Microseconds(duration), GPR_TIMESPAN));
}

}  // namespace

Watchdog::Watchdog(WatchdogOptions options, const PhaseValue* phase,
                   std::function<uint64_t()> rounds)
    : options_(std::move(options)), phase_(phase), rounds_(std::move(rounds)) {}

void Watchdog::Start(grpc::CompletionQueue* health) {
  health_ = health;
  thread_ = std::thread([this] { Run(); });
}

void Watchdog::Join() {
  if (thread_.joinable()) thread_.join();
}

void Watchdog::Run() {
  while (!phase_->AtLeast(Phase::kStopped)) {
    PollHealth();
    if (task_) task_();
    Check();
  }
}

// Waits for one interval and handles the health service's events. While the loop runs, this thread
// does not wait on the queue: the loop's thread polls the network for all queues, and a
// second polling thread would slow it down. While the loop hangs, this thread must poll itself.
void Watchdog::PollHealth() {
  if (health_ == nullptr || !hangs_) phase_->Await(Phase::kStopped, options_.interval);
  if (health_ == nullptr) return;
  const gpr_timespec until = hangs_ ? After(options_.interval) : gpr_inf_past(GPR_CLOCK_MONOTONIC);
  for (int calls = 0; calls < kHealthCallsMax; ++calls) {
    void* tag = nullptr;
    bool ok = false;
    if (health_->AsyncNext(&tag, &ok, until) != grpc::CompletionQueue::GOT_EVENT) return;
    static_cast<Completion*>(tag)->OnComplete(ok);
  }
}

void Watchdog::Check() {
  const int64_t disk_checks = disk_.Check();
  if (const uint64_t rounds = rounds_(); rounds != seen_rounds_) {
    if (hangs_.exchange(false)) LOG(WARNING) << "the I/O loop runs again";
    seen_rounds_ = rounds;
    loop_checks_ = 0;
    return;
  }
  const int64_t hang_checks = options_.election_timeout / options_.interval;
  const int64_t end_checks = options_.disk_stall_timeout / options_.interval;
  if (++loop_checks_ >= hang_checks && !hangs_.exchange(true)) {
    if (disk_checks >= hang_checks) {
      LOG(WARNING) << "the disk has not answered for "
                   << absl::FormatDuration(options_.election_timeout)
                   << ": only health checks are answered; the process ends if it takes "
                   << absl::FormatDuration(options_.disk_stall_timeout)
                   << " (limits.disk_stall_timeout)";
    } else {
      LOG(WARNING) << "the I/O loop has been busy with one turn for "
                   << absl::FormatDuration(options_.election_timeout)
                   << ", and not because of the disk: only health checks are answered until it "
                      "goes on";
    }
  }
  if (loop_checks_ >= end_checks && disk_checks >= end_checks) EndProcess();
}

void Watchdog::EndProcess() {
  LOG(ERROR) << "the disk has not answered for "
             << absl::FormatDuration(options_.disk_stall_timeout)
             << " (limits.disk_stall_timeout): this disk cannot be trusted, the process ends; "
                "check the disk under data_dir";
  LogWriter::FlushInstalled();
  if (options_.end_process) return options_.end_process();
  abort();
}

}  // namespace raftkv
