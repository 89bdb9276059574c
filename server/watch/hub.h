#ifndef RAFTKV_SERVER_WATCH_HUB_H_
#define RAFTKV_SERVER_WATCH_HUB_H_

// All watches of one member. A watch is a cursor over revisions, not a queue of events:
//
//   - A *live* watch has got every event up to head(), the last revision that was distributed. Run
//     reads new revisions from the store once, and adds each event to the live watches that want
//     it. An index finds these watches (range_index.h).
//   - Any other watch is *behind*, because it starts in the past or because its client reads too
//     slowly. It has a position of its own. When the stream has nothing left to send, a CatchUp
//     (catch_up.h) reads the missed events from the store, for all watches of the stream that are
//     behind. A watch that reaches the head becomes live.
//
// Each stream has one queue of responses, which leave it in order. The queue is bounded: when it is
// full, live watches of the stream that would get further events fall behind. A progress response
// is queued after the events that it covers.
//
// Single-threaded and deterministic, without clocks: the API (server/api/watch.cc) and the
// simulator drive it. Only RunCatchUp may run on other threads.
//
//   hub.Run(snapshot, now, budget);                      // after each turn of the member
//   while (auto order = hub.TakeCatchUp()) {             // and give these to a worker:
//     hub.OnCaughtUp(RunCatchUp(*order, member.Snapshot()));  // the result, later
//   }
//
// Errors and texts are etcd's.

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "proto/etcd/rpc.pb.h"
#include "server/watch/catch_up.h"
#include "server/watch/range_index.h"
#include "storage/base/monotonic_time.h"
#include "storage/state_snapshot.h"

namespace raftkv::watch {

// The defaults are those of the server. Tests and the simulator use other values.
struct HubOptions {
  // A watch with progress_notify that had no events for this time is sent the current revision.
  absl::Duration progress_interval = absl::Minutes(10);

  // The number of watches of one stream and of all streams, and the bytes of the keys of all
  // watches. A further watch is rejected with "too many requests".
  size_t stream_watches_max = 65'536;
  size_t watches_max = 262'144;
  size_t key_bytes_max = 64 << 20;
  // What a stream's queue may hold: the bytes of events, and the number of other responses. An
  // empty queue accepts the events of one revision for one watch, even if they are larger. When all
  // queues together hold half of all_bytes_max, the limit of each queue is stream_bytes_min, and
  // Stalled() is true for streams that were not read for stall_max. When they hold all_bytes_max,
  // no further events are queued. Only catch-ups that were taken before may exceed all_bytes_max.
  size_t stream_bytes_max = 1 << 20;
  size_t stream_bytes_min = 16 << 10;
  size_t all_bytes_max = 256 << 20;
  absl::Duration stall_max = absl::Seconds(10);
  size_t stream_answers_max = 1024;
  // A watch with `fragment` gets the events of a revision in several responses if they have more
  // bytes than this.
  size_t fragment_bytes = (1536 + 512) << 10;
  // The bytes of the events of one revision for one watch. If there are more, the watch is
  // cancelled.
  size_t response_bytes_max = 512 << 20;
  // The bytes of the events of the revision that is being distributed. If there are more, watches
  // fall behind.
  size_t open_bytes_max = 4 << 20;

  // Run does a catch-up itself if it covers fewer than inline_revisions revisions and at most
  // inline_events events.
  int64_t inline_revisions = 256;
  size_t inline_events = 256;
  size_t inline_runs_max = 16;  // in one Run
  size_t catch_ups_max = 2;     // made, and not yet given to OnCaughtUp
  size_t catch_up_events = 16'384;
  size_t catch_up_watches = 1024;
  // All live watches fall behind if the store is more than this number of revisions ahead of the
  // head, for example after the member has installed a snapshot.
  int64_t jump = 100'000;
};

// How much one Run may distribute. Each of these costs one step: reading an event, giving an event
// to one watch, and queueing one watch's events of a complete revision. Each full 4 KiB of the
// event's key when it is read, and of the event when it is given, cost one more (StepsOfBytes).
struct RunBudget {
  size_t steps_max = SIZE_MAX;
  std::function<bool()> out_of_time = {};  // called regularly
};

class Hub;

// One stream of a client. Created by Hub::Open. When it is deleted, its watches end.
class Stream {
 public:
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  // Handles the next request of the stream. `current` is the newest state. Does not call on_ready.
  void OnRequest(const etcdserverpb::WatchRequest& request, const StateSnapshot& current,
                 MonotonicTime now);
  // False: the next request should not be read until the client has read some responses.
  bool WantsRequest() const;

