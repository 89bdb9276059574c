#include "server/loop.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_format.h"
#include "absl/synchronization/notification.h"
#include "glog/logging.h"
#include "server/clock.h"

namespace raftkv {

namespace {
// Collecting for a turn ends at the first of these: kEmptyPollsMax polls in a row found nothing;
// kCollectMax is over; kEventsMax events were collected; Member::has_enough. The rest waits. Of the
// values of kEmptyPollsMax that were measured on two cores, 12 gave the highest throughput.
constexpr int kEventsMax = 1024, kEmptyPollsMax = 12;
constexpr absl::Duration kCollectMax = absl::Milliseconds(2);
// Applying on the loop's thread ends before the next entry or read once this time is over, so that
// the next turn can send heartbeats.
constexpr absl::Duration kApplyMax = absl::Milliseconds(20);
// The longest rest of a member that catches up. A turn counts it as one heartbeat at most.
constexpr absl::Duration kRestMax = absl::Milliseconds(20);
// If an apply on the worker takes longer, it is logged.
constexpr absl::Duration kLongApply = absl::Seconds(1);

std::function<bool()> OutOfTime(absl::Duration time) {
  return [until = MonotonicNow() + time] { return MonotonicNow() >= until; };
}

}  // namespace

Loop::Loop(LoopOptions options, Member* member, const PhaseValue* phase, Poller* poller)
    : options_(std::move(options)),
      member_(member),
      phase_(phase),
      poller_(poller),
      applying_(/*threads=*/1, /*waiting_max=*/1) {}

void Loop::Start() {
  thread_ = std::thread([this] { RunTurns(); });
}

void Loop::Join() {
  if (!thread_.joinable()) return;
  thread_.join();
  while (client_calls_.RunNext() || peer_calls_.RunNext()) {
  }
}

void Loop::Repeat(std::function<bool()> work) {
  {
    absl::MutexLock lock(&mutex_);
    posted_.push_back(std::move(work));
    has_new_work_ = true;
  }
  poller_->Wake();
}

void Loop::OnLoop(std::function<void()> work) {
  if (std::this_thread::get_id() == thread_.get_id()) return work();
  Repeat([work = std::move(work)] {
    work();
    return true;
  });
}

void Loop::Await(MonotonicTime deadline, const std::function<bool()>& condition) {
  absl::Notification done;
  Repeat([&] {
    if (!condition() && MonotonicNow() < deadline) return false;
    done.Notify();  // Await returns: do not use `condition`, `deadline` or `done` below
    return true;
  });
  done.WaitForNotification();
}

void Loop::RunPosted() {
  std::list<std::function<bool()>> posted;
  {
    absl::MutexLock lock(&mutex_);
    posted.swap(posted_);
    has_new_work_ = false;
  }
  posted.remove_if([](const std::function<bool()>& work) { return work(); });
  absl::MutexLock lock(&mutex_);
  posted_.splice(posted_.begin(), posted);
}

void Loop::RunTurns() {
  while (!phase_->AtLeast(Phase::kStopped)) {
    ++rounds_;
    Collect();
    const MonotonicTime start = MonotonicNow();
    options_.before_turn(start);
    options_.send_answers();  // before the turn, which waits for the disk
    member_->Turn(start);
    RunApply();
    options_.send_answers();
    member_->SendNews();
    more_after_turn_ = options_.after_turn(MonotonicNow());
    RunPosted();
    options_.send_answers();
    if (member_->rests()) absl::SleepFor(std::min(2 * (MonotonicNow() - start), kRestMax));
  }
  applying_.Stop();  // waits for a running apply
}

void Loop::Collect() {
  if (member_->idle() && !more_after_turn_) {
    poller_->Wait(options_.tick, [this] {
      return !client_calls_.empty() || !peer_calls_.empty() || has_new_work_;
    });
  }
  const std::function<bool()> out_of_time = OutOfTime(kCollectMax);
  int events = 0;
  for (int empty = 0; empty < kEmptyPollsMax && events < kEventsMax && !member_->has_enough();) {
    const int served = poller_->Poll() + peer_calls_.RunNext() + client_calls_.RunNext();
    events += served;
    empty = served > 0 ? 0 : empty + 1;
    if (out_of_time()) break;
  }
}

void Loop::RunApply() {
  const MonotonicTime start = MonotonicNow();
  switch (member_->PlanApply(start)) {
    case ApplyPlan::kNothing:
      return;
    case ApplyPlan::kHere:
      member_->Apply(ApplyPlan::kHere, BudgetBetweenTurns(OutOfTime(kApplyMax)));
      return options_.on_applied(MonotonicNow() - start);
    case ApplyPlan::kElsewhere:
      break;
  }
  const bool large = member_->large_next();
  const bool accepted = applying_.Run([this, large] {
    const MonotonicTime start = MonotonicNow();
    member_->Apply(ApplyPlan::kElsewhere);
    const absl::Duration took = MonotonicNow() - start;
    options_.on_applied(took);
    if (took <= kLongApply) return;
    LOG(WARNING) << absl::StrFormat(
        "applying entries took %.1fs: %s", absl::ToDoubleSeconds(took),
        large ? "one of them visits very many keys (a large delete or transaction)"
              : "the store waits for its compactions: the disk is too slow for these writes");
  });
  CHECK(accepted) << "one apply at a time";
}

}  // namespace raftkv
