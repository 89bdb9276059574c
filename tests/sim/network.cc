#include "tests/sim/network.h"

#include <algorithm>
#include <utility>
#include <variant>

#include "absl/strings/str_format.h"
#include "storage/tables/members.h"
#include "tests/sim/world.h"

namespace raftkv::sim {

namespace {

std::string Id(const raft::EntryId& id) { return absl::StrFormat("%d/%d", id.term, id.index); }

struct BodyText {
  std::string operator()(const raft::RequestVote& m) const {
    return absl::StrFormat("%s last %s%s", m.pre_vote ? "RequestPreVote" : "RequestVote",
                           Id(m.last), m.leadership_transfer ? " transfer" : "");
  }
  std::string operator()(const raft::RequestVoteReply& m) const {
    return absl::StrFormat("%s %s", m.pre_vote ? "PreVote" : "Vote",
                           m.granted ? "granted" : "declined");
  }
  std::string operator()(const raft::AppendEntries& m) const {
    return absl::StrFormat("Append prev %s entries %d commit %d round %d", Id(m.prev),
                           m.entries.size(), m.commit, m.round);
  }
  std::string operator()(const raft::AppendEntriesReply& m) const {
    if (m.success) {
      return absl::StrFormat("Appended match %d round %d%s", m.match, m.round,
                             m.out_of_space ? " out of space" : "");
    }
    return absl::StrFormat("NotAppended prev %s hint %s round %d", Id(m.rejected_prev), Id(m.hint),
                           m.round);
  }
  std::string operator()(const raft::ReadIndexRequest& m) const {
    return absl::StrFormat("ReadIndex? %x", m.id);
  }
  std::string operator()(const raft::ReadIndexReply& m) const {
    return absl::StrFormat("ReadIndex! %x index %d", m.id, m.index);
  }
  std::string operator()(const raft::InstallSnapshot&) const { return "InstallSnapshot"; }
  std::string operator()(const raft::TimeoutNow&) const { return "TimeoutNow"; }
  std::string operator()(const raft::Message& m) const {
    return absl::StrFormat("t%d %s", m.term, std::visit(*this, m.body));
  }
  std::string operator()(const ForwardedProposal& m) const {
    return absl::StrFormat("Forward #%d", m.number);
  }
  std::string operator()(const ForwardedProposalReply& m) const {
    return absl::StrFormat("Rejected #%d%s", m.number, m.too_many_requests ? " too many" : "");
  }
  std::string operator()(const Hello&) const { return "Hello"; }
  std::string operator()(const DigestReport& m) const {
    return absl::StrFormat("Digests up to %d", m.digests.back().index);
  }
  std::string operator()(const Diverged& m) const {
    return absl::StrFormat("Diverged %d", m.index);
  }
  std::string operator()(const HelloReply& m) const {
    return absl::StrFormat("HelloReply%s", m.log_empty ? " empty" : "");
  }
};

}  // namespace

std::string Describe(const PeerMessage& message) {
  return absl::StrFormat("n%d>n%d %s", message.from.id, message.to,
                         std::visit(BodyText{}, message.body));
}

Network::Network(World* world)
    : world_(world), size_(world->size()), links_(size_ * size_), epochs_(size_ * size_) {}

void Network::Send(int from, uint64_t life, Micros departs, PeerMessage message) {
  Packet packet{.from = from,
                .to = world_->MachineOf(message.to),
                .number = next_number_++,
                .from_life = life,
                .to_life = world_->member(world_->MachineOf(message.to)).life(),
                .departs = departs,
                .stream = !std::holds_alternative<raft::Message>(message.body),
                .epoch = epoch(from, world_->MachineOf(message.to)),
                .message = std::move(message)};
  if (packet.stream) {
    SendStream(std::move(packet));
    return;
  }
  Rng& rng = world_->rng();
  const Link& out = link(packet.from, packet.to);
  if (out.cut || rng.Chance(world_->faults().loss)) return;
  const auto arrival = [&] {
    return std::max(packet.departs, out.clogged_until) + 1 + rng.Around(world_->faults().delay);
  };
  if (rng.Chance(world_->faults().duplication)) {
    Packet copy = packet;
    world_->ScheduleArrival(arrival() + rng.Around(world_->faults().delay), std::move(copy));
  }
  const Micros at = arrival();
  world_->ScheduleArrival(at, std::move(packet));
}

void Network::SendStream(Packet packet) {
  Rng& rng = world_->rng();
  Link& out = link(packet.from, packet.to);
  if (out.known_epoch != epoch(packet.from, packet.to)) {  // broken, and the sender does not know
    NoteUnsent(packet);
    return;
  }
  const bool unusable = out.cut || link(packet.to, packet.from).cut ||
                        !world_->member(packet.to).up() || rng.Chance(world_->faults().loss / 8);
  if (unusable) {
    NoteUnsent(packet);
    Break(packet.from, packet.to);
    return;
  }
  packet.epoch = out.known_epoch;
  out.last_arrival = std::max({packet.departs + rng.Around(world_->faults().delay),
                               out.clogged_until, out.last_arrival}) +
                     1;
  world_->ScheduleArrival(out.last_arrival, std::move(packet));
}

// When a connection breaks, a proposal that was still in the sender's queue was certainly not sent.
// One that was written to the socket may have arrived. Half of them are reported as not sent.
void Network::NoteUnsent(const Packet& packet) {
  const auto* proposal = std::get_if<ForwardedProposal>(&packet.message.body);
  if (proposal == nullptr || world_->rng().Chance(50 * kPercent)) return;
  link(packet.from, packet.to).unsent.push_back(proposal->number);
}

void Network::Arrive(Packet packet) {
  // A real connection ends with the receiver's process. Here messages to an earlier process of the
  // receiver do arrive, because Raft must tolerate them. But they are not a sign that the sender's
  // process is alive.
  if (packet.to_life != world_->member(packet.to).life()) packet.message.from.boot_id = 0;
  // The sender crashed before the save that this message waits for, so it was never sent.
  if (world_->member(packet.from).DiedBefore(packet.from_life, packet.departs)) return;
  if (packet.stream) {
    ArriveOnStream(std::move(packet));
    return;
  }
  Link& out = link(packet.from, packet.to);
  if (out.cut || !world_->member(packet.to).up()) return;
  if (packet.number < out.last_number) world_->marks().Hit(Mark::kOutOfOrder);
  if (packet.number == out.last_number) world_->marks().Hit(Mark::kDuplicated);
  out.last_number = std::max(out.last_number, packet.number);
  auto& message = std::get<raft::Message>(packet.message.body);
  if (std::holds_alternative<raft::AppendEntries>(message.body)) {
    message.connection = packet.epoch + 1;  // 0 means that it is not known
  }
  world_->member(packet.to).Receive(std::move(packet.message));
}

void Network::ArriveOnStream(Packet packet) {
  if (packet.epoch != epoch(packet.from, packet.to)) return;
  if (!world_->member(packet.to).up() || link(packet.from, packet.to).cut) {
    Break(packet.from, packet.to);
    return;
  }
  Renew(packet.to, packet.from);
  world_->member(packet.to).Receive(std::move(packet.message));
}

void Network::End(int a, int b, bool aborted) {
  const uint64_t ended = epoch(a, b)++;
  world_->marks().Hit(aborted ? Mark::kConnectionLost : Mark::kClosedInOrder);
  for (auto [end, peer] : {std::pair{a, b}, std::pair{b, a}}) {
    // Usually an end notices it at once. Sometimes it notices only by a timer.
    Rng& rng = world_->rng();
    const Micros delay =
        rng.Chance(80 * kPercent) ? rng.Between(0, 20 * kMillisecond) : rng.Between(0, 3 * kSecond);
    world_->ScheduleNotice(delay, end, peer, ended, aborted);
  }
}

void Network::Notice(int member, int peer, uint64_t ended, bool aborted) {
  if (!world_->member(member).up() || ended < link(member, peer).first_epoch) return;
  if (aborted) {
    world_->member(member).Post(PeerLost{world_->member(peer).id(), ended + 1});
  }
  Renew(member, peer);
}

// `member` uses a new connection if its old one has ended.
void Network::Renew(int member, int peer) {
  Link& out = link(member, peer);
  if (out.known_epoch == epoch(member, peer) || !world_->member(member).up()) return;
  const bool stopped = out.known_epoch == out.stopped_epoch;
  out.known_epoch = epoch(member, peer);
  if (!out.unsent.empty()) world_->marks().Hit(Mark::kUnsent);
  const raft::MemberId id = world_->member(peer).id();
  world_->member(member).Post(AppendLost{id});
  world_->member(member).Post(ForwardLost{id, std::exchange(out.unsent, {}), stopped});
}

// --- snapshots

namespace {

// A snapshot that has arrived.
class Image final : public ReceivedSnapshot {
 public:
  Image(const LogStore::Tip& base, std::shared_ptr<MemoryDisk> disk)
      : ReceivedSnapshot(base, ConfigurationIn(disk)), disk(std::move(disk)) {}
  const std::shared_ptr<MemoryDisk> disk;