  bool has_response() const { return !queue_.empty(); }
  // The next response, or nullopt if there is none. Its header has only the revision. Call it each
  // time a response was written: the call also says that the previous response is done.
  std::optional<etcdserverpb::WatchResponse> Take();

  size_t watches() const { return watches_.size(); }
  size_t bytes() const { return queued_bytes_ + taken_bytes_; }
  // True: the caller should end this stream. All queues together hold too much, and the client of
  // this stream does not read.
  bool Stalled(MonotonicTime now) const;

 private:
  friend class Hub;
  struct Watch {
    std::shared_ptr<const Spec> spec;
    Stream* stream = nullptr;
    uint64_t serial = 0;
    bool live = false;
    // Behind: the first revision whose events the watch has not got. Live: the first revision that
    // the watch wants, as of when it became live; the value does not change while it is live.
    Revision next = 0;
    // Its place in Hub::found_, and its part of the revision that is being distributed
    // (Hub::open_); -1: none.
    int found = -1;
    int open = -1;
    // If above the head: the watch's events up to this revision are in the stream's queue, although
    // the revision is not yet distributed to all watches.
    Revision queued = 0;
    size_t index_slot = 0;  // for RangeIndex
    // The number of the watch's last response with events, to which later events may be added while
    // it is in the queue. 0: none.
    uint64_t last_events = 0;
    bool progress_notify = false;
    bool quiet = false;  // had no events since the last tick of the stream
  };
  struct Response {
    etcdserverpb::WatchResponse message;
    size_t bytes = 0;  // of its events
  };
  using Position = std::pair<Revision, uint64_t>;  // of a watch that is behind: next, serial

  Stream(Hub* hub, uint64_t number, std::function<void()> on_ready)
      : hub_(*hub), number_(number), on_ready_(std::move(on_ready)) {}

  void Create(const etcdserverpb::WatchCreateRequest& request, const StateSnapshot& current,
              MonotonicTime now);
  void Cancel(int64_t id, Revision current);
  void End(int64_t id);  // ends the watch without a response
  void PushCompacted(int64_t id, Revision compacted);
  void AnswerProgress();
  // Returns why the watch is rejected. Empty: it may be created.
  std::string WhyNot(const etcdserverpb::WatchCreateRequest& request, const Spec& spec) const;
  int64_t FreeId();
  bool AllSynced();

  etcdserverpb::WatchResponse* Push(etcdserverpb::WatchResponse message, size_t bytes = 0);
  bool HasRoom(size_t bytes) const;
  // Queues the events. All of the watch's events up to `revision` are then queued.
  void Append(Watch* watch, Events events, size_t bytes, Revision revision);
  void PushFragments(Watch* watch, Events events, Revision revision);
  void Tick(MonotonicTime now);
  absl::Duration TickInterval() const;

  Hub& hub_;
  const uint64_t number_;
  const std::function<void()> on_ready_;
  std::map<int64_t, std::unique_ptr<Watch>> watches_;  // by id
  std::map<Position, Watch*> behind_;
  std::multiset<Revision> future_;  // the `next` of live watches above the head; some are outdated
  int64_t next_id_ = 0;
  bool catching_up_ = false;  // the stream waits for a catch-up, or one is running
  MonotonicTime next_tick_ = MonotonicTime::InfiniteFuture();

  std::deque<Response> queue_;
  uint64_t taken_ = 0;  // how many responses left the queue: those with the numbers 1 to taken_
  uint64_t last_progress_ = 0;  // the number of the last response that is progress of all watches
  size_t queued_bytes_ = 0;
  size_t taken_bytes_ = 0;      // of the response that was taken last, until the next call of Take
  size_t answers_ = 0;          // in the queue: responses without events
  bool dirty_ = false;          // on_ready_ is due
  bool owes_progress_ = false;  // in Hub::progress_owed_
  MonotonicTime unread_since_;  // if bytes() > 0
};

class Hub {
 public:
  explicit Hub(const HubOptions& options) : options_(options) {}

  // `on_ready` is called at the end of Run or OnCaughtUp if responses were added. The hub must
  // outlive the stream.
  std::unique_ptr<Stream> Open(std::function<void()> on_ready);

