#include "tests/sim/core_run.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <memory>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "server/raft/invariants.h"
#include "tests/sim/disk.h"
#include "tests/sim/network.h"
#include "tests/sim/raft_checker.h"

namespace raftkv::sim {

namespace {

using raft::Index;
using raft::MemberId;

constexpr Micros kFaultsFor = 60 * kSecond;  // then there are fewer requests, so that all catch up
constexpr int kEndThink = 20;

raft::Configuration ConfigurationOf(std::string_view payload) {
  proto::ChangeMembers change;
  CHECK(change.ParseFromArray(payload.data(), static_cast<int>(payload.size())));
  return {{change.voters().begin(), change.voters().end()},
          {change.learners().begin(), change.learners().end()}};
}

class Cores {
 public:
  Cores(const RunOptions& options, const Profile& profile)
      : options_(options),
        rng_(Mix(options.seed, 10)),
        profile_(profile),
        faults_(profile),
        ledger_(profile.machines(), nullptr, &verdict_),
        checker_(profile.machines(), profile.members, absl::Microseconds(profile.TransferMin()),
                 &ledger_, &result_.marks, &verdict_),
        nodes_(profile.machines()) {
    for (int i = 1; i <= profile.members; ++i) configurations_[0].voters.push_back(i);
    for (Node& node : nodes_) {
      const int64_t skew = profile.clock_skew;
      node.rate = 1'000'000 + (skew > 0 ? rng_.Between(-skew, skew) : 0);
    }
  }

  RunResult Run() {
    Begin();
    while (!verdict_.failed() && !over_) {
      std::pop_heap(queue_.begin(), queue_.end(), Later());
      Event event = std::move(queue_.back());
      queue_.pop_back();
      now_ = event.at;
      result_.trace_hash = Mix(Mix(result_.trace_hash, static_cast<uint64_t>(event.at)),
                               static_cast<uint64_t>(event.what) << 8 | event.node);
      ++result_.events;
      Handle(std::move(event));
    }
    result_.invariant = verdict_.invariant();
    result_.what = verdict_.what();
    result_.time = now_;
    result_.committed = result_.acknowledged_writes = ledger_.size();
    return result_;
  }

 private:
  enum class What {
    kTick,
    kArrive,
    kStart,
    kRequest,
    kCrash,
    kPartition,
    kHeal,
    kPause,
    kTransfer,
    kChange,
    kSnapshot,
    kLost,
    kCheck
  };
  struct Event {
    Micros at = 0;
    uint64_t number = 0;
    What what = What::kCheck;
    int node = 0;
    uint64_t life = 0;  // of the node; 0: any
    std::unique_ptr<raft::Message> message;
  };
  struct Later {
    bool operator()(const Event& a, const Event& b) const {
      return a.at != b.at ? a.at > b.at : a.number > b.number;
    }
  };
  struct Process {
    Fuse fuse;
    std::unique_ptr<LogStore> log;
    std::unique_ptr<raft::Raft> raft;
    raft::Invariants invariants;
    std::map<uint64_t, Index> reads;                    // waiting: the commit index at each request
    std::vector<std::unique_ptr<raft::Message>> inbox;  // while it is paused
    Micros busy_until = 0;
  };
  struct Node {
    Disk disk;
    int64_t rate = 0;   // of its clock, in parts per million
    Index applied = 0;  // by the state machine, which has no contents
    Index flushed = 0;  // what of that survives a crash
    uint64_t life = 0;
    std::unique_ptr<Process> process;
  };

