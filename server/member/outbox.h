#ifndef RAFTKV_SERVER_MEMBER_OUTBOX_H_
#define RAFTKV_SERVER_MEMBER_OUTBOX_H_

// Sends what a member produces: messages to peers, to which it adds the sender's ids, version and
// log position, and reports to the observers. Shared by the replica, the classes that it owns, and
// the applier. Send, Report and ReportCommitted are called on the thread of the turns,
// ReportRevision on the thread that applies.

#include <string>
#include <utility>
#include <vector>

#include "server/member/events.h"
#include "server/member/transport.h"
#include "storage/log/log_store.h"

namespace raftkv {

class Outbox {
 public:
  // `self`: this process. `log` and `transport` must outlive the outbox.
  Outbox(Sender self, const LogStore* log, Transport* transport)
      : self_(std::move(self)), log_(log), transport_(transport) {}

  // Observers must outlive the outbox. They are called in the order in which they were added.
  void Add(MemberObserver* observer) { observers_.push_back(observer); }

  void Send(raft::MemberId to, decltype(PeerMessage::body) body) {
    self_.reached = log_->reached();
    transport_->Send({self_, to, std::move(body)});
  }
  void Flush() { transport_->Flush(); }
  void SendSnapshot(raft::MemberId to, raft::Term term) { transport_->SendSnapshot(to, term); }
  void StopSnapshots() { transport_->StopSnapshots(); }
  void Report(const ReplicaEvent& event) {
    for (MemberObserver* observer : observers_) observer->OnEvent(event);
  }
  void ReportCommitted(absl::Span<const raft::Entry> entries) {
    for (MemberObserver* observer : observers_) observer->OnCommitted(entries);
  }
  void ReportRevision(Revision newest) {
    for (MemberObserver* observer : observers_) observer->OnRevision(newest);
  }

 private:
  Sender self_;
  const LogStore* const log_;
  Transport* const transport_;
  std::vector<MemberObserver*> observers_;
};

}  // namespace raftkv

#endif  // RAFTKV_SERVER_MEMBER_OUTBOX_H_