  // Distributes the new revisions of `snapshot`, which must not be older than in the previous call.
  // Runs short catch-ups, and queues progress responses that are due.
  void Run(const StateSnapshot& snapshot, MonotonicTime now, const RunBudget& budget = {});
  // True: call Run again at once, because there is more to do.
  bool busy() const { return lagging_ || (!waiting_.empty() && CanCatchUp()); }
  // A catch-up that the caller is to run with RunCatchUp, on any thread; nullopt: there is none.
  std::optional<CatchUp> TakeCatchUp();
  void OnCaughtUp(CaughtUp result);

  // Every event up to this revision was queued for the live watches.
  Revision head() const { return head_; }
  size_t streams() const { return streams_.size(); }
  size_t watches() const { return watches_; }
  size_t bytes() const { return bytes_; }

 private:
  friend class Stream;
  using Watch = Stream::Watch;
  class Steps;
  // Events of the revision that is being distributed.
  struct Part {
    Watch* watch = nullptr;  // null: the watch fell behind or ended
    Events events;
    size_t bytes = 0;
  };

  void Add(Watch* watch, Revision current);
  void Forget(Watch* watch);
  // Makes the watch live or behind, depending on its position watch->next. The watch must have got
  // every event before watch->next.
  void Place(Watch* watch);
  // Undoes Place.
  void Detach(Watch* watch);
  // Makes a live watch fall behind, because it has got only the events before `next`.
  void FallBehind(Watch* watch, Revision next);
  void AllFallBehind();

  void SkipTo(Revision revision);
  // These three return false if the steps are used up. The next Run then goes on from there.
  bool Distribute(const StateSnapshot& snapshot, Steps* steps);
  bool Give(mvcc::EventCursor* cursor, Steps* steps);
  bool CloseRevision(Revision revision, Steps* steps);
  // Some streams have got the events of revision head_ + 1, others have not.
  bool closing() const { return closed_ > 0; }
  size_t StreamBytes() const {
    return bytes_ < options_.all_bytes_max / 2 ? options_.stream_bytes_max
                                               : options_.stream_bytes_min;
  }

  void MaybeWait(Stream* stream);  // for a catch-up
  bool full() const { return bytes_ >= options_.all_bytes_max; }
  bool CanCatchUp() const { return catch_ups_ < options_.catch_ups_max && !full(); }
  void StartCatchUps(const StateSnapshot& snapshot, const RunBudget& budget);
  CatchUp MakeCatchUp(const Stream& stream, bool inline_only) const;
  void Accept(CaughtUp result);
  void TakeItem(Stream* stream, CaughtUp::Item* item);
  void Tick(MonotonicTime now);
  void Touch(Stream* stream);  // its on_ready is due
  void CallReady();

  const HubOptions options_;
  std::map<uint64_t, Stream*> streams_;
  uint64_t next_stream_ = 1;
  uint64_t next_serial_ = 1;
  size_t watches_ = 0;
  size_t live_ = 0;
  size_t key_bytes_ = 0;
  size_t bytes_ = 0;  // of all queues

  // Distribution. How far revision head_ + 1 is distributed. Its events below sub-revision sub_ are
  // in open_. The event at sub_ was given to the first given_ watches of found_. The first closed_
  // parts of open_ are in the queues of their streams.
  Revision head_ = 0;
  uint32_t sub_ = 0;
  RangeIndex<Watch> index_;  // of the live watches
  std::vector<Part> open_;
  size_t open_bytes_ = 0;
  size_t closed_ = 0;
  std::vector<Watch*> found_;  // null: it fell behind or ended
  size_t given_ = 0;
  bool lagging_ = false;
  std::vector<uint64_t> progress_owed_;  // streams that asked for progress while closing()
  MonotonicTime now_;                    // of the last Run

  std::deque<uint64_t> waiting_;  // streams that wait for a catch-up
  std::deque<CatchUp> to_run_;    // for TakeCatchUp
  size_t catch_ups_ = 0;          // in to_run_, or taken and not yet given to OnCaughtUp
  std::set<std::pair<MonotonicTime, uint64_t>> ticks_;  // when, which stream
  std::vector<uint64_t> dirty_;
};

}  // namespace raftkv::watch

#endif  // RAFTKV_SERVER_WATCH_HUB_H_
