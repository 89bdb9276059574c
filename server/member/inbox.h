#ifndef RAFTKV_SERVER_MEMBER_INBOX_H_
#define RAFTKV_SERVER_MEMBER_INBOX_H_

// What has arrived for a member's next turn. Bounded: when it is full, a client's request is
// rejected with kTooManyRequests and a peer's message is dropped (Raft sends it again). An empty
// inbox accepts an item of any size. The transport's reports about its own streams (AppendLost,
// PeerLost, ForwardLost, ForwardQueueFull) and about snapshots (SnapshotSent, SnapshotArrived) are
// accepted even if the inbox is full, because the member must not miss them.
//
// Owned by the member; used on the thread of its turns. The driver stops collecting once there is
// enough for a turn. The rest waits in the queues of the two ports, whose flow control slows the
// senders down.

#include <cstddef>
#include <utility>
#include <vector>

#include "server/member/requests.h"

namespace raftkv {

class Inbox {
 public:
  static constexpr size_t kItemsMax = 4096;
  static constexpr size_t kBytesMax = 32 << 20;
  // Enough for one turn. Less than the bounds above, because one message of a peer may contain many
  // proposals, and all of them are posted together.
  static constexpr size_t kTurnItems = 2048;
  static constexpr size_t kTurnBytes = 1 << 20;

  void Post(Input input);
  bool empty() const { return inputs_.empty(); }
  bool enough() const { return inputs_.size() >= kTurnItems || bytes_ >= kTurnBytes; }

  // Everything, in the order of arrival.
  std::vector<Input> Take() {
    bytes_ = 0;
    return std::exchange(inputs_, {});
  }

 private:
  std::vector<Input> inputs_;
  size_t bytes_ = 0;
};

}  // namespace raftkv

#endif  // RAFTKV_SERVER_MEMBER_INBOX_H_
