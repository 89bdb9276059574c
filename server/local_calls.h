#ifndef RAFTKV_SERVER_LOCAL_CALLS_H_
#define RAFTKV_SERVER_LOCAL_CALLS_H_

// Calls from within the process: the same methods, admission and handlers as on the client port,
// but no connection and no encoding. Unary methods only.

#include <google/protobuf/message.h>

#include <atomic>
#include <functional>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/container/node_hash_map.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "server/rpc/event_queue.h"
#include "server/rpc/method.h"
#include "storage/base/monotonic_time.h"

namespace raftkv {

class LocalCalls {
 public:
  struct Caller {
    MonotonicTime deadline;
    std::function<bool()> gone;  // from any thread
  };
  struct Answer {
    absl::Status status;
    std::unique_ptr<google::protobuf::Message> response = nullptr;  // if the status is OK
    bool not_proposed = false;                                      // proto/etcd/outcome.h
  };
  // Called once, on any thread, also on the loop's: it must not do more than pass the answer on.
  using Done = absl::AnyInvocable<void(Answer)>;

  // Call it before the first Start. Handlers run where `events` is served. `events` must outlive
  // the calls.
  void Serve(const Methods& methods, EventQueue* events, Admission admission);

  // From any thread. `method`: "/package.Service/Method".
  void Start(const std::string& method, std::unique_ptr<google::protobuf::Message> request,
             Caller caller, Done done);
  // From any thread. Later calls end with UNAVAILABLE. Those that were started go on.
  void Close();
  int running() const { return running_; }  // from any thread

 private:
  class Call;

  absl::node_hash_map<std::string, UnaryMethod> methods_;
  EventQueue* events_ = nullptr;
  Admission admission_;
  std::atomic<int> running_{0};
  absl::Mutex mutex_;
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace raftkv

#endif  // RAFTKV_SERVER_LOCAL_CALLS_H_
