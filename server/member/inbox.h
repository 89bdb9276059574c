#ifndef RAFTKV_SERVER_MEMBER_INBOX_H_
#define RAFTKV_SERVER_MEMBER_INBOX_H_

// What has arrived for the replica's next turn. Bounded: what finds it full is refused, a client's
// request with kTooManyRequests, a peer's message by dropping it (Raft sends again). One item
// always passes, and so does what the transport says about its own streams, since requests wait for
// it.
//
// Owned by the I/O loop, which stops collecting once there is enough for a turn; the rest waits in
// gRPC's queues, whose flow control holds back the senders.

#include <cstddef>
#include <utility>
#include <vector>

#include "server/member/replica.h"

namespace raftkv {

class Inbox {
 public:
  static constexpr size_t kItemsMax = 4096;
  static constexpr size_t kBytesMax = 32 << 20;
  // Enough for a turn. One more message of a peer, which may hold many proposals, fits behind it.
  static constexpr size_t kTurnItems = 2048;
  static constexpr size_t kTurnBytes = 1 << 20;

  void Post(ReplicaInput input);
  bool empty() const { return inputs_.empty(); }
  bool enough() const { return inputs_.size() >= kTurnItems || bytes_ >= kTurnBytes; }

  // Everything, in the order of arrival.
  std::vector<ReplicaInput> Take() {
    bytes_ = 0;
    return std::exchange(inputs_, {});
  }

 private:
  std::vector<ReplicaInput> inputs_;
  size_t bytes_ = 0;
};

}  // namespace raftkv

#endif  // RAFTKV_SERVER_MEMBER_INBOX_H_
