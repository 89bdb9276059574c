#ifndef RAFTKV_SERVER_API_WATCH_SERVICE_H_
#define RAFTKV_SERVER_API_WATCH_SERVICE_H_

// The hub of the member's watches, and the calls of clients that wait for events: the streams of
// Watch (watch.cc), and the calls of the services Lock and Election (candidate.h, election.cc). The
// streams of keep-alives (lease.cc) wait for no events, but they end for the same reasons. All code
// here runs on the loop's thread, except catch-ups: a worker reads the store for them.

#include <functional>
#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "server/api/edge.h"
#include "server/watch/hub.h"

namespace raftkv::api {

// Streams and waiting calls together. Each holds a stream of the hub.
inline constexpr size_t kWatchingCallsMax = 16'384;

// A call that waits for events, or a stream of keep-alives. The service ends it when there is a
// reason. End and Cancel must not remove the call from the service; WatchService::Later can do
// that.
class WatchingCall {
 public:
  virtual ~WatchingCall() = default;
  // With the metadata `hasleader`, the call ends when there has been no leader for some time.
  virtual bool needs_leader() const = 0;
  // True: the call ends when the member begins to stop. False: the client port ends it.
  virtual bool ends_at_decline() const { return false; }
  // True: the client does not read, or does not wait any more. The service then calls Cancel.
  virtual bool Abandoned(MonotonicTime now) const = 0;
  // Ends the call, and frees what it holds, without waiting for the client.
  virtual void Cancel() = 0;
  // Ends the call with `status`.
  virtual void End(const absl::Status& status) = 0;
};

// Owned by the calls, the workers' tasks and the loop together.
class WatchService {
 public:
  explicit WatchService(const Edge* edge);

  // Call it after each turn of the member. True: call it again at once, because there is more to
  // do.
  bool Run(const std::shared_ptr<WatchService>& self, MonotonicTime now);

  const Edge& edge() const { return edge_; }
  watch::Hub& hub() { return hub_; }
  bool full() const { return calls_.size() >= kWatchingCallsMax; }
  void Add(WatchingCall* call) { calls_.insert(call); }
  void Remove(WatchingCall* call) { calls_.erase(call); }
  // For a call that waits for no events. It has a limit of its own.
  void AddKeepAlives(WatchingCall* call) { keep_alives_.insert(call); }
  void RemoveKeepAlives(WatchingCall* call) { keep_alives_.erase(call); }
  // Does the work at the end of this Run, or of the next one if none is running. For what the hub's
  // on_ready and the functions of WatchingCall must not do.
  void Later(std::function<void()> work) { later_.push_back(std::move(work)); }

 private:
  void EndCalls(MonotonicTime now);
  void AcceptResults();

  const Edge& edge_;
  watch::Hub hub_;
  std::set<WatchingCall*> calls_;
  std::set<WatchingCall*> keep_alives_;
  std::vector<std::function<void()>> later_;
  MonotonicTime next_check_ = MonotonicTime::InfinitePast();
  MonotonicTime last_leader_ = MonotonicTime::InfinitePast();  // when a leader was known last

  absl::Mutex mutex_;
  std::vector<watch::CaughtUp> results_ ABSL_GUARDED_BY(mutex_);  // from the workers
};

// A stream of a client that waits for events of the hub.
class WatchingStream : public StreamHandler, public WatchingCall {
 public:
  WatchingStream(std::shared_ptr<WatchService> service, StreamCall* call);
  ~WatchingStream() override { service_->Remove(this); }

  bool OnLastRequest() override { return true; }  // as in etcd, the watches go on
  bool needs_leader() const override { return needs_leader_; }
  bool Abandoned(MonotonicTime now) const override {
    return stream_ != nullptr && stream_->Stalled(now);
  }
  void Cancel() override;
  void End(const absl::Status& status) override;

 protected:
  const Edge& edge() const { return service_->edge(); }
  bool ended() const { return ended_; }

  const std::shared_ptr<WatchService> service_;
  StreamCall& call_;
  std::unique_ptr<watch::Stream> stream_;  // null: it waits for nothing now, or has ended

 private:
  const bool needs_leader_;
  bool ended_ = false;
};

}  // namespace raftkv::api

#endif  // RAFTKV_SERVER_API_WATCH_SERVICE_H_
