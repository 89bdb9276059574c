#include "tests/model/watch_checker.h"

#include <algorithm>
#include <utility>

namespace raftkv {

using etcdserverpb::WatchCreateRequest;
using etcdserverpb::WatchResponse;
using mvccpb::Event;

namespace {

std::string Text(const google::protobuf::Message& message) { return message.ShortDebugString(); }

}  // namespace

WatchChecker::WatchChecker(const Model* model, WatchCreateRequest request)
    : model_(model), request_(std::move(request)), next_(request_.start_revision()) {}

void WatchChecker::Disconnect() {
  created_ = false;
  fragments_.clear();
}

WatchCreateRequest WatchChecker::Request() {
  Disconnect();
  WatchCreateRequest request = request_;
  request.set_start_revision(next_);
  return request;
}

std::vector<Event> WatchChecker::Expected(int64_t from, int64_t to) const {
  std::vector<Event> expected;
  const auto has = [this](WatchCreateRequest::FilterType filter) {
    return std::find(request_.filters().begin(), request_.filters().end(), filter) !=
           request_.filters().end();
  };
  for (int64_t revision = from; revision <= to; ++revision) {
    for (Event& event : model_->EventsOf(revision)) {
      if (!InRange(event.kv().key(), request_.key(), request_.range_end())) continue;
      if (has(event.type() == Event::PUT ? WatchCreateRequest::NOPUT
                                         : WatchCreateRequest::NODELETE)) {
        continue;
      }
      expected.push_back(std::move(event));
    }
  }
  return expected;
}

std::string WatchChecker::Compare(const Event& expected, const Event& actual) const {
  Event wanted = expected;
  const bool compacted = expected.kv().mod_revision() - 1 < model_->now().compacted;
  if (!request_.prev_kv() || (compacted && !actual.has_prev_kv())) wanted.clear_prev_kv();
  if (Text(wanted) == Text(actual)) return "";
  return "got " + Text(actual) + ", expected " + Text(wanted);
}

std::string WatchChecker::OnCreated(const WatchResponse& response) {
  if (created_) return "created twice";
  created_ = true;
  id_ = response.watch_id();
  if (response.canceled()) {
    cancelled_ = true;
    return "";
  }
  if (response.header().revision() > model_->revision()) return "created in the future";
  if (next_ == 0) next_ = response.header().revision() + 1;
  return "";
}

std::string WatchChecker::OnCancelled(const WatchResponse& response) {
  cancelled_ = true;
  if (response.compact_revision() == 0) return "";
  compacted_ = true;
  if (response.compact_revision() > model_->now().compacted) {
    return "cancelled for a compaction that did not happen";
  }
  return next_ < response.compact_revision() ? "" : "cancelled for a compaction of the past";
}

std::string WatchChecker::OnResponse(const WatchResponse& response) {
  if (response.created()) return OnCreated(response);
  if (!created_) return "a response before created";
  if (cancelled_) return "a response after the end";
  if (response.canceled()) return OnCancelled(response);
  fragments_.insert(fragments_.end(), response.events().begin(), response.events().end());
  if (response.fragment()) return "";
  const std::vector<Event> events = std::exchange(fragments_, {});
  const int64_t revision = response.header().revision();
  if (revision > model_->revision()) return "a revision of the future";
  if (next_ > revision + 1) return "a revision before the watch's start";
  if (!events.empty() && events.back().kv().mod_revision() > revision) {
    return "events beyond the header's revision";
  }
  const std::vector<Event> expected = Expected(next_, revision);
  for (size_t i = 0; i < std::min(events.size(), expected.size()); ++i) {
    if (std::string why = Compare(expected[i], events[i]); !why.empty()) return why;
  }
  if (events.size() < expected.size()) return "missing: " + Text(expected[events.size()]);
  if (events.size() > expected.size()) return "too much: " + Text(events[expected.size()]);
  next_ = std::max(next_, revision + 1);
  events_ += static_cast<int64_t>(events.size());
  return "";
}

std::string WatchChecker::OnProgress(int64_t revision) {
  if (!created_) return "";  // not counted by the sender
  if (revision > model_->revision()) return "progress to the future";
  if (next_ > revision + 1) return "progress to before the watch's start";
  const std::vector<Event> expected = Expected(next_, revision);
  if (!expected.empty()) return "progress ahead of " + Text(expected.front());
  next_ = revision + 1;
  return "";
}

std::string WatchChecker::CheckComplete() const {
  if (cancelled_ || next_ == 0) return "";
  const std::vector<Event> expected = Expected(next_, model_->revision());
  return expected.empty() ? "" : "never sent: " + Text(expected.front());
}

}  // namespace raftkv
