#include "tests/model/watch_client.h"

#include <algorithm>
#include <utility>

namespace raftkv {

using etcdserverpb::WatchRequest;
using etcdserverpb::WatchResponse;

void WatchClient::Add(etcdserverpb::WatchCreateRequest request) {
  waiting_.push_back(watches_.size());
  watches_.push_back({WatchChecker(model_, std::move(request))});
}

void WatchClient::Connect() {
  asked_.clear();
  waiting_.clear();
  for (size_t i = 0; i < watches_.size(); ++i) {
    Watch& watch = watches_[i];
    watch.checker.Disconnect();
    watch.events_before = watch.checker.events();
    watch.resumed = false;
    if (!watch.checker.cancelled()) waiting_.push_back(i);
  }
}

std::optional<WatchRequest> WatchClient::Next() {
  if (waiting_.empty()) return std::nullopt;
  WatchRequest request;
  *request.mutable_create_request() = watches_[waiting_.front()].checker.Request();
  asked_.push_back(waiting_.front());
  waiting_.pop_front();
  return request;
}

std::optional<WatchRequest> WatchClient::CancelOne() {
  for (const Watch& watch : watches_) {
    if (!watch.checker.created() || watch.checker.cancelled()) continue;
    WatchRequest request;
    request.mutable_cancel_request()->set_watch_id(watch.checker.id());
    return request;
  }
  return std::nullopt;
}

std::string WatchClient::OnResponse(const WatchResponse& response) {
  counts_.fragments += response.fragment();
  if (response.created()) {
    if (asked_.empty()) return "nothing was requested";
    WatchChecker& checker = watches_[asked_.front()].checker;
    asked_.pop_front();
    return checker.OnResponse(response);
  }
  if (response.watch_id() == -1) {
    ++counts_.progress;
    for (Watch& watch : watches_) {
      if (watch.checker.cancelled()) continue;
      std::string wrong = watch.checker.OnProgress(response.header().revision());
      if (!wrong.empty()) return wrong;
    }
    return "";
  }
  for (Watch& watch : watches_) {
    const WatchChecker& checker = watch.checker;
    if (checker.created() && !checker.cancelled() && checker.id() == response.watch_id()) {
      return OnWatch(&watch, response);
    }
  }
  return "a response for an unknown watch";
}

std::string WatchClient::OnWatch(Watch* watch, const WatchResponse& response) {
  const int64_t before = watch->checker.events();
  std::string wrong = watch->checker.OnResponse(response);
  const int64_t events = watch->checker.events() - before;
  counts_.events += events;
  counts_.compacted += watch->checker.compacted();
  counts_.notified += response.events().empty() && !response.canceled();
  if (response.events_size() > 1) {
    const int64_t first = response.events(0).kv().mod_revision();
    counts_.batches += response.events().rbegin()->kv().mod_revision() > first;
  }
  if (events > 0 && watch->events_before > 0 && !std::exchange(watch->resumed, true)) {
    ++counts_.resumed;
  }
  return wrong;
}

size_t WatchClient::open() const {
  return std::count_if(watches_.begin(), watches_.end(),
                       [](const Watch& watch) { return !watch.checker.cancelled(); });
}

std::string WatchClient::CheckComplete() const {
  for (const Watch& watch : watches_) {
    if (std::string wrong = watch.checker.CheckComplete(); !wrong.empty()) return wrong;
  }
  return "";
}

}  // namespace raftkv
