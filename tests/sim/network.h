#ifndef RAFTKV_TESTS_SIM_NETWORK_H_
#define RAFTKV_TESTS_SIM_NETWORK_H_

// The network between members. Two kinds of traffic, as transport.h promises them:
//
//   Raft messages       each on its own: lost, delayed, overtaken, duplicated; a late one may even
//                       reach the next life of its receiver
//   everything else     forwarded proposals, their answers and hellos travel on one connection for
//                       each pair of members: in order, never twice, and lost only when the
//                       connection breaks. Then everything in flight on it is lost and each end is
//                       told (AppendLost, ForwardLost), at its own time; what an end sends before
//                       it knows is lost too. A message on a new connection tells the receiver that
//                       the old one broke.
//
// Links are cut and clogged by direction. A cut loses what is sent and what arrives meanwhile; a
// clog only holds it up.

#include <cstdint>
#include <string>
#include <vector>

#include "server/member/transport.h"
#include "tests/sim/rng.h"

namespace raftkv::sim {

class World;

struct Packet {
  int from = 0;
  int to = 0;
  uint64_t number = 0;     // in the order of sending; a copy has its original's
  uint64_t from_life = 0;  // which life of the sender's process
  Micros departs = 0;      // after the save that it had to wait for
  bool stream = false;
  uint64_t epoch = 0;  // of the connection
  PeerMessage message;
};

std::string Describe(const PeerMessage& message);

class Network {
 public:
  explicit Network(World* world);

  void Send(int from, uint64_t life, Micros departs, PeerMessage message);
  void Arrive(Packet packet);
  // The end at `member` may find out now that its connection to `peer` broke.
  void Notice(int member, int peer);

  void Cut(int from, int to, bool cut) { link(from, to).cut = cut; }
  void Clog(int from, int to, Micros until) { link(from, to).clogged_until = until; }
  void HealAll();
  bool any_cut() const;
  void Break(int a, int b);
  void OnDown(int member);  // its process ended: all its connections break
  void OnUp(int member);    // a new process has no old connections

 private:
  struct Link {  // by direction
    bool cut = false;
    Micros clogged_until = 0;
    Micros last_arrival = 0;       // of the stream: in order
    uint64_t known_epoch = 0;      // by the end that sends on this link
    std::vector<uint64_t> unsent;  // forwarded proposals that never left, as that end will be told
    uint64_t last_number = 0;      // of the messages that arrived: who overtook whom
  };

  Link& link(int from, int to) { return links_[from * size_ + to]; }
  uint64_t& epoch(int a, int b) { return epochs_[std::min(a, b) * size_ + std::max(a, b)]; }
  void SendStream(Packet packet);
  void NoteUnsent(const Packet& packet);
  void ArriveOnStream(Packet packet);

  World* const world_;
  const int size_;
  std::vector<Link> links_;
  std::vector<uint64_t> epochs_;
  uint64_t next_number_ = 1;
};

}  // namespace raftkv::sim

#endif  // RAFTKV_TESTS_SIM_NETWORK_H_