  void Push(Micros at, What what, int node = 0, uint64_t life = 0,
            std::unique_ptr<raft::Message> message = nullptr) {
    queue_.push_back({at, next_event_++, what, node, life, std::move(message)});
    std::push_heap(queue_.begin(), queue_.end(), Later());
  }
  void Every(Micros mean, What what) {
    if (mean > 0) Push(now_ + 1 + rng_.Around(mean), what);
  }
  template <typename Text>
  void Say(const Text& text) const {
    if (options_.trace) absl::PrintF("%12.6f %s\n", now_ / 1e6, text());
  }
  int size() const { return static_cast<int>(nodes_.size()); }
  static MemberId Id(int node) { return node + 1; }
  static int NodeOf(MemberId id) { return static_cast<int>(id) - 1; }
  MonotonicTime Clock(int node) const {
    return MonotonicTime(absl::Microseconds(now_ / 1000 * nodes_[node].rate / 1000));
  }
  bool alive(int node) const {
    return nodes_[node].process != nullptr && !nodes_[node].process->fuse.blown();
  }
  bool leads(int node) const {
    return alive(node) && nodes_[node].process->raft->role() == raft::Role::kLeader;
  }
  bool& cut(int from, int to) { return cut_[{from, to}]; }
  int Some() {  // mostly a leader
    const int some = static_cast<int>(rng_.Below(size()));
    if (rng_.Chance(30 * kPercent)) return some;
    for (int i = 0; i < size(); ++i) {
      if (leads(i)) return i;
    }
    return some;
  }

  void Begin() {
    for (int i = 0; i < size(); ++i) Push(rng_.Between(0, 200 * kMillisecond), What::kStart, i);
    Push(kSecond, What::kRequest);
    Every(faults_.crash_every, What::kCrash);
    Every(faults_.partition_every, What::kPartition);
    Every(faults_.pause_every, What::kPause);
    Every(faults_.transfer_every, What::kTransfer);
    Every(faults_.change_every, What::kChange);
    Every(faults_.disconnect_every, What::kLost);
    Push(kFaultsFor, What::kCheck);
  }

  void Handle(Event event) {
    Process* process = nodes_[event.node].process.get();
    const bool of_this_life = process != nullptr && event.life == nodes_[event.node].life;
    switch (event.what) {
      case What::kTick:
        if (of_this_life) Tick(event.node);
        return;
      case What::kArrive:
        return Arrive(event.node, std::move(event.message));
      case What::kStart:
        if (process == nullptr) Start(event.node);
        return;
      case What::kRequest:
        Push(now_ + 1 + rng_.Around((healed_ ? kEndThink : 1) * profile_.think / profile_.clients),
             What::kRequest);
        return Request(Some());
      case What::kSnapshot:
        if (of_this_life) EndSnapshot(event.node, *event.message);
        return;
      case What::kHeal:
        cut_.clear();
        return;
      case What::kCheck:
        return healed_ ? Check() : StopFaults();
      default:
        if (!healed_) Misfortune(event.what);
    }
  }

  void Misfortune(What what) {
    const int node = Some();
    switch (what) {
      case What::kCrash:
        Every(faults_.crash_every, what);
        if (!alive(node)) return;
        if (rng_.Chance(faults_.crash_inside)) {
          nodes_[node].process->fuse.Arm(static_cast<int>(rng_.Below(8)));
        } else {
          Crash(node);
        }
        return;
      case What::kPartition:
        Every(faults_.partition_every, what);
        return Partition(node);
      case What::kPause:
        Every(faults_.pause_every, what);
        if (alive(node)) {
          nodes_[node].process->busy_until = now_ + rng_.Around(faults_.pause_for);
          result_.marks.Hit(Mark::kPaused);
        }
        return;
      case What::kTransfer:
        Every(faults_.transfer_every, what);
        return Into(node,
                    [&](raft::Raft& raft) { raft.TransferLeadership(Id(rng_.Below(size()))); });
      case What::kLost:
        Every(faults_.disconnect_every, what);
        return Into(node, [&](raft::Raft& raft) {
          const bool follows = raft.role() == raft::Role::kFollower;
          if (follows && raft.leader() != raft::kNobody) raft.OnPeerLost(raft.leader(), UINT64_MAX);
          raft.OnUnreachable(Id(rng_.Below(size())));
        });
      default:
        Every(faults_.change_every, What::kChange);
        return Change(node);
    }
  }

  // --- starts and crashes

