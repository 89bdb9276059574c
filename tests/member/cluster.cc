#include "tests/member/cluster.h"

#include "absl/strings/str_cat.h"
#include "storage/mvcc/layout.h"
#include "storage/restored_state.h"
#include "tests/storage/change_version.h"

namespace raftkv {

namespace {

std::string StoreId(char letter, raft::MemberId id) {
  std::string store_id(16, letter);
  store_id.back() = static_cast<char>('0' + id);
  return store_id;
}

std::shared_ptr<MemoryDisk> CopyOf(const Engine& engine, Durability durability) {
  WriteBatch contents;
  CHECK(engine
            .Scan({}, {},
                  [&](std::string_view key, std::string_view value) {
                    contents.Put(key, value);
                    return absl::OkStatus();
                  })
            .ok());
  auto disk = std::make_shared<MemoryDisk>();
  MemoryEngine copy(disk, durability);
  copy.Write(contents, /*sync=*/durability == Durability::kSynced);
  copy.Flush();
  return disk;
}

}  // namespace

std::unique_ptr<StateMachine> Cluster::Process::OpenState() {
  auto opened = std::make_unique<MemoryEngine>(state_disk, Durability::kFlushed);
  engine = opened.get();
  auto machine = StateMachine::Open(std::move(opened), {.digest_interval = 16});
  CHECK(machine.ok()) << machine.status();
  return *std::move(machine);
}

Cluster::Cluster(int size, size_t pending_max, size_t pending_bytes_max, const LogTail& tail,
                 bool in_log)
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

void Cluster::Join(raft::MemberId id) {
  Make(id).joined = true;
  Start(id);
}

void Cluster::Start(raft::MemberId id) {
  Process& m = members_.at(id);
  auto log =
      LogStore::Open(std::make_unique<MemoryEngine>(m.log_disk, Durability::kSynced), nullptr);
  CHECK(log.ok()) << log.status();
  m.log = *std::move(log);
  m.state = m.OpenState();
  MemberOptions options;
  options.replica.newest_version = newest_version;
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
  options.replica.space.low_bytes = 100;
  m.member = std::make_unique<Member>(options, m.log.get(), m.state.get(), &m.phase, &m, &m);
  m.member->AddObserver(&m);
}

etcdserverpb::Member Cluster::Info(raft::MemberId id) {
  etcdserverpb::Member info;
  info.set_id(id);
  info.set_name(absl::StrCat("n", id));
  info.add_peerurls(absl::StrCat("http://127.0.0.1:", id));
  info.add_clienturls(absl::StrCat("http://127.0.0.2:", id));
  return info;
}

void Cluster::Crash(raft::MemberId id) {
  Process& m = members_.at(id);
  m.member.reset();
  m.state.reset();
  m.log.reset();
  m.log_disk->Crash();
  m.state_disk->Crash();
  std::erase_if(wire_, [id](const PeerMessage& p) { return p.from.id == id || p.to == id; });
  std::erase_if(snapshots_, [id](const Sending& s) { return s.from == id; });
}

void Cluster::Wipe(raft::MemberId id) {
  Crash(id);
  MakeEmpty(id);
  Start(id);
}

std::shared_ptr<MemoryDisk> Cluster::Backup(raft::MemberId id) {
  return CopyOf(*members_.at(id).engine, Durability::kFlushed);
}

void Cluster::Form(const std::vector<raft::MemberId>& voters) {
  CHECK(members_.empty());
  voters_ = voters;
  for (raft::MemberId id : voters_) Make(id);
}

void Cluster::Restore(raft::MemberId id) {
  Crash(id);
  MakeEmpty(id);
  std::vector<raft::Entry> entries;
  for (raft::Index i = 1; i <= 5; ++i) entries.push_back({{1, i}, raft::EntryType::kNoOp, {}});
  StartAfter(id, entries);
}

void Cluster::Restore(raft::MemberId id, const std::shared_ptr<MemoryDisk>& backup,
                      int64_t bump_revision) {
  Crash(id);
  MakeEmpty(id);
  Process& m = members_.at(id);
  m.state_disk = CopyOf(MemoryEngine(backup, Durability::kFlushed), Durability::kFlushed);
  std::vector<etcdserverpb::Member> infos;
  for (raft::MemberId voter : voters_) infos.push_back(Info(voter));
  const std::vector<raft::Entry> entries = EntriesAfter(*m.OpenState(), infos, bump_revision);
  StartAfter(id, entries);
}

void Cluster::StartAfter(raft::MemberId id, const std::vector<raft::Entry>& entries) {
  Process& m = members_.at(id);
  {  // Start opens the disks again.
    auto log =
        LogStore::Open(std::make_unique<MemoryEngine>(m.log_disk, Durability::kSynced), nullptr);
    ASSERT_TRUE(log.ok()) << log.status();
    (*log)->Reset({.id = entries.back().id});
    const auto state = m.OpenState();
    for (const ApplyResult& result : state->Apply(entries)) ASSERT_TRUE(result.status.ok());
    state->Flush();
  }
  m.base_index = entries.back().id.index;
  Start(id);
}

void Cluster::MakeEmpty(raft::MemberId id) {
  Process& m = members_.at(id);
  m.log_disk = std::make_shared<MemoryDisk>();
  m.state_disk = std::make_shared<MemoryDisk>();
  m.store_id = StoreId('w', id);
}

void Cluster::Turn(raft::MemberId id) {
  Process& m = members_.at(id);
  if (m.member == nullptr) return;
  m.sent.clear();
  m.member->Turn(now_);
  while (!m.hold_apply) {
    const ApplyPlan plan = m.member->PlanApply(now_);
    if (plan == ApplyPlan::kNothing) break;
    m.member->Apply(plan);
  }
  m.member->SendNews();
}

void Cluster::Settle() {
  for (int round = 0; round < 1000; ++round) {
    for (auto& [id, m] : members_) Turn(id);
    if (wire_.empty() && snapshots_.empty()) return;
    Deliver();
  }
  FAIL() << "the members never stop sending";
}

void Cluster::Deliver() {
  for (PeerMessage& message : std::exchange(wire_, {})) {
    if (cut_.contains(message.from.id) || cut_.contains(message.to)) continue;
    if (!members_.contains(message.to)) continue;
    Process& to = members_.at(message.to);
    if (to.member != nullptr) to.Post(std::move(message));
  }
  for (const Sending& sending : std::exchange(snapshots_, {})) DeliverSnapshot(sending);
}

void Cluster::Run(absl::Duration duration) {
  for (const MonotonicTime end = now_ + duration; now_ < end; now_ += absl::Milliseconds(10))
    Settle();
}

raft::MemberId Cluster::leader() {
  for (auto& [id, m] : members_) {
    if (m.member != nullptr && !cut_.contains(id) && m.raft().role() == raft::Role::kLeader) {
      return id;
    }
  }
  return raft::kNobody;
}

raft::MemberId Cluster::follower() {
  for (auto& [id, m] : members_) {
    if (m.member != nullptr && id != leader() && !cut_.contains(id)) return id;
  }
  return raft::kNobody;
}

std::shared_ptr<Answer> Cluster::Put(raft::MemberId id, const std::string& key,
                                     const std::string& value, int64_t lease) {
  proto::Command command;
  command.mutable_put()->set_key(key);
  command.mutable_put()->set_value(value);
  command.mutable_put()->set_lease(lease);
  return Propose(id, command);
}

std::shared_ptr<Answer> Cluster::Propose(raft::MemberId id, const proto::Command& command) {
  auto answer = std::make_shared<Answer>();
  auto done = [answer](Fate fate, ApplyResult result) {
    answer->fate = fate;
    answer->result = std::move(result);
    ++answer->times;
  };
  members_.at(id).Post(ProposeRequest{.command = command.SerializeAsString(),
                                      .done = done,
                                      .needs = Needs(command),
                                      .changes_members = command.has_change_members()});
  return answer;
}

std::shared_ptr<Answer> Cluster::Renew(raft::MemberId id, int64_t lease) {
  auto answer = std::make_shared<Answer>();
  members_.at(id).Post(RenewRequest{.id = lease, .done = [answer](Fate fate, Renewal renewal) {
                                      answer->fate = fate;
                                      answer->result.revision = renewal.ttl;
                                      ++answer->times;
                                    }});
  return answer;
}

std::shared_ptr<Answer> Cluster::Get(raft::MemberId id, const std::string& key,
                                     std::string* value) {
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

std::shared_ptr<Answer> Cluster::Transfer(raft::MemberId id, raft::MemberId target) {
  auto answer = std::make_shared<Answer>();
  members_.at(id).Post(TransferRequest{target, [answer](Fate fate) {
                                         answer->fate = fate;
                                         ++answer->times;
                                       }});
  return answer;
}

std::string Cluster::Value(Process& m, const std::string& key) {
  etcdserverpb::RangeRequest request;
  request.set_key(key);
  etcdserverpb::RangeResponse response;
  EXPECT_TRUE(m.state->Snapshot()->Range(request, {}, &response).ok());
  return response.kvs_size() == 1 ? response.kvs(0).value() : "";
}

Cluster::Process& Cluster::Make(raft::MemberId id) {
  Process& m = members_[id];
  m.id = id;
  m.cluster = this;
  m.store_id = StoreId('s', id);
  return m;
}

Cluster::Disks Cluster::Copy(raft::MemberId id) {
  const Process& m = members_.at(id);
  return {CopyOf(MemoryEngine(m.log_disk, Durability::kSynced), Durability::kSynced),
          CopyOf(MemoryEngine(m.state_disk, Durability::kFlushed), Durability::kFlushed)};
}

void Cluster::PutBack(raft::MemberId id, const Disks& disks) {
  Process& m = members_.at(id);
  m.log_disk = disks.log;
  m.state_disk = disks.state;
  m.committed.clear();
  Start(id);
}

void Cluster::ChangeNewestVersion(raft::MemberId id, const std::string& key) {
  MemoryEngine engine(members_.at(id).state_disk, Durability::kFlushed);
  raftkv::ChangeNewestVersion(key, &engine);
}

void Cluster::LoseLease(raft::MemberId id, int64_t lease) {
  MemoryEngine engine(members_.at(id).state_disk, Durability::kFlushed);
  WriteBatch batch;
  batch.Delete(mvcc::LeaseKey(lease));
  engine.Write(batch, /*sync=*/false);
  engine.Flush();
}

void Cluster::Stop(raft::MemberId id) {
  members_.at(id).state->Flush();
  Crash(id);
}

void Cluster::DeliverSnapshot(const Sending& s) {
  Process& from = members_.at(s.from);
  Process& to = members_.at(s.to);
  const auto done = [&from, s](bool ok) { from.Post(SnapshotSent{s.to, s.term, ok}); };
  if (cut_.contains(s.from) || cut_.contains(s.to) || to.member == nullptr) return done(false);
  const std::optional<LogStore::Tip> base = from.member->replica().TipAt(from.state->applied());
  CHECK(base.has_value()) << "the log has the entry that was applied last";
  auto image = std::make_unique<Image>(*base, *from.state);
  image->disk = CopyOf(*from.engine, Durability::kFlushed);
  raft::Message message{s.from, s.to, s.term, raft::InstallSnapshot{{.last = base->id}}};
  to.Post(
      SnapshotArrived{{{.id = s.from, .store_id = from.store_id, .newest_version = kNewestVersion},
                       s.to,
                       std::move(message)},
                      std::move(image),
                      done});
}

}  // namespace raftkv
