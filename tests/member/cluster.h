#ifndef RAFTKV_TESTS_MEMBER_CLUSTER_H_
#define RAFTKV_TESTS_MEMBER_CLUSTER_H_

// A few members in one process, on the memory engine, with a network that a test can cut and a
// clock that only the test advances:
//
//   Cluster c(3);
//   c.Run(absl::Seconds(5));               // first start, an election
//   auto put = c.Put(c.leader(), "k", "v");
//   c.Settle();
//   EXPECT_EQ(put->fate, Fate::kApplied);

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "server/member/member.h"
#include "storage/engine/memory_engine.h"
#include "storage/log/log_store.h"
#include "storage/state_machine.h"

namespace raftkv {

// The answer of a request, and how often it was answered.
struct Answer {
  std::optional<Fate> fate;
  ApplyResult result;
  int times = 0;
};

class Cluster {
 public:
  // A snapshot that has arrived: a disk of its own.
  struct Image final : ReceivedSnapshot {
    Image(const LogStore::Tip& base, const StateMachine& state)
        : ReceivedSnapshot(base, state.members().configuration()) {}
    std::shared_ptr<MemoryDisk> disk = std::make_shared<MemoryDisk>();
  };

  struct Process final : Transport, MemberObserver, StateStore {
    raft::MemberId id = 0;
    Cluster* cluster = nullptr;
    std::shared_ptr<MemoryDisk> log_disk = std::make_shared<MemoryDisk>();
    std::shared_ptr<MemoryDisk> state_disk = std::make_shared<MemoryDisk>();
    std::string store_id;
    std::unique_ptr<LogStore> log;
    Engine* engine = nullptr;  // of the state
    std::unique_ptr<StateMachine> state;
    PhaseValue phase;
    std::unique_ptr<Member> member;  // null: down
    std::vector<ReplicaEvent> events;
    std::vector<PeerMessage> sent;  // since the last Turn began
    bool hold_apply = false;
    bool joined = false;
    raft::Index base_index = 0;

    void Send(PeerMessage message) override {
      sent.push_back(message);
      cluster->wire_.push_back(std::move(message));
    }
    // It arrives with the next messages, as it is then. If it cannot, its sending has failed.
    void SendSnapshot(raft::MemberId to, raft::Term term) override {
      cluster->snapshots_.push_back({id, to, term});
    }
    void StopSnapshots() override {
      std::erase_if(cluster->snapshots_, [this](const Sending& s) { return s.from == id; });
    }
    std::unique_ptr<StateMachine> Replace(std::unique_ptr<ReceivedSnapshot> snapshot) override {
      state_disk = static_cast<Image&>(*snapshot).disk;
      return OpenState();
    }
    void Replaced() override {}
    std::unique_ptr<StateMachine> OpenState() {
      auto opened = std::make_unique<MemoryEngine>(state_disk, Durability::kFlushed);
      engine = opened.get();
      auto machine = StateMachine::Open(std::move(opened));
      CHECK(machine.ok()) << machine.status();
      return *std::move(machine);
    }
    void OnEvent(const ReplicaEvent& event) override { events.push_back(event); }

    const raft::Raft& raft() const { return member->replica().raft(); }
    void Post(Input input) { member->Post(std::move(input)); }
  };

  // `in_log`: a leader writes the members to the log, as in the server.
  explicit Cluster(int size, size_t pending_max = 16384, size_t pending_bytes_max = 128 << 20,
                   const LogTail& tail = {}, bool in_log = false)
      : pending_max_(pending_max),
        pending_bytes_max_(pending_bytes_max),
        tail_(tail),
        in_log_(in_log) {
    for (int i = 1; i <= size; ++i) {
      voters_.push_back(i);
      Make(i);
    }
    for (int i = 1; i <= size; ++i) Start(i);
  }

  // Starts a new member of a cluster that runs.
  void Join(raft::MemberId id) {
    Make(id).joined = true;
    Start(id);
  }

  Process& operator[](raft::MemberId id) { return members_.at(id); }
  MonotonicTime now() const { return now_; }

  void Start(raft::MemberId id) {
    Process& m = members_.at(id);
    auto log =
        LogStore::Open(std::make_unique<MemoryEngine>(m.log_disk, Durability::kSynced), nullptr);
    ASSERT_TRUE(log.ok()) << log.status();
    m.log = *std::move(log);
    m.state = m.OpenState();
    MemberOptions options;
    options.replica.store_id = m.store_id;
    options.replica.boot_id = ++boots_;
    options.replica.raft.id = id;
    options.replica.base_index = m.base_index;
    options.replica.raft.seed = 100 + id;
    if (!m.joined) options.replica.configuration.voters = voters_;
    for (raft::MemberId voter : voters_) {
      if (in_log_ && !m.joined) options.replica.first_members.push_back(Info(voter));
    }
    if (in_log_) options.replica.self = Info(id);
    options.replica.pending_max = pending_max_;
    options.replica.pending_bytes_max = pending_bytes_max_;
    options.replica.tail = tail_;
    m.member = std::make_unique<Member>(options, m.log.get(), m.state.get(), &m.phase, &m, &m);
    m.member->AddObserver(&m);
  }