  void Start(int number) {
    Node& node = nodes_[number];
    Say([&] { return absl::StrFormat("n%d starts", number + 1); });
    ++node.life;
    node.process = std::make_unique<Process>();
    Process& p = *node.process;
    p.fuse.on_blow = [this, &node, number] {
      node.disk.NoteCrashPoint();
      if (const auto& raft = node.process->raft) checker_.OnDying(number, *raft);
    };
    const auto on_sync = [this, &p, number] {
      if (p.log != nullptr) checker_.OnSynced(number, *p.log);
    };
    auto log = LogStore::Open(node.disk.OpenLog(&p.fuse, on_sync), nullptr);
    if (!log.ok()) {
      return verdict_.Fail("I8", absl::StrCat("n", number + 1, ": ", log.status().ToString()));
    }
    p.log = *std::move(log);
    checker_.OnStart(number, *p.log);
    p.log->AllowVoting();
    node.applied = std::max(node.flushed, p.log->first_index() - 1);
    ledger_.OnStart(number, node.applied);
    raft::Config config = profile_.raft;
    config.id = Id(number);
    config.seed = rng_.Next();
    config.configuration_of = ConfigurationOf;
    const bool joins = number >= profile_.members && node.applied == 0;
    p.raft = std::make_unique<raft::Raft>(
        config, joins ? raft::Configuration() : ConfigurationAt(node.applied), node.applied,
        p.log.get());
    Push(now_ + rng_.Between(0, profile_.tick), What::kTick, number, node.life);
    Turn(number);
  }

  void Crash(int number) {
    Node& node = nodes_[number];
    Say([&] { return absl::StrFormat("n%d crashes", number + 1); });
    ++result_.crashes;
    if (!node.process->fuse.blown()) node.disk.NoteCrashPoint();
    checker_.OnDown(number);
    node.process.reset();
    node.disk.Crash(&rng_);
    Push(now_ + 1 + rng_.Around(faults_.down_for), What::kStart, number);
  }

  raft::Configuration ConfigurationAt(Index index) const {
    return std::prev(configurations_.upper_bound(index))->second;
  }

  // --- inputs

  template <typename Call>
  void Into(int number, const Call& call) {
    if (!alive(number) || now_ < nodes_[number].process->busy_until) return;
    call(*nodes_[number].process->raft);
    Turn(number);
  }

  void Tick(int number) {
    Process& p = *nodes_[number].process;
    const Micros tick = profile_.tick * 1'000'000 / nodes_[number].rate;
    Push(now_ + tick, What::kTick, number, nodes_[number].life);
    if (now_ < p.busy_until) return;
    for (auto& message : std::exchange(p.inbox, {})) {
      p.raft->Step(std::move(*message));
    }
    p.raft->Tick(1);
    Turn(number);
  }

  void Arrive(int number, std::unique_ptr<raft::Message> message) {
    if (!alive(number) || cut(NodeOf(message->from), number)) return;
    Process& p = *nodes_[number].process;
    if (now_ < p.busy_until) {
      if (p.inbox.size() < 1000) p.inbox.push_back(std::move(message));
      return;
    }
    p.raft->Step(std::move(*message));
    Turn(number);
  }

  void Request(int number) {
    if (!alive(number) || now_ < nodes_[number].process->busy_until) return;
    Process& p = *nodes_[number].process;
    if (rng_.Chance(40 * kPercent)) {
      const uint64_t id = ++next_read_;
      p.reads[id] = ledger_.size();
      p.raft->ReadIndex(id);
    } else {
      p.raft->Propose(raft::Payload(std::string(rng_.Below(100), 'x')));
    }
    if (rng_.Chance(10 * kPercent)) nodes_[number].flushed = nodes_[number].applied;
    MaybeCut(number);
    Turn(number);
  }

  void MaybeCut(int number) {
    Node& node = nodes_[number];
    LogStore& log = *node.process->log;
    const Index kept = profile_.tail.entries_max;  // the default is more than a run has
    if (healed_ || node.flushed <= kept) return;
    const Index first = std::min(node.flushed - kept + 1, log.last_index());
    if (first < log.first_index() + profile_.tail.step_entries) return;
    log.Cut(first);
    node.process->raft->OnLogCut();
    result_.marks.Hit(Mark::kLogCut);
  }

