#ifndef RAFTKV_TESTS_SIM_NETWORK_H_
#define RAFTKV_TESTS_SIM_NETWORK_H_

// The network between members. It has the two kinds of traffic that server/member/transport.h
// describes:
//
//   Raft messages       Each one may be lost, delayed, reordered or duplicated. A delayed one may
//                       arrive after a restart of its receiver, or after the loss of its
//                       connection was reported.
//   everything else     Forwarded proposals, their replies and hellos use one connection for each
//                       pair of members. There they arrive in order and at most once, and are lost
//                       only if the connection breaks. Then everything in flight is lost. The two
//                       ends notice it at different times (AppendLost, ForwardLost); what an end
//                       sends before that is lost, too. An end also notices it when it gets a
//                       message on the new connection. Each loss of a connection is reported
//                       once to either end (PeerLost), unless the peer's process stopped orderly.
//
// Links are cut and clogged in one direction. A cut loses the messages that are sent or arrive
// meanwhile. A clog delays them.

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "server/member/transport.h"
#include "storage/engine/memory_engine.h"
#include "storage/log/log_store.h"
#include "storage/snapshot.h"
#include "tests/sim/rng.h"

namespace raftkv::sim {

class World;

struct Packet {
  int from = 0;
  int to = 0;
  uint64_t number = 0;     // ascending in the order of sending; a duplicate has the same number
  uint64_t from_life = 0;  // counts the starts of the sender's process
  uint64_t to_life = 0;    // of the receiver's, when it was sent
  Micros departs = 0;      // when it is sent, after the save that it waits for
  bool stream = false;     // sent on the connection; false: a Raft message
  uint64_t epoch = 0;      // counts the connections between the two members
  PeerMessage message;
};

std::string Describe(const PeerMessage& message);

// The disk of a snapshot that Network delivered.
std::shared_ptr<MemoryDisk> DiskOf(const ReceivedSnapshot& snapshot);

class Network {
 public:
  explicit Network(World* world);

  void Send(int from, uint64_t life, Micros departs, PeerMessage message);
  void Arrive(Packet packet);
  // `member` notices now that its connection `epoch` to `peer` has ended.
  void Notice(int member, int peer, uint64_t epoch, bool aborted);

  void Cut(int from, int to, bool cut) { link(from, to).cut = cut; }
  void Clog(int from, int to, Micros until) { link(from, to).clogged_until = until; }
  // A snapshot has a connection of its own. It arrives completely, or its transfer fails. The
  // sender learns which. If the receiver dies before it answers, the sender learns that the
  // transfer failed. With the rate of duplicates, a second copy arrives later.
  void SendSnapshot(int from, raft::MemberId to, raft::Term term, const LogStore::Tip& base,
                    std::shared_ptr<const WriteBatch> contents);
  void StopSnapshots(int from);
  void OnSnapshotDue(uint64_t number);

  void HealAll();
  bool any_cut() const;
  void Break(int a, int b) { End(a, b, /*aborted=*/true); }
  // The member's process has ended, and so have all its connections.
  void OnDown(int member, bool in_order);
  void OnUp(int member);  // a new process has no old connections

 private:
  struct Link {  // one for each direction
    bool cut = false;
    Micros clogged_until = 0;
    Micros last_arrival = 0;              // of the last packet on the connection, to keep the order
    uint64_t known_epoch = 0;             // the epoch that the sending end knows
    uint64_t stopped_epoch = UINT64_MAX;  // the last one that the receiver ended by an orderly stop
    uint64_t first_epoch = 0;             // the epoch at the start of its process
    std::vector<uint64_t> unsent;  // forwarded proposals that were not sent; reported at Notice
    uint64_t last_number = 0;      // the highest number that arrived, to notice reordering
  };

  struct Transfer {  // of a snapshot
    int from = 0;
    int to = 0;
    raft::MemberId to_id = raft::kNobody;
    raft::Term term = 0;
    LogStore::Tip base;
    std::shared_ptr<const WriteBatch> contents;  // null after it has arrived
    bool ended = false;                          // the next event tells the sender `ok`
    bool ok = false;
    bool late_copy = false;  // of an earlier one; nobody waits for its end
  };

  void ArriveSnapshot(uint64_t number, Transfer* transfer);
  void EndSnapshot(uint64_t number, bool ok);
  Link& link(int from, int to) { return links_[from * size_ + to]; }
  uint64_t& epoch(int a, int b) { return epochs_[std::min(a, b) * size_ + std::max(a, b)]; }
  void End(int a, int b, bool aborted);
  void Renew(int member, int peer);
  void SendStream(Packet packet);
  void NoteUnsent(const Packet& packet);
  void ArriveOnStream(Packet packet);

  World* const world_;
  const int size_;
  std::vector<Link> links_;
  std::vector<uint64_t> epochs_;
  uint64_t next_number_ = 1;
  std::map<uint64_t, Transfer> transfers_;
};

}  // namespace raftkv::sim

#endif  // RAFTKV_TESTS_SIM_NETWORK_H_