  static etcdserverpb::Member Info(raft::MemberId id) {
    etcdserverpb::Member info;
    info.set_id(id);
    info.set_name("n" + std::to_string(id));
    info.add_peerurls("http://127.0.0.1:" + std::to_string(id));
    info.add_clienturls("http://127.0.0.2:" + std::to_string(id));
    return info;
  }

  // Ends the process and loses everything that was not synced or flushed.
  void Crash(raft::MemberId id) {
    Process& m = members_.at(id);
    m.member.reset();
    m.state.reset();
    m.log.reset();
    m.log_disk->Crash();
    m.state_disk->Crash();
    std::erase_if(wire_, [id](const PeerMessage& p) { return p.from == id || p.to == id; });
    std::erase_if(snapshots_, [id](const Sending& s) { return s.from == id; });
  }

  // Also loses the disk: starts the same member on an empty directory.
  void Wipe(raft::MemberId id) {
    Crash(id);
    MakeEmpty(id);
    Start(id);
  }

  // Starts the member on a new directory that was restored from a backup (storage/restore.h): a
  // state of some entries, and an empty log after them.
  void Restore(raft::MemberId id) {
    constexpr raft::Index kBase = 5;
    Crash(id);
    MakeEmpty(id);
    Process& m = members_.at(id);
    auto log =
        LogStore::Open(std::make_unique<MemoryEngine>(m.log_disk, Durability::kSynced), nullptr);
    (*log)->Reset({.id = {1, kBase}});
    const auto state = m.OpenState();
    std::vector<raft::Entry> entries;
    for (raft::Index i = 1; i <= kBase; ++i)
      entries.push_back({{1, i}, raft::EntryType::kNoOp, {}});
    state->Apply(entries);
    state->Flush();
    m.base_index = kBase;
    Start(id);
  }

  void Cut(raft::MemberId id) { cut_.insert(id); }
  void Heal() { cut_.clear(); }

  void Turn(raft::MemberId id) {
    Process& m = members_.at(id);
    if (m.member == nullptr) return;
    m.sent.clear();
    m.member->Turn(now_);
    if (m.hold_apply) return;
    for (;;) {
      const ApplyPlan plan = m.member->PlanApply(now_);
      if (plan == ApplyPlan::kNothing) return;
      m.member->Apply(plan);
    }
  }

  // Runs turns and delivers messages until no member sends anything. The clock does not advance.
  void Settle() {
    for (int round = 0; round < 1000; ++round) {
      for (auto& [id, m] : members_) Turn(id);
      if (wire_.empty() && snapshots_.empty()) return;
      Deliver();
    }
    FAIL() << "the members never stop sending";
  }

  void Deliver() {
    for (PeerMessage& message : std::exchange(wire_, {})) {
      if (cut_.contains(message.from) || cut_.contains(message.to)) continue;
      if (!members_.contains(message.to)) continue;
      Process& to = members_.at(message.to);
      if (to.member != nullptr) to.Post(std::move(message));
    }
    for (const Sending& sending : std::exchange(snapshots_, {})) DeliverSnapshot(sending);
  }

  void Run(absl::Duration duration) {
    for (const MonotonicTime end = now_ + duration; now_ < end; now_ += absl::Milliseconds(10))
      Settle();
  }

  // A leader that is not cut off; kNobody if there is none.
  raft::MemberId leader() {
    for (auto& [id, m] : members_) {
      if (m.member != nullptr && !cut_.contains(id) && m.raft().role() == raft::Role::kLeader) {
        return id;
      }
    }
    return raft::kNobody;
  }
  raft::MemberId follower() {
    for (auto& [id, m] : members_) {
      if (m.member != nullptr && id != leader() && !cut_.contains(id)) return id;
    }
    return raft::kNobody;
  }

  std::shared_ptr<Answer> Put(raft::MemberId id, const std::string& key, const std::string& value,
                              int64_t lease = 0) {
    proto::Command command;
    command.mutable_put()->set_key(key);
    command.mutable_put()->set_value(value);
    command.mutable_put()->set_lease(lease);
    return Propose(id, command);
  }

