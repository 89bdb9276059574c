// The methods of Stream: requests of the client, and the queue of responses.

#include <algorithm>
#include <limits>
#include <utility>

#include "proto/etcd/outcome.h"
#include "server/watch/hub.h"
#include "storage/base/mutant.h"

namespace raftkv::watch {

using etcdserverpb::WatchCreateRequest;
using etcdserverpb::WatchRequest;
using etcdserverpb::WatchResponse;

namespace {

// etcd's texts.
constexpr char kCompacted[] = "etcdserver: mvcc: required revision has been compacted";
constexpr char kEmptyRange[] = "mvcc: watcher range is empty";
constexpr char kDuplicateId[] = "mvcc: duplicate watch ID provided on the WatchStream";

constexpr int64_t kNoWatch = -1;  // the id in responses that belong to no watch

WatchResponse Answer(int64_t id, Revision revision) {
  WatchResponse response;
  response.set_watch_id(id);
  response.mutable_header()->set_revision(revision);
  return response;
}

Spec MakeSpec(const WatchCreateRequest& request) {
  Spec spec;
  spec.key = request.key().empty() ? std::string(1, '\0') : request.key();
  spec.range_end = request.range_end();
  spec.prev_kv = request.prev_kv();
  spec.fragment = request.fragment();
  for (const int filter : request.filters()) {
    if (filter == WatchCreateRequest::NOPUT) spec.no_put = true;
    if (filter == WatchCreateRequest::NODELETE) spec.no_delete = true;
  }
  return spec;
}

}  // namespace

Stream::~Stream() {
  for (auto& [id, watch] : watches_) hub_.Forget(watch.get());
  hub_.bytes_ -= bytes();
  hub_.ticks_.erase({next_tick_, number_});
  hub_.streams_.erase(number_);
}

bool Stream::WantsRequest() const { return answers_ < hub_.options_.stream_answers_max; }

void Stream::OnRequest(const WatchRequest& request, const StateSnapshot& current,
                       MonotonicTime now) {
  switch (request.request_union_case()) {
    case WatchRequest::kCreateRequest:
      return Create(request.create_request(), current, now);
    case WatchRequest::kCancelRequest:
      return Cancel(request.cancel_request().watch_id(), current.revision());
    case WatchRequest::kProgressRequest:
      return AnswerProgress();
    case WatchRequest::REQUEST_UNION_NOT_SET:
      return;
  }
}

std::string Stream::WhyNot(const WatchCreateRequest& request, const Spec& spec) const {
  const HubOptions& options = hub_.options_;
  const RangeView range = spec.range();
  if (request.start_revision() < 0) return kCompacted;
  if (!range.one_key() && !range.open() && range.key >= range.range_end) return kEmptyRange;
  if (request.watch_id() != 0 && watches_.contains(request.watch_id())) return kDuplicateId;
  if (watches_.size() >= options.stream_watches_max || hub_.watches_ >= options.watches_max ||
      hub_.key_bytes_ + spec.key.size() + spec.range_end.size() > options.key_bytes_max) {
    return kTooManyRequests;
  }
  return "";
}

int64_t Stream::FreeId() {
  while (watches_.contains(next_id_)) ++next_id_;
  return next_id_++;
}

void Stream::Create(const WatchCreateRequest& request, const StateSnapshot& current,
                    MonotonicTime now) {
  Spec spec = MakeSpec(request);
  const std::string why_not = WhyNot(request, spec);
  if (why_not.empty()) spec.id = request.watch_id() != 0 ? request.watch_id() : FreeId();
  WatchResponse* created = Push(Answer(why_not.empty() ? spec.id : kNoWatch, current.revision()));
  created->set_created(true);
  if (!why_not.empty()) {
    created->set_canceled(true);
    created->set_cancel_reason(why_not);
    return;
  }
  const Revision start =
      request.start_revision() == 0 ? current.revision() + 1 : request.start_revision();
  if (start < current.compacted_revision() && !RAFTKV_MUTANT("watch-hides-the-compaction")) {
    return PushCompacted(spec.id, current.compacted_revision());
  }
  auto watch = std::make_unique<Watch>();
  watch->stream = this;
  watch->serial = hub_.next_serial_++;
  watch->next = start;
  watch->progress_notify = request.progress_notify();
  watch->quiet = true;
  watch->spec = std::make_shared<const Spec>(std::move(spec));
  if (watch->progress_notify && next_tick_ == MonotonicTime::InfiniteFuture()) {
    next_tick_ = now + TickInterval();
    hub_.ticks_.emplace(next_tick_, number_);
  }
  Watch* const added = watch.get();
  watches_.emplace(added->spec->id, std::move(watch));
  hub_.Add(added, current.revision());
}

void Stream::PushCompacted(int64_t id, Revision compacted) {
  WatchResponse* response = Push(Answer(id, 0));
  response->set_canceled(true);
  response->set_compact_revision(compacted);
}

void Stream::Cancel(int64_t id, Revision current) {
  if (!watches_.contains(id)) return;
  End(id);
  Push(Answer(id, current))->set_canceled(true);
}

void Stream::End(int64_t id) {
  const auto found = watches_.find(id);
  hub_.Forget(found->second.get());
  watches_.erase(found);
}

bool Stream::AllSynced() {
  future_.erase(future_.begin(), future_.upper_bound(hub_.head_ + 1));
  return future_.empty() && (behind_.empty() || RAFTKV_MUTANT("watch-progress-ahead-of-events"));
}

void Stream::AnswerProgress() {
  if (hub_.closing()) {
    // The queue may hold events of revision head_ + 1. Progress up to head_ would be a step back.
    if (!std::exchange(owes_progress_, true)) hub_.progress_owed_.push_back(number_);
    return;
  }
  if (watches_.empty() || !AllSynced()) return;
  Push(Answer(kNoWatch, hub_.head_));
  last_progress_ = taken_ + queue_.size();
}

// As in etcd: up to a tenth longer, so that streams do not all send at the same time.
absl::Duration Stream::TickInterval() const {
  constexpr uint64_t kSteps = 16;
  const absl::Duration interval = hub_.options_.progress_interval;
  return interval + interval * static_cast<int64_t>(number_ % kSteps) / (10 * kSteps);
}

void Stream::Tick(MonotonicTime now) {
  bool any = false;
  for (auto& [id, watch] : watches_) {
    if (!watch->progress_notify) continue;
    any = true;
    const bool synced = watch->live && watch->next <= hub_.head_ + 1;
    if (watch->quiet && synced && WantsRequest()) {
      Push(Answer(id, hub_.head_));
      watch->last_events = 0;
    }
    watch->quiet = true;
  }
  next_tick_ = any ? now + TickInterval() : MonotonicTime::InfiniteFuture();
  if (any) hub_.ticks_.emplace(next_tick_, number_);
}

// --- the queue

WatchResponse* Stream::Push(WatchResponse message, size_t bytes) {
  if (bytes == 0) ++answers_;
  if (this->bytes() == 0) unread_since_ = hub_.now_;
  queued_bytes_ += bytes;
  hub_.bytes_ += bytes;
  hub_.Touch(this);
  return &queue_.emplace_back(Response{std::move(message), bytes}).message;
}

std::optional<WatchResponse> Stream::Take() {
  hub_.bytes_ -= std::exchange(taken_bytes_, 0);
  unread_since_ = hub_.now_;
  if (queue_.empty()) return std::nullopt;
  Response response = std::move(queue_.front());
  queue_.pop_front();
  ++taken_;
  if (response.bytes == 0) --answers_;
  queued_bytes_ -= response.bytes;
  taken_bytes_ = response.bytes;
  hub_.MaybeWait(this);
  return std::move(response.message);
}

bool Stream::HasRoom(size_t bytes) const {
  if (hub_.full()) return false;
  return queue_.empty() || this->bytes() + bytes <= hub_.StreamBytes();
}

bool Stream::Stalled(MonotonicTime now) const {
  const HubOptions& options = hub_.options_;
  return hub_.bytes_ >= options.all_bytes_max / 2 && bytes() > 0 &&
         now - unread_since_ >= options.stall_max;
}

void Stream::Append(Watch* watch, Events events, size_t bytes, Revision revision) {
  watch->quiet = false;
  // Events may join the watch's last response, unless progress was queued behind it: a client must
  // not see revisions go back.
  if (watch->last_events > std::max(taken_, last_progress_)) {
    Response& last = queue_[watch->last_events - taken_ - 1];
    const size_t both = last.bytes + bytes;
    if (both <= hub_.StreamBytes() && both <= hub_.options_.fragment_bytes) {
      last.bytes = both;
      queued_bytes_ += bytes;
      hub_.bytes_ += bytes;
      for (mvccpb::Event& event : events) *last.message.add_events() = std::move(event);
      last.message.mutable_header()->set_revision(revision);
      return;
    }
  }
  if (watch->spec->fragment && bytes > hub_.options_.fragment_bytes && events.size() > 1) {
    return PushFragments(watch, std::move(events), revision);
  }
  Push(Answer(watch->spec->id, revision), bytes)->mutable_events()->Swap(&events);
  watch->last_events = taken_ + queue_.size();
}

void Stream::PushFragments(Watch* watch, Events events, Revision revision) {
  watch->last_events = 0;  // nothing is added to a fragment
  for (int i = 0; i < events.size();) {
    WatchResponse part = Answer(watch->spec->id, revision);
    size_t bytes = 0;
    do {
      bytes += EventBytes(events[i]);
      *part.add_events() = std::move(events[i++]);
    } while (i < events.size() && bytes + EventBytes(events[i]) <= hub_.options_.fragment_bytes);
    part.set_fragment(i < events.size());
    Push(std::move(part), bytes);
  }
}

}  // namespace raftkv::watch
