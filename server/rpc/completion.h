#ifndef RAFTKV_SERVER_RPC_COMPLETION_H_
#define RAFTKV_SERVER_RPC_COMPLETION_H_

// What an event means (event_queue.h).

namespace raftkv {

class Completion {
 public:
  virtual ~Completion() = default;
  // On the thread that serves the events. If `ok` is false, the operation failed: the connection is
  // gone, or the queue shuts down.
  virtual void OnComplete(bool ok) = 0;
};

}  // namespace raftkv

#endif  // RAFTKV_SERVER_RPC_COMPLETION_H_