 private:
  static raft::Configuration ConfigurationIn(const std::shared_ptr<MemoryDisk>& disk) {
    const absl::StatusOr<Members> members =
        MemberTable::Read(*MemoryEngine(disk, Durability::kFlushed).NewView());
    CHECK(members.ok()) << members.status();
    return members->configuration();
  }
};

}  // namespace

std::shared_ptr<MemoryDisk> DiskOf(const ReceivedSnapshot& snapshot) {
  return static_cast<const Image&>(snapshot).disk;
}

void Network::SendSnapshot(int from, raft::MemberId to_id, raft::Term term,
                           const LogStore::Tip& base, std::shared_ptr<const WriteBatch> contents) {
  const int to = world_->MachineOf(to_id);
  std::erase_if(transfers_, [&](const auto& t) {
    return t.second.from == from && t.second.to_id == to_id && !t.second.late_copy;
  });
  const uint64_t number = next_number_++;
  // A transfer that starts before the faults end must arrive well before the liveness phase ends.
  constexpr Micros kLongest = 5 * kSecond;
  const Micros takes = 1 + std::min(world_->rng().Around(world_->faults().snapshot_time), kLongest);
  if (world_->rng().Chance(world_->faults().duplication)) {
    const uint64_t copy = next_number_++;
    transfers_[copy] = {from, to, to_id, term, base, contents, false, false, /*late_copy=*/true};
    world_->ScheduleSnapshot(world_->now() + takes + 1 + world_->rng().Around(kSecond), to, copy);
  }
  transfers_[number] = {from, to, to_id, term, base, std::move(contents), false, false, false};
  if (world_->rng().Chance(world_->faults().snapshot_loss)) {
    world_->marks().Hit(Mark::kSnapshotBroken);
    EndSnapshot(number, false);
  } else {
    world_->ScheduleSnapshot(world_->now() + takes, to, number);
  }
}

void Network::StopSnapshots(int from) {
  if (std::erase_if(transfers_, [&](const auto& t) { return t.second.from == from; }) > 0) {
    world_->marks().Hit(Mark::kSnapshotGivenUp);
  }
}

void Network::EndSnapshot(uint64_t number, bool ok) {
  const auto it = transfers_.find(number);
  if (it == transfers_.end() || it->second.ended) return;
  if (it->second.late_copy) {
    transfers_.erase(it);
    return;
  }
  it->second.ended = true;
  it->second.ok = ok;
  world_->ScheduleSnapshot(world_->now() + 1 + world_->rng().Around(world_->faults().delay),
                           it->second.from, number);
}

void Network::OnSnapshotDue(uint64_t number) {
  const auto it = transfers_.find(number);
  if (it == transfers_.end()) return;
  Transfer& transfer = it->second;
  if (transfer.ended) {
    const Transfer done = transfer;
    transfers_.erase(it);
    if (done.ok) world_->marks().Hit(Mark::kCaughtUpBySnapshot);
    world_->member(done.from).Post(SnapshotSent{done.to_id, done.term, done.ok});
  } else if (transfer.contents != nullptr) {
    ArriveSnapshot(number, &transfer);
  }
}

void Network::ArriveSnapshot(uint64_t number, Transfer* transfer) {
  const Transfer t = *transfer;
  transfer->contents = nullptr;
  const bool same = world_->member(t.to).id() == t.to_id;  // else the machine joined again
  if (link(t.from, t.to).cut || link(t.to, t.from).cut || !world_->member(t.to).up() || !same) {
    world_->marks().Hit(Mark::kSnapshotBroken);
    return EndSnapshot(number, false);
  }
  const raft::MemberId from = world_->member(t.from).id(), to = t.to_id;
  PeerMessage message{
      .from = {.id = from,
               .store_id = world_->member(t.from).store_id(),
               .newest_version = world_->member(t.from).newest_version()},
      .to = to,
      .body = raft::Message{from, to, t.term, raft::InstallSnapshot{{.last = t.base.id}}}};
  auto disk = std::make_shared<MemoryDisk>();
  MemoryEngine(disk, Durability::kFlushed).Write(*t.contents, /*sync=*/false);
  MemoryEngine(disk, Durability::kFlushed).Flush();
  if (!world_->member(t.to).Opens(disk)) {
    world_->marks().Hit(Mark::kSnapshotDeclined);
    return EndSnapshot(number, false);
  }
  world_->member(t.to).Post(SnapshotArrived{std::move(message),
                                            std::make_unique<Image>(t.base, std::move(disk)),
                                            [this, number, t, late_copy = t.late_copy](bool ok) {
                                              if (world_->member(t.to).dead()) return;
                                              if (!ok || late_copy)
                                                world_->marks().Hit(Mark::kSnapshotDeclined);
                                              EndSnapshot(number, ok);
                                            }});
}

void Network::HealAll() {
  for (Link& link : links_) {
    link.cut = false;
    link.clogged_until = 0;
  }
}

bool Network::any_cut() const {
  return std::any_of(links_.begin(), links_.end(), [](const Link& link) { return link.cut; });
}

void Network::OnDown(int member, bool in_order) {
  std::erase_if(transfers_, [&](const auto& t) { return t.second.from == member; });
  std::erase_if(transfers_,
                [&](const auto& t) { return t.second.late_copy && t.second.to == member; });
  for (const auto& [number, transfer] : transfers_) {
    if (transfer.to == member) EndSnapshot(number, false);
  }
  for (int peer = 0; peer < size_; ++peer) {
    if (peer == member) continue;
    if (in_order) link(peer, member).stopped_epoch = epoch(peer, member);
    End(member, peer, /*aborted=*/!in_order);
  }
}

void Network::OnUp(int member) {
  for (int peer = 0; peer < size_; ++peer) {
    if (peer == member) continue;
    link(member, peer).known_epoch = link(member, peer).first_epoch = epoch(member, peer);
    link(member, peer).unsent.clear();
  }
}

}  // namespace raftkv::sim