  // One machine joins, is promoted, or leaves.
  void Change(int number) {
    if (!leads(number) || now_ < nodes_[number].process->busy_until) return;
    raft::Raft& raft = *nodes_[number].process->raft;
    if (!raft.MayChangeConfiguration()) return;
    raft::Configuration next = raft.membership().current();
    const MemberId changed = Id(rng_.Below(size()));
    const auto leaves = [changed](std::vector<MemberId>* from) {
      return std::erase(*from, changed) > 0;
    };
    std::vector<MemberId>* to = rng_.Chance(50 * kPercent) ? &next.voters : &next.learners;
    if (leaves(&next.learners)) {
      to = &next.voters;
    } else if (leaves(&next.voters)) {
      to = nullptr;
    }
    if (next.voters.empty() && to != &next.voters) return;
    if (to != nullptr) to->insert(std::upper_bound(to->begin(), to->end(), changed), changed);
    proto::ChangeMembers change;
    change.mutable_voters()->Assign(next.voters.begin(), next.voters.end());
    change.mutable_learners()->Assign(next.learners.begin(), next.learners.end());
    raft.ProposeConfiguration(raft::Payload(change.SerializeAsString()));
    Turn(number);
  }

  void Partition(int node) {
    cut_.clear();
    ++result_.partitions;
    std::vector<bool> inside(size());
    const bool alone = rng_.Chance(40 * kPercent);
    for (int i = 0; i < size(); ++i) inside[i] = alone ? i == node : rng_.Chance(50 * kPercent);
    const uint64_t shape = rng_.Below(4);  // 0, 1: both directions; 2, 3: one of them
    for (int from = 0; from < size(); ++from) {
      for (int to = 0; to < size(); ++to) {
        if (inside[from] == inside[to] || (shape == 2 && !inside[to]) ||
            (shape == 3 && inside[to])) {
          continue;
        }
        cut(from, to) = true;
      }
    }
    Push(now_ + 1 + rng_.Around(faults_.partition_for), What::kHeal);
  }

  // --- a turn, as server/member drives the core

  void Turn(int number) {
    Process& p = *nodes_[number].process;
    while (p.raft->HasReady() && !p.fuse.blown()) {
      raft::Ready ready = p.raft->TakeReady();
      Send(number, std::move(ready.messages_now));
      for (const MemberId to : ready.snapshots_to) SendSnapshot(number, to);
      if (ready.snapshot) Install(number, *ready.snapshot);
      if (ready.hard_state || !ready.entries.empty()) p.log->Save(ready.hard_state, ready.entries);
      p.raft->OnSaved(ready.number);
      Send(number, std::move(ready.messages_after_save));
      if (p.fuse.blown()) break;
      OnEvents(number, ready.events);
      Note(number, ready);
    }
    const auto handed_over = std::exchange(handed_over_, {});
    if (p.fuse.blown()) return Crash(number);
    checker_.AfterTurn(number, *p.raft, Clock(number));
    for (const std::vector<raft::Entry>& entries : handed_over) HandOver(number, entries);
    verdict_.FailEach("I15", number, p.invariants.CheckBounds(*p.raft));
    if (options_.check_core) verdict_.FailEach("core", number, p.invariants.Check(*p.raft));
  }

  void Note(int number, raft::Ready& ready) {
    Process& p = *nodes_[number].process;
    for (const raft::ReadIndexResult& read : ready.reads) {
      const auto asked = p.reads.extract(read.id);
      if (asked.empty()) {
        verdict_.Fail("I16", absl::StrFormat("a read of n%d is answered twice", number + 1));
      } else if (read.index != 0 && read.index < asked.mapped()) {
        verdict_.Fail("I10", absl::StrFormat("a read of n%d got index %d of %d committed before",
                                             number + 1, read.index, asked.mapped()));
      }
      result_.reads += read.index != 0;
    }
    if (ready.committed.empty()) return;
    p.raft->OnApplied(ready.committed.back().id.index);
    handed_over_.push_back(std::move(ready.committed));
  }

