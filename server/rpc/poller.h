#ifndef RAFTKV_SERVER_RPC_POLLER_H_
#define RAFTKV_SERVER_RPC_POLLER_H_

// Waits for the sockets of one thread, by epoll. Other threads can end its wait.

#include <atomic>
#include <functional>

#include "absl/time/time.h"

namespace raftkv {

class Poller {
 public:
  // A socket's owner. Called on the polling thread.
  class Owner {
   public:
    // The socket can be read, or written if the owner asked for that, or it has failed.
    virtual void OnReady() = 0;

   protected:
    ~Owner() = default;
  };

  Poller();
  ~Poller();
  Poller(const Poller&) = delete;
  Poller& operator=(const Poller&) = delete;

  // Calls `owner` as long as the socket is ready, until it is closed. `for_writing`: also when it
  // can be written. Call it again to change that.
  void Watch(int fd, Owner* owner, bool for_writing);

  // Handles one socket that is ready. False: there is none.
  bool Poll() { return Poll(0); }

  // Waits until a socket was handled, Wake is called, or `timeout` is over. Does not wait if
  // `ready()` is true. Code that makes `ready()` true must call Wake afterwards.
  void Wait(absl::Duration timeout, const std::function<bool()>& ready);

  // From any thread.
  void Wake();

 private:
  bool Poll(int timeout_ms);

  const int epoll_;
  const int wake_;                    // an eventfd
  std::atomic<bool> waiting_{false};  // who sets it to false must end the wait
};

}  // namespace raftkv

#endif  // RAFTKV_SERVER_RPC_POLLER_H_
