#ifndef RAFTKV_SERVER_EVENT_LOG_H_
#define RAFTKV_SERVER_EVENT_LOG_H_

#include <functional>

#include "server/events.h"
#include "server/peer/peers.h"

namespace raftkv {

// Logs the member's events, and acts on some of them: connects to new members, counts rejected
// messages, and reports that this member was removed. The loop's thread calls it.
class EventLog final : public MemberObserver {
 public:
  // `log` logs the events that are not counted. `peers` must outlive this object. `on_removed` is
  // called when this member was removed from the cluster, after that was logged.
  EventLog(LogEvent log, Peers* peers, raft::MemberId self, std::function<void()> on_removed);
  void OnEvent(const ReplicaEvent& event) override;

 private:
  const LogEvent log_;
  Peers* const peers_;
  const raft::MemberId self_;
  const std::function<void()> on_removed_;
};

}  // namespace raftkv

#endif  // RAFTKV_SERVER_EVENT_LOG_H_
