#ifndef RAFTKV_SERVER_PORT_CALLS_H_
#define RAFTKV_SERVER_PORT_CALLS_H_

// The calls of a port. Each call is two objects. The StreamOwner is used on the port's thread: it
// owns the HTTP/2 stream and parses the requests. The Call (rpc/call.h) is used on the thread that
// serves the event queue of the call's group. Handlers see only the Call.

#include <atomic>
#include <cstddef>
#include <list>
#include <map>
#include <memory>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "server/port/stream.h"
#include "server/rpc/event_queue.h"
#include "server/rpc/method.h"

namespace raftkv::port {

class PortStreamCall;
class StreamOwnerOnPort;

// Passes commands of other threads to the thread that serves the port. Functions may be called from
// any thread, except Take and ClearWake.
class CommandQueue {
 public:
  static constexpr size_t kHeldMax = 64;

  // `request_bytes_max`: see ChargeRequest. `large`: while more than half of request_bytes_max is
  // in use, a connection with more than this number of bytes gets no space for a large request.
  CommandQueue(int64_t request_bytes_max, int64_t large);
  ~CommandQueue();

  void Post(StreamCommand command);
  // Commands that the calling thread posts from now on are held back until it calls SendHeld again,
  // or kHeldMax commands wait. So the port's thread is woken once, and writes once to a connection,
  // for many answers. Call it on one thread only, and often. Commands of other threads are not
  // held. True: at most `few` commands wait, all of them are responses (IsResponse), and the port's
  // thread is not woken: run them on the calling thread, or call SendHeld again.
  bool SendHeld(size_t few = 0);
  // Wakes the port's thread.
  void Wake();
  int wake_fd() const { return wake_fd_; }  // readable after Wake, until ClearWake
  void ClearWake();
  // On the thread that serves the port.
  std::vector<StreamCommand> Take();

  // The calls that were given to handlers and are not over: unary calls until Finish, streams until
  // they are closed.
  std::atomic<int> running{0};
  // The bytes of answers that are queued and not sent.
  std::atomic<size_t> unsent_bytes{0};

  // Adds `change` to the bytes of all requests that are not complete, that no handler has taken, or
  // that are not answered yet. `of_stream`: the bytes of the request's stream after the change.
  // `of_connection`: the bytes of the incomplete requests of its connection after the change; 0:
  // not known. False: a limit is exceeded, so the request must be rejected; the change is counted
  // nevertheless.
  // Streams with at most 64 KiB are accepted up to twice the limit, so that a few large requests do
  // not block all other clients. For a `stranger` (Connection::stranger), the limit is a
  // quarter.
  bool ChargeRequest(int64_t change, int64_t of_stream, int64_t of_connection,
                     bool stranger = false);
  void ReleaseRequest(int64_t bytes) { request_bytes_ -= bytes; }

 private:
  const int64_t request_bytes_max_;
  const int64_t large_;
  std::atomic<int64_t> request_bytes_{0};
  int wake_fd_ = -1;
  absl::Mutex mutex_;
  std::vector<StreamCommand> commands_ ABSL_GUARDED_BY(mutex_);
  std::thread::id holder_ ABSL_GUARDED_BY(mutex_);  // the thread that calls SendHeld
  bool woken_ ABSL_GUARDED_BY(mutex_) = false;      // since the last Take
};

// Methods whose handlers run on one thread.
struct Group {
  Methods methods;
  EventQueue* events = nullptr;
  Admission admission;
  CommandQueue* command_queue = nullptr;
  std::atomic<int> running{0};    // the part of CommandQueue::running that is of this group
  std::vector<Event> new_events;  // the port's thread; pushed once in a round
  // Used on the port's thread. For methods that limit such streams (FirstRequest): the streams of a
  // connection that have not sent their first request, oldest first.
  using SilentKey = std::pair<const StreamMethod*, const Connection*>;
  std::map<SilentKey, std::list<StreamOwnerOnPort*>> silent;
  std::set<PortStreamCall*> open_streams;  // the handlers' thread
};

// On the port's thread.
std::unique_ptr<StreamOwner> NewUnaryOwner(Group* group, const UnaryMethod* method,
                                           std::shared_ptr<GrpcStream> stream);
std::unique_ptr<StreamOwner> NewStreamOwner(Group* group, const StreamMethod* method,
                                            std::shared_ptr<GrpcStream> stream);
// On the handlers' thread.
void FinishStreams(Group* group, const absl::Status& status);

}  // namespace raftkv::port

#endif  // RAFTKV_SERVER_PORT_CALLS_H_
