#include "server/loop.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/strings/str_format.h"
#include "glog/logging.h"

namespace raftkv {

namespace {

// One turn serves at most this much (and what Inbox::enough says); more waits in gRPC's queues.
// Measured on two cores (docs/benchmarks.md): a batch is worth waiting for until the queue was
// empty a dozen times.
constexpr int kEventsMax = 1024;
constexpr int kEmptyPollsMax = 12;
constexpr absl::Duration kCollectMax = absl::Microseconds(200);
// About two milliseconds of applying, or of reads of single keys, then the network is looked at
// again. With all entries or reads as large as they may be here, it is a tenth of a second.
constexpr size_t kApplyStepsMax = 512;
constexpr int64_t kApplyVisitedKeysMax = 2048;
// An apply on a worker that takes longer is worth a line in the log.
constexpr absl::Duration kLongApply = absl::Seconds(1);
constexpr absl::Duration kFlushInterval = absl::Seconds(30);
constexpr int kReaders = 2;
constexpr size_t kReadsWaitingMax = 1024;
constexpr size_t kWalksWaitingMax = 8;
constexpr absl::Duration kWatchInterval = absl::Milliseconds(100);

gpr_timespec After(absl::Duration duration) {
  return gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                      gpr_time_from_micros(absl::ToInt64Microseconds(duration), GPR_TIMESPAN));
}

// False: nothing has happened until `deadline`.
bool Poll(grpc::CompletionQueue* queue, gpr_timespec deadline) {
  void* tag = nullptr;
  bool ok = false;
  if (queue->AsyncNext(&tag, &ok, deadline) != grpc::CompletionQueue::GOT_EVENT) return false;
  static_cast<Completion*>(tag)->OnComplete(ok);
  return true;
}

}  // namespace

absl::Time Loop::Now() {
  return absl::UnixEpoch() + absl::FromChrono(std::chrono::steady_clock::now().time_since_epoch());
}

Loop::Loop(LoopOptions options, StateMachine* state_machine)
    : options_(options),
      state_machine_(state_machine),
      applier_(state_machine),
      applying_worker_(/*threads=*/1, /*waiting_max=*/1),
      readers_(kReaders, kReadsWaitingMax),
      walker_(/*threads=*/1, kWalksWaitingMax) {}

Loop::~Loop() { Stop(); }

void Loop::Start(Replica* replica, const LoopQueues& queues) {
  replica_ = replica;
  queues_ = queues;
  thread_ = std::thread([this] { Run(); });
  watchdog_ = std::thread([this] { Watch(); });
}

void Loop::Stop() {
  stop_ = true;
  if (thread_.joinable()) thread_.join();
  if (watchdog_.joinable()) watchdog_.join();
  readers_.Stop();
  walker_.Stop();
}

void Loop::RunOnLoop(std::function<void()> work) {
  absl::MutexLock lock(&mutex_);
  posted_.push_back(std::move(work));
  has_posted_ = true;
}

void Loop::RunPosted() {
  if (!has_posted_.load(std::memory_order_acquire)) return;
  std::vector<std::function<void()>> work;
  {
    absl::MutexLock lock(&mutex_);
    work.swap(posted_);
    has_posted_ = false;
  }
  for (auto& w : work) w();
}

void Loop::Run() {
  while (!stop_) {
    ++rounds_;
    Collect();
    RunPosted();
    replica_->Turn(inbox_.Take(), Now());
    term_.store(replica_->term(), std::memory_order_relaxed);
    has_leader_.store(replica_->leader() != raft::kNobody, std::memory_order_relaxed);
    refused_by_peers_.store(replica_->refused_by_peers(), std::memory_order_relaxed);
    RunApply();
    if (!said_ready_) MaybeSayReady();
  }
  while (applying_elsewhere_) {
    absl::SleepFor(absl::Milliseconds(1));
    RunApply();
  }
}

// A leader's first entry comes after everything that was decided before it.
void Loop::MaybeSayReady() {
  if (applying_elsewhere_ || !has_leader_ || state_machine_->applied().term != term_) return;
  said_ready_ = true;
  if (options_.on_ready) options_.on_ready();
}