  void HandOver(int number, const std::vector<raft::Entry>& entries) {
    for (const raft::Entry& entry : entries) {
      const bool known = entry.id.index <= ledger_.known();
      if (known || entry.type != raft::EntryType::kConfiguration) continue;
      configurations_[entry.id.index] = ConfigurationOf(entry.payload.view());
      checker_.OnConfiguration(entry.id.index, configurations_[entry.id.index]);
    }
    ledger_.OnHandOver(number, entries);
    nodes_[number].applied = entries.back().id.index;
  }

  void Send(int from, std::vector<raft::Message> messages) {
    Process& p = *nodes_[from].process;
    for (raft::Message& message : messages) {
      if (!p.fuse.Burn()) return;
      checker_.OnSend(from, *p.log, nodes_[from].disk.log_synced(), message);
      result_.trace_hash = Mix(result_.trace_hash, message.term << 4 | message.body.index());
      Say([&] { return Describe({{.id = message.from}, message.to, message}); });
      const int to = NodeOf(message.to);
      if (cut(from, to) || rng_.Chance(faults_.loss)) continue;
      const auto deliver = [&](Micros after) {
        Push(now_ + 1 + after, What::kArrive, to, 0, std::make_unique<raft::Message>(message));
      };
      if (rng_.Chance(faults_.duplication)) deliver(2 * rng_.Around(faults_.delay));
      deliver(rng_.Around(faults_.delay));
    }
  }

  void OnEvents(int number, const std::vector<raft::Event>& events) {
    for (const raft::Event& event : events) {
      if (const auto* candidate = std::get_if<raft::BecameCandidate>(&event)) {
        result_.terms = std::max<uint64_t>(result_.terms, candidate->term);
      }
      if (std::holds_alternative<raft::Halted>(event) ||
          std::holds_alternative<raft::PeerLostEntries>(event)) {
        verdict_.Fail("fault",
                      absl::StrFormat("n%d found a fault of a correct member", number + 1));
      }
      if (const auto* rejected = std::get_if<raft::MessageRejected>(&event)) {
        verdict_.Fail("core", absl::StrFormat("n%d rejects a message of n%d: %s", number + 1,
                                              rejected->from, rejected->why));
      }
    }
  }

  // --- snapshots, of the state machine at the time of sending

  void SendSnapshot(int from, MemberId to) {
    Node& node = nodes_[from];
    if (!node.process->fuse.Burn()) return;
    result_.marks.Hit(Mark::kSnapshotWanted);
    raft::SnapshotMeta meta{
        .last = {.term = 0, .index = std::max(node.applied, node.process->log->first_index() - 1)}};
    meta.last.term = node.process->log->TermAt(meta.last.index);
    meta.chain_hash = node.process->log->ChainHash(meta.last.index);
    meta.configuration = ConfigurationAt(meta.last.index);
    const Micros takes = std::min(rng_.Around(faults_.snapshot_time), kSecond);
    Push(now_ + 1 + takes, What::kSnapshot, from, node.life,
         std::make_unique<raft::Message>(
             raft::Message{Id(from), to, node.process->raft->term(), raft::InstallSnapshot{meta}}));
  }