  std::shared_ptr<Answer> Propose(raft::MemberId id, const proto::Command& command) {
    auto answer = std::make_shared<Answer>();
    auto done = [answer](Fate fate, ApplyResult result) {
      answer->fate = fate;
      answer->result = std::move(result);
      ++answer->times;
    };
    members_.at(id).Post(ProposeRequest{.command = command.SerializeAsString(),
                                        .done = done,
                                        .changes_members = command.has_change_members()});
    return answer;
  }

  // A keep-alive. The answer's revision is the TTL.
  std::shared_ptr<Answer> Renew(raft::MemberId id, int64_t lease) {
    auto answer = std::make_shared<Answer>();
    members_.at(id).Post(RenewRequest{.id = lease, .done = [answer](Fate fate, Renewal renewal) {
                                        answer->fate = fate;
                                        answer->result.revision = renewal.ttl;
                                        ++answer->times;
                                      }});
    return answer;
  }

  // Reads the value when the read is confirmed and its index applied.
  std::shared_ptr<Answer> Get(raft::MemberId id, const std::string& key, std::string* value) {
    auto answer = std::make_shared<Answer>();
    Process& m = members_.at(id);
    auto done = [this, answer, &m, key, value](Fate fate) {
      answer->fate = fate;
      ++answer->times;
      if (fate == Fate::kApplied) *value = Value(m, key);
    };
    m.Post(ReadRequest{std::move(done)});
    return answer;
  }

  std::shared_ptr<Answer> Transfer(raft::MemberId id, raft::MemberId target) {
    auto answer = std::make_shared<Answer>();
    members_.at(id).Post(TransferRequest{target, [answer](Fate fate) {
                                           answer->fate = fate;
                                           ++answer->times;
                                         }});
    return answer;
  }

  static std::string Value(Process& m, const std::string& key) {
    etcdserverpb::RangeRequest request;
    request.set_key(key);
    etcdserverpb::RangeResponse response;
    EXPECT_TRUE(m.state->Snapshot()->Range(request, {}, &response).ok());
    return response.kvs_size() == 1 ? response.kvs(0).value() : "";
  }

  template <typename Event>
  int Count(raft::MemberId id) {
    int count = 0;
    for (const ReplicaEvent& e : members_.at(id).events) count += std::holds_alternative<Event>(e);
    return count;
  }

 private:
  Process& Make(raft::MemberId id) {
    Process& m = members_[id];
    m.id = id;
    m.cluster = this;
    m.store_id = std::string(15, 's') + static_cast<char>('0' + id);
    return m;
  }

  void MakeEmpty(raft::MemberId id) {
    Process& m = members_.at(id);
    m.log_disk = std::make_shared<MemoryDisk>();
    m.state_disk = std::make_shared<MemoryDisk>();
    m.store_id = std::string(15, 'w') + static_cast<char>('0' + id);
  }

  struct Sending {  // a snapshot
    raft::MemberId from, to;
    raft::Term term;
  };

  void DeliverSnapshot(const Sending& s) {
    Process& from = members_.at(s.from);
    Process& to = members_.at(s.to);
    const auto done = [&from, s](bool ok) { from.Post(SnapshotSent{s.to, s.term, ok}); };
    if (cut_.contains(s.from) || cut_.contains(s.to) || to.member == nullptr) return done(false);
    const std::optional<LogStore::Tip> base = from.member->replica().TipAt(from.state->applied());
    CHECK(base.has_value()) << "the log has the entry that was applied last";
    auto image = std::make_unique<Image>(*base, *from.state);
    WriteBatch contents;
    CHECK(from.engine
              ->Scan({}, {},
                     [&](std::string_view key, std::string_view value) {
                       contents.Put(key, value);
                       return absl::OkStatus();
                     })
              .ok());
    MemoryEngine copy(image->disk, Durability::kFlushed);
    copy.Write(contents, /*sync=*/false);
    copy.Flush();
    raft::Message message{s.from, s.to, s.term, raft::InstallSnapshot{{base->id, {}}}};
    to.Post(SnapshotArrived{
        {s.from, s.to, from.store_id, std::move(message), kNewestVersion}, std::move(image), done});
  }

  const size_t pending_max_;
  const size_t pending_bytes_max_;
  const LogTail tail_;
  const bool in_log_;
  std::vector<raft::MemberId> voters_;
  std::map<raft::MemberId, Process> members_;
  std::deque<PeerMessage> wire_;
  std::vector<Sending> snapshots_;
  std::set<raft::MemberId> cut_;
  MonotonicTime now_;
  uint64_t boots_ = 0;
};

}  // namespace raftkv

#endif  // RAFTKV_TESTS_MEMBER_CLUSTER_H_
