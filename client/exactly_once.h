// The session in which a Client makes its writes, if Options::exactly_once is set. The service
// applies a write of a session once, however often the client sends it (docs/compatibility.md).
//
// A session is a lease, which is opened before the first write and kept alive by a thread. If it is
// lost, the next write opens another one.
#ifndef RAFTKV_CLIENT_EXACTLY_ONCE_H_
#define RAFTKV_CLIENT_EXACTLY_ONCE_H_

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <stop_token>

#include "absl/status/statusor.h"
#include "client/clock.h"
#include "client/raftkv.h"

namespace raftkv::client {

// Several threads may use it.
class ExactlyOnce {
 public:
  // The client must outlive it.
  explicit ExactlyOnce(Client* client) : client_(*client) {}

  struct Sequence;  // one session and its numbers
  // One write, which is sent under these numbers as often as needed.
  struct Write {
    std::shared_ptr<Sequence> sequence;
    int64_t lease = 0;
    uint64_t seq = 0;
    uint64_t acked = 0;
  };
  // Begins a write; opens the session if there is none. Waits while there are so many unfinished
  // writes that the service would reject this one, at most until `deadline`, and ends early with
  // Cancelled if a stop is requested. FailedPrecondition: the service does not know sessions. Other
  // errors: those of opening the session.
  absl::StatusOr<Write> Begin(MonotonicTime deadline, const std::stop_token& cancel);
  // The write is over: the caller has its answer, or has given up. It is not sent again.
  void End(const Write& write);
  // The service says that the session of this write is gone.
  void OnExpired(const Write& write);

 private:
  // Waits until `ready` is true, with `lock`. OK; or Cancelled, or DeadlineExceeded.
  absl::Status Wait(std::unique_lock<std::mutex>& lock, MonotonicTime deadline,
                    const std::stop_token& cancel, const std::function<bool()>& ready);
  bool usable() const;  // with mutex_: current_ may be used
  // The current session. If there is none, one thread opens it, and the others wait.
  absl::StatusOr<std::shared_ptr<Sequence>> Current(MonotonicTime deadline,
                                                    const std::stop_token& cancel);
  absl::StatusOr<std::unique_ptr<Session>> Open(MonotonicTime deadline,
                                                const std::stop_token& cancel);

  Client& client_;
  std::mutex mutex_;  // guards the rest, and the numbers of each sequence
  std::condition_variable_any changed_;
  bool opening_ = false;  // a thread opens a session
  std::shared_ptr<Sequence> current_;
};

}  // namespace raftkv::client

#endif  // RAFTKV_CLIENT_EXACTLY_ONCE_H_
