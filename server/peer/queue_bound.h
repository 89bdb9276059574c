#ifndef RAFTKV_SERVER_PEER_QUEUE_BOUND_H_
#define RAFTKV_SERVER_PEER_QUEUE_BOUND_H_

#include <cstddef>

namespace raftkv {

// The limit of what may wait to be written to one stream.
struct QueueBound {
  size_t messages = 1024;
  size_t bytes = 32 << 20;  // encoded; an empty queue accepts a larger message
};

}  // namespace raftkv

#endif  // RAFTKV_SERVER_PEER_QUEUE_BOUND_H_
