#include "server/watch/hub.h"

#include <algorithm>
#include <utility>

#include "glog/logging.h"
#include "storage/base/mutant.h"

namespace raftkv::watch {

using etcdserverpb::WatchResponse;

namespace {

constexpr size_t kStepsPerQuestion = 32;

// etcd has no such limit.
constexpr char kTooLarge[] =
    "etcdserver: the events of one revision are too large for one response; watch fewer keys";

}  // namespace

class Hub::Steps {
 public:
  explicit Steps(const RunBudget& budget) : budget_(budget) {}
  // False: there is none left.
  bool Take() {
    if (done_ >= budget_.steps_max) return false;
    if (done_ - asked_ >= kStepsPerQuestion) {
      asked_ = done_;
      if (budget_.out_of_time && budget_.out_of_time()) return false;
    }
    ++done_;
    return true;
  }
  // Charges the bytes that a step reads or copies.
  void Bytes(size_t bytes) { done_ += StepsOfBytes(bytes); }

 private:
  const RunBudget& budget_;
  size_t done_ = 0;
  size_t asked_ = 0;  // done_ when the time was asked for
};

std::unique_ptr<Stream> Hub::Open(std::function<void()> on_ready) {
  const uint64_t number = next_stream_++;
  std::unique_ptr<Stream> stream(new Stream(this, number, std::move(on_ready)));
  streams_.emplace(number, stream.get());
  return stream;
}

void Hub::Run(const StateSnapshot& snapshot, MonotonicTime now, const RunBudget& budget) {
  now_ = now;
  Steps steps(budget);
  lagging_ = !Distribute(snapshot, &steps);
  StartCatchUps(snapshot, budget);
  if (!closing()) Tick(now);
  CallReady();
}

// --- watches

// `current` is the newest revision. Without live watches the head moves there at once.
void Hub::Add(Watch* watch, Revision current) {
  ++watches_;
  key_bytes_ += watch->spec->key.size() + watch->spec->range_end.size();
  if (live_ == 0) SkipTo(current);
  Place(watch);
}

// The watch ends.
void Hub::Forget(Watch* watch) {
  Detach(watch);
  --watches_;
  key_bytes_ -= watch->spec->key.size() + watch->spec->range_end.size();
}

void Hub::Place(Watch* watch) {
  Stream& stream = *watch->stream;
  // A part of the next revision may have been distributed already.
  const Revision distributed = sub_ > 0 || !found_.empty() ? head_ + 1 : head_;
  const Revision slack = RAFTKV_MUTANT("watch-skips-at-the-switch") ? 1 : 0;
  watch->live = watch->next + slack > distributed;
  if (!watch->live) {
    stream.behind_.emplace(Stream::Position(watch->next, watch->serial), watch);
    MaybeWait(&stream);
    return;
  }
  ++live_;
  index_.Add(watch->spec->range(), watch);
  if (watch->next > head_ + 1) stream.future_.insert(watch->next);
}

void Hub::Detach(Watch* watch) {
  Stream& stream = *watch->stream;
  if (!watch->live) {
    stream.behind_.erase({watch->next, watch->serial});
    return;
  }
  watch->live = false;
  --live_;
  index_.Remove(watch->spec->range(), watch);
  if (const auto found = stream.future_.find(watch->next); found != stream.future_.end()) {
    stream.future_.erase(found);
  }
  if (watch->found >= 0) found_[std::exchange(watch->found, -1)] = nullptr;
  if (watch->open >= 0) {
    Part& part = open_[watch->open];
    open_bytes_ -= part.bytes;
    part = {};
    watch->open = -1;
  }
}

void Hub::FallBehind(Watch* watch, Revision next) {
  Detach(watch);
  watch->next = std::max({watch->next, next, watch->queued + 1});
  watch->stream->behind_.emplace(Stream::Position(watch->next, watch->serial), watch);
  MaybeWait(watch->stream);
}

void Hub::AllFallBehind() {
  for (auto& [number, stream] : streams_) {
    for (auto& [id, watch] : stream->watches_) {
      if (watch->live) FallBehind(watch.get(), head_ + 1);
    }
  }
}

// --- distribution

void Hub::SkipTo(Revision revision) {
  CHECK_EQ(live_, 0u);
  open_.clear();
  found_.clear();
  closed_ = given_ = 0;
  sub_ = 0;
  head_ = std::max(head_, revision);
}

bool Hub::Distribute(const StateSnapshot& snapshot, Steps* steps) {
  const Revision newest = snapshot.revision();
  if (newest <= head_) return true;
  if (newest - head_ > options_.jump || head_ + 1 < snapshot.first_event()) AllFallBehind();
  if (live_ == 0) {
    SkipTo(newest);
    return true;
  }
  for (mvcc::EventCursor cursor = snapshot.Events({head_ + 1, sub_}, newest); cursor.valid();
       cursor.Next()) {
    const mvcc::EventId id = cursor.id();
    if (id.revision > head_ + 1 && !CloseRevision(id.revision - 1, steps)) return false;
    if (!Give(&cursor, steps)) return false;
    sub_ = id.sub + 1;
  }
  return CloseRevision(newest, steps);
}

bool Hub::Give(mvcc::EventCursor* cursor, Steps* steps) {
  if (found_.empty()) {
    if (!steps->Take()) return false;
    steps->Bytes(cursor->key().size());
    index_.Find(cursor->key(), &found_);
    for (size_t i = 0; i < found_.size(); ++i) found_[i]->found = static_cast<int>(i);
  }
  const Revision revision = cursor->id().revision;
  bool loaded[2] = {false, false};
  mvccpb::Event events[2];  // without and with prev_kv
  for (; given_ < found_.size(); ++given_) {
    Watch* const watch = found_[given_];
    if (watch == nullptr) continue;
    if (!steps->Take()) return false;
    watch->found = -1;
    const Spec& spec = *watch->spec;
    if (revision < watch->next && !RAFTKV_MUTANT("watch-repeats-after-the-switch")) continue;
    if (!spec.Wants(cursor->deleted())) continue;
    mvccpb::Event& event = events[spec.prev_kv];
    if (!std::exchange(loaded[spec.prev_kv], true)) cursor->Load(spec.prev_kv, &event);
    if (watch->open < 0) {
      watch->open = static_cast<int>(open_.size());
      open_.emplace_back().watch = watch;
    }
    Part& part = open_[watch->open];
    const size_t bytes = EventBytes(event);
    steps->Bytes(bytes);
    *part.events.Add() = event;
    part.bytes += bytes;
    open_bytes_ += bytes;
    if (open_bytes_ > options_.open_bytes_max) FallBehind(watch, revision);
  }
  found_.clear();
  given_ = 0;
  return true;
}

// All events up to `revision` were given to their watches. Queues them.
bool Hub::CloseRevision(Revision revision, Steps* steps) {
  for (; closed_ < open_.size(); ++closed_) {
    Part& part = open_[closed_];
    if (part.watch == nullptr) continue;
    if (!steps->Take()) return false;
    Watch* const watch = part.watch;
    watch->open = -1;
    watch->queued = revision;
    Stream& stream = *watch->stream;
    if (stream.HasRoom(part.bytes)) {
      stream.Append(watch, std::move(part.events), part.bytes, revision);
    } else {
      watch->queued = 0;
      FallBehind(watch, head_ + 1);
    }
  }
  open_.clear();
  open_bytes_ = closed_ = 0;
  head_ = revision;
  sub_ = 0;
  for (const uint64_t number : std::exchange(progress_owed_, {})) {
    const auto found = streams_.find(number);
    if (found == streams_.end()) continue;
    found->second->owes_progress_ = false;
    found->second->AnswerProgress();
  }
  return true;
}

// --- catching up

void Hub::MaybeWait(Stream* stream) {
  if (stream->catching_up_ || stream->behind_.empty() || !stream->queue_.empty()) return;
  stream->catching_up_ = true;
  waiting_.push_back(stream->number_);
}

CatchUp Hub::MakeCatchUp(const Stream& stream, bool inline_only) const {
  CatchUp order{.stream = stream.number_,
                .items = {},
                .events_max = inline_only ? options_.inline_events : options_.catch_up_events,
                .bytes_max = StreamBytes(),
                .response_bytes_max = options_.response_bytes_max,
                .inline_only = inline_only};
  for (const auto& [position, watch] : stream.behind_) {
    if (order.items.size() == options_.catch_up_watches) break;
    order.items.push_back({watch->spec, watch->serial, watch->next});
  }
  return order;
}

void Hub::StartCatchUps(const StateSnapshot& snapshot, const RunBudget& budget) {
  size_t inline_left = options_.inline_runs_max;
  for (size_t left = waiting_.size(); left > 0 && (inline_left > 0 || CanCatchUp()); --left) {
    if (full()) break;
    const uint64_t number = waiting_.front();
    waiting_.pop_front();
    const auto found = streams_.find(number);
    if (found == streams_.end()) continue;
    Stream& stream = *found->second;
    const bool near = !stream.behind_.empty() &&
                      head_ - stream.behind_.begin()->first.first < options_.inline_revisions;
    if (budget.out_of_time && budget.out_of_time()) inline_left = 0;
    if (near && inline_left > 0) {
      --inline_left;
      CaughtUp result = RunCatchUp(MakeCatchUp(stream, /*inline_only=*/true), snapshot);
      const bool unfinished = result.unfinished;
      Accept(std::move(result));
      if (!unfinished || !stream.catching_up_) continue;
      waiting_.pop_back();  // Accept has put it there again
    }
    if (CanCatchUp()) {
      to_run_.push_back(MakeCatchUp(stream, /*inline_only=*/false));
      ++catch_ups_;
    } else {
      waiting_.push_back(number);
    }
  }
}

std::optional<CatchUp> Hub::TakeCatchUp() {
  if (to_run_.empty()) return std::nullopt;
  CatchUp order = std::move(to_run_.front());
  to_run_.pop_front();
  return order;
}

void Hub::OnCaughtUp(CaughtUp result) {
  --catch_ups_;
  Accept(std::move(result));
  CallReady();
}

void Hub::Accept(CaughtUp result) {
  const auto found = streams_.find(result.stream);
  if (found == streams_.end()) return;
  Stream* const stream = found->second;
  stream->catching_up_ = false;
  for (CaughtUp::Item& item : result.items) TakeItem(stream, &item);
  MaybeWait(stream);
}

void Hub::TakeItem(Stream* stream, CaughtUp::Item* item) {
  const auto found = stream->watches_.find(item->id);
  if (found == stream->watches_.end() || found->second->serial != item->serial) return;  // ended
  Watch* const watch = found->second.get();
  if (item->outcome == CaughtUp::Outcome::kCompacted) {
    stream->End(item->id);
    return stream->PushCompacted(item->id, item->compacted);
  }
  Detach(watch);
  watch->next = item->next;
  if (!item->events.empty()) {
    stream->Append(watch, std::move(item->events), item->bytes, item->next - 1);
  }
  Place(watch);
  if (item->outcome == CaughtUp::Outcome::kTooLarge) {
    stream->End(item->id);
    WatchResponse response;
    response.set_watch_id(item->id);
    response.mutable_header()->set_revision(head_);
    response.set_canceled(true);
    response.set_cancel_reason(kTooLarge);
    stream->Push(std::move(response));
  }
}

// --- progress

void Hub::Tick(MonotonicTime now) {
  while (!ticks_.empty() && ticks_.begin()->first <= now) {
    const uint64_t number = ticks_.begin()->second;
    ticks_.erase(ticks_.begin());
    streams_.at(number)->Tick(now);
  }
}

void Hub::Touch(Stream* stream) {
  if (!std::exchange(stream->dirty_, true)) dirty_.push_back(stream->number_);
}

void Hub::CallReady() {
  for (const uint64_t number : std::exchange(dirty_, {})) {
    const auto found = streams_.find(number);
    if (found == streams_.end()) continue;
    found->second->dirty_ = false;
    found->second->on_ready_();
  }
}

}  // namespace raftkv::watch