void Loop::Collect() {
  const gpr_timespec at_once = gpr_inf_past(GPR_CLOCK_MONOTONIC);
  while (Poll(queues_.peer_arrivals, at_once)) {
  }
  int events = 0;
  const bool idle = inbox_.empty() && apply_inbox_.empty() &&
                    (applying_elsewhere_ || (applier_.empty() && !applier_.can_compact()));
  if (idle) {
    if (!Poll(queues_.calls, After(options_.tick))) return;
    events = 1;
  }
  const absl::Time until = Now() + kCollectMax;
  for (int empty = 0; empty < kEmptyPollsMax && events < kEventsMax && !inbox_.enough();) {
    if (Poll(queues_.calls, at_once)) {
      empty = 0;
      ++events;
    } else {
      ++empty;
    }
    if (Now() > until) break;
  }
}

void Loop::RunApply() {
  if (applying_elsewhere_) {
    if (!applied_elsewhere_.exchange(false, std::memory_order_acq_rel)) return;
    applying_elsewhere_ = false;
    replica_->OnApplied(applied_);
  }
  for (ApplyTask& task : apply_inbox_) applier_.Post(std::move(task));
  apply_inbox_.clear();
  if (stop_waiting_) applier_.StopWaiting();
  applier_.MaybeCompact(Now());
  if (applier_.empty()) {
    const absl::Time now = Now();
    if (now >= next_flush_) {
      next_flush_ = now + kFlushInterval;
      state_machine_->StartFlush();
    }
    return;
  }
  if ((state_machine_->WouldStall() || applier_.large_next()) &&
      applying_worker_.Run([this] { ApplyElsewhere(); })) {
    applying_elsewhere_ = true;
    return;
  }
  replica_->OnApplied(applier_.Run(kApplyStepsMax, kApplyVisitedKeysMax));
}

void Loop::ApplyElsewhere() {
  const bool large = applier_.large_next();
  const raft::Index before = state_machine_->applied().index;
  const absl::Time start = Now();
  const raft::Index applied = applier_.Run(SIZE_MAX);
  if (const absl::Duration took = Now() - start; took > kLongApply) {
    LOG(WARNING) << absl::StrFormat(
        "applying entries %d to %d took %.1fs: %s", before + 1, applied,
        absl::ToDoubleSeconds(took),
        large ? "one of them visits very many keys (a large delete or transaction)"
              : "the store waits for its compactions, so the disk is too slow for these writes");
  }
  applied_ = applied;
  applied_elsewhere_.store(true, std::memory_order_release);
}

// A loop that hangs keeps this member from leading and from following; after disk_stall_timeout the
// process ends so that whoever supervises it can act. Counting our own wake-ups, not the clock,
// keeps a process that was merely stopped for a while alive.
void Loop::Watch() {
  const int64_t hang_wakes = options_.election_timeout / kWatchInterval;
  const int64_t abort_wakes = options_.disk_stall_timeout / kWatchInterval;
  uint64_t watched = 0;
  int64_t wakes = 0;
  while (!stop_) {
    // The loop's thread does the network's work for all queues, and would be slowed down by another
    // one that waits for it too; unless it hangs: then this thread must.
    const gpr_timespec next = After(kWatchInterval);
    while (hangs_ && gpr_time_cmp(gpr_now(GPR_CLOCK_MONOTONIC), next) < 0) {
      Poll(queues_.health, next);
    }
    if (!hangs_) absl::SleepFor(kWatchInterval);
    for (int i = 0; i < kEventsMax && Poll(queues_.health, gpr_inf_past(GPR_CLOCK_MONOTONIC));
         ++i) {
    }
    if (look_) look_();
    if (const uint64_t rounds = rounds_; rounds != watched) {
      if (hangs_.exchange(false)) LOG(WARNING) << "the disk answers again";
      watched = rounds;
      wakes = 0;
      continue;
    }
    if (++wakes >= hang_wakes && !hangs_.exchange(true)) {
      LOG(WARNING) << "the disk has not answered for "
                   << absl::FormatDuration(options_.election_timeout)
                   << ": nobody but health checks is answered; the process ends if it takes "
                   << absl::FormatDuration(options_.disk_stall_timeout)
                   << " (limits.disk_stall_timeout)";
    }
    if (wakes < abort_wakes) continue;
    LOG(ERROR) << "the disk has not answered for "
               << absl::FormatDuration(options_.disk_stall_timeout)
               << " (limits.disk_stall_timeout): this disk cannot be trusted, the process ends; "
                  "check the disk under data_dir";
    google::FlushLogFiles(google::INFO);
    abort();
  }
}

}  // namespace raftkv
