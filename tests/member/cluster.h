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

// More time than an election takes.
inline constexpr absl::Duration kElection = absl::Seconds(5);

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
    std::vector<PeerMessage> sent;                 // since the last Turn began
    size_t flushed = 0;                            // how many of them Flush has sent
    std::map<raft::Index, raft::Entry> committed;  // what it has reported as committed
    bool hold_apply = false;
    bool joined = false;
    raft::Index base_index = 0;

    void Send(PeerMessage message) override {
      sent.push_back(message);
      cluster->wire_.push_back(std::move(message));
    }
    void Flush() override { flushed = sent.size(); }
    // The snapshot is delivered with the next messages, with the state of that moment. If that is
    // not possible, the transfer has failed.
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
    std::unique_ptr<StateMachine> OpenState();
    void OnEvent(const ReplicaEvent& event) override { events.push_back(event); }
    void OnCommitted(absl::Span<const raft::Entry> entries) override {
      for (const raft::Entry& entry : entries) committed[entry.id.index] = entry;
    }

    // The messages of this kind that it has sent since the last Turn began.
    template <typename Body>
    std::vector<PeerMessage> Sent() const {
      std::vector<PeerMessage> of_kind;
      for (const PeerMessage& m : sent) {
        if (std::holds_alternative<Body>(m.body)) of_kind.push_back(m);
      }
      return of_kind;
    }

    const raft::Raft& raft() const { return member->replica().raft(); }
    void Post(Input input) { member->Post(std::move(input)); }
  };

  // `in_log`: a leader writes the members to the log, as in the server.
  explicit Cluster(int size, size_t pending_max = 16384, size_t pending_bytes_max = 128 << 20,
                   const LogTail& tail = {}, bool in_log = false);

  // Which version the members know that are started from now on.
  ClusterVersion newest_version = kNewestVersion;

  // Starts a new member of a cluster that runs.
  void Join(raft::MemberId id);

  Process& operator[](raft::MemberId id) { return members_.at(id); }
  MonotonicTime now() const { return now_; }

  void Start(raft::MemberId id);

  static etcdserverpb::Member Info(raft::MemberId id);

  // Ends the process and loses everything that was not synced or flushed.
  void Crash(raft::MemberId id);

  // The contents of a member's disks. Call it while the member is down.
  struct Disks {
    std::shared_ptr<MemoryDisk> log, state;
  };
  Disks Copy(raft::MemberId id);
  // Replaces the member's disks by an older copy, and starts the member.
  void PutBack(raft::MemberId id, const Disks& disks);
  // See tests/storage/change_version.h. Call it while the member is down.
  void ChangeNewestVersion(raft::MemberId id, const std::string& key);
  // Removes a lease without keys from the stored state. Call it while the member is down.
  void LoseLease(raft::MemberId id, int64_t lease);
  // An orderly end of the process: nothing is lost.
  void Stop(raft::MemberId id);

  // Also loses the disk: starts the same member on an empty directory.
  void Wipe(raft::MemberId id);
  // The state of a member that runs.
  std::shared_ptr<MemoryDisk> Backup(raft::MemberId id);
  // Starts the member on a new directory that was restored from a backup
  // (storage/data_dir/restore.h): a state of some entries, and an empty log after them.
  void Restore(raft::MemberId id);
  // Starts the member on a new directory that was restored from `backup`.
  void Restore(raft::MemberId id, const std::shared_ptr<MemoryDisk>& backup, int64_t bump_revision);
  // Sets the voters of a cluster that was created without any. Each is down until Restore starts
  // it.
  void Form(const std::vector<raft::MemberId>& voters);
  // From now on the config files name these voters. A member reads its file when it starts.
  void Edit(const std::vector<raft::MemberId>& voters) { voters_ = voters; }

  void Cut(raft::MemberId id) { cut_.insert(id); }
  void Heal() { cut_.clear(); }

  void Turn(raft::MemberId id);

  // Runs turns and delivers messages until no member sends anything. The clock does not advance.
  void Settle();

  void Deliver();

  void Run(absl::Duration duration);

  // Time passes without a turn, as if all processes were stopped.
  void Pause(absl::Duration duration) { now_ += duration; }

  // A leader that is not cut off; kNobody if there is none.
  raft::MemberId leader();
  raft::MemberId follower();

  std::shared_ptr<Answer> Put(raft::MemberId id, const std::string& key, const std::string& value,
                              int64_t lease = 0);

  std::shared_ptr<Answer> Propose(raft::MemberId id, const proto::Command& command);

  // A keep-alive. The answer's revision is the TTL.
  std::shared_ptr<Answer> Renew(raft::MemberId id, int64_t lease);

  // Reads the value when the read is confirmed and its index applied.
  std::shared_ptr<Answer> Get(raft::MemberId id, const std::string& key, std::string* value);

  std::shared_ptr<Answer> Transfer(raft::MemberId id, raft::MemberId target);

  static std::string Value(Process& m, const std::string& key);

  template <typename Event>
  int Count(raft::MemberId id) {
    int count = 0;
    for (const ReplicaEvent& e : members_.at(id).events) count += std::holds_alternative<Event>(e);
    return count;
  }

 private:
  Process& Make(raft::MemberId id);

  void MakeEmpty(raft::MemberId id);
  // Applies the entries to the member's state. Its log begins after them.
  void StartAfter(raft::MemberId id, const std::vector<raft::Entry>& entries);

  struct Sending {  // a snapshot
    raft::MemberId from, to;
    raft::Term term;
  };

  void DeliverSnapshot(const Sending& s);

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

inline const Fault& FaultOf(Cluster& c, raft::MemberId id) {
  return c[id].member->replica().fault();
}

}  // namespace raftkv

#endif  // RAFTKV_TESTS_MEMBER_CLUSTER_H_