  // The snapshot arrives, or its transfer fails. The sender learns the result at the same time.
  void EndSnapshot(int from, const raft::Message& message) {
    if (now_ < nodes_[from].process->busy_until) {
      Push(now_ + 10 * kMillisecond, What::kSnapshot, from, nodes_[from].life,
           std::make_unique<raft::Message>(message));
      return;
    }
    const int to = NodeOf(message.to);
    const bool arrives = alive(to) && now_ >= nodes_[to].process->busy_until && !cut(from, to) &&
                         !rng_.Chance(faults_.snapshot_loss);
    const Index last = std::get<raft::InstallSnapshot>(message.body).meta.last.index;
    bool ok = false;
    if (arrives) {
      const bool of_this_leader = message.term >= nodes_[to].process->raft->term();
      nodes_[to].process->raft->Step(message);
      Turn(to);
      ok = of_this_leader && alive(to) && nodes_[to].process->raft->commit_index() >= last;
    }
    Say([&] {
      return absl::StrFormat("snapshot for n%d: %s", to + 1, ok ? "installed" : "broke off");
    });
    Into(from, [&](raft::Raft& raft) {
      if (raft.term() == message.term) raft.OnSnapshotSent(message.to, ok);
    });
  }

  void Install(int number, const raft::SnapshotMeta& meta) {
    Node& node = nodes_[number];
    checker_.CheckSnapshot(number, {meta.last, meta.chain_hash}, meta.configuration);
    node.process->log->Reset({meta.last, meta.chain_hash});
    if (node.process->fuse.blown()) return;
    ledger_.OnInstalled(number, meta.last.index);
    node.applied = node.flushed = meta.last.index;
    result_.marks.Hit(Mark::kSnapshotInstalled);
  }

  // --- the end

  void StopFaults() {
    healed_ = true;
    faults_.loss = faults_.duplication = faults_.snapshot_loss = 0;
    faults_.delay = std::min(faults_.delay, 2 * kMillisecond);
    faults_.snapshot_time = std::min(faults_.snapshot_time, 20 * kMillisecond);
    cut_.clear();
    Index longest_log = 0;
    for (int i = 0; i < size(); ++i) {
      if (nodes_[i].process == nullptr) Start(i);
      nodes_[i].process->fuse.Disarm();
      nodes_[i].process->busy_until = now_;
      longest_log = std::max(longest_log, checker_.synced_last(i));
    }
    const Micros longest = 2 * profile_.tick * profile_.raft.election_timeout_ticks * 1'000'000 /
                           (1'000'000 - profile_.clock_skew);
    deadline_ = now_ + 10 * longest + 8 * faults_.delay * longest_log;  // a round trip per entry
    Push(now_ + 100 * kMillisecond, What::kCheck);
  }

  void Check() {
    if (Agree()) {
      over_ = true;
    } else if (now_ > deadline_) {
      verdict_.Fail("liveness", "the members have no leader, or do not agree");
    } else {
      Push(now_ + 100 * kMillisecond, What::kCheck);
    }
  }

  // Whether all members follow one leader and have committed all but at most the last five entries.
  bool Agree() {
    for (int i = 0; i < size(); ++i) {
      if (!leads(i)) continue;
      const raft::Raft& leader = *nodes_[i].process->raft;
      const Index last = ledger_.size();
      if (last == 0 || ledger_.term(last) != leader.term()) return false;
      const std::vector<MemberId>& all = leader.membership().everyone();
      return std::all_of(all.begin(), all.end(), [&](MemberId id) {
        return alive(NodeOf(id)) && nodes_[NodeOf(id)].process->raft->leader() == Id(i) &&
               nodes_[NodeOf(id)].process->raft->commit_index() + 5 >= last;
      });
    }
    return false;
  }

  const RunOptions options_;
  Rng rng_;
  const Profile profile_;
  Profile faults_;
  RunResult result_;
  Verdict verdict_;
  Ledger ledger_;
  RaftChecker checker_;
  std::vector<Node> nodes_;
  std::map<Index, raft::Configuration> configurations_;  // committed
  std::vector<std::vector<raft::Entry>> handed_over_;    // in this turn
  std::map<std::pair<int, int>, bool> cut_;
  Micros now_ = 0;
  Micros deadline_ = 0;
  bool healed_ = false;
  bool over_ = false;
  uint64_t next_event_ = 1;
  uint64_t next_read_ = 0;
  std::vector<Event> queue_;  // a heap
};

}  // namespace

RunResult RunCores(const RunOptions& options, const Profile& profile) {
  return Cores(options, profile).Run();
}

}  // namespace raftkv::sim
