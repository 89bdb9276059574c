// One Raft core of a cluster of three, driven by the bytes of the input: messages with any contents
// that the codec lets pass, from members that lie, and everything else that a core is told. The
// core must neither end the process nor break an invariant of its own.

#include <algorithm>
#include <deque>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "server/raft/invariants.h"
#include "server/raft/raft.h"
#include "tests/fuzz/targets.h"
#include "tests/raft/memory_disk.h"

namespace raftkv::fuzz {
namespace {

using namespace raftkv::raft;  // NOLINT: as in tests/raft

constexpr MemberId kSelf = 1;

class CoreDriver {
 public:
  explicit CoreDriver(std::string_view input)
      : input_(input),
        disk_({1, 0, 1}, LogOfTerms({1, 1})),
        raft_(TestConfig(kSelf), {.voters = {1, 2, 3}}, /*applied=*/1, &disk_) {
    Check();
  }

  void Run() {
    while (!input_.empty()) {
      Do(Byte() % 16);
      Check();
      Turn();
    }
  }

 private:
  uint64_t Byte() {
    if (input_.empty()) return 0;
    const auto byte = static_cast<uint8_t>(input_.front());
    input_.remove_prefix(1);
    return byte;
  }
  // Another member, or one that this member does not know.
  MemberId Other() { return 2 + Byte() % 3; }
  // Near `center`, but not below 0.
  uint64_t Near(uint64_t center) {
    const uint64_t value = center + Byte() % 8;
    return value < 4 ? 0 : value - 4;
  }
  // A position of a log, near the end of ours: {0, 0}, or both numbers are set (IsEntryId).
  EntryId Position(Term term_max) {
    const Index index = Near(raft_.last_index());
    if (index == 0) return {};
    return {std::max<Term>(1, std::min(Near(raft_.term()), term_max)), index};
  }
  std::string ConfigurationText() {
    const uint64_t bits = Byte();
    std::string voters, learners;
    for (MemberId id = 1; id <= 4; ++id) {
      if ((bits >> id & 1) != 0) {
        absl::StrAppend(&voters, voters.empty() ? "" : ",", id);
      } else if ((bits >> (id + 3) & 1) != 0) {
        absl::StrAppend(&learners, learners.empty() ? "" : ",", id);
      }
    }
    if (voters.empty()) voters = "1";
    if (learners.find(voters) != std::string::npos) learners.clear();
    return learners.empty() ? voters : absl::StrCat(voters, "+", learners);
  }

  void StepAppend(Message message) {
    AppendEntries append;
    append.prev = Position(message.term);
    append.commit = Near(raft_.commit_index());
    append.round = Byte();
    EntryId last = append.prev;
    for (uint64_t count = Byte() % 4; count > 0; --count) {
      const uint64_t byte = Byte();
      last = {std::min(message.term, std::max<Term>(1, last.term + byte % 3)), last.index + 1};
      Entry entry{last, static_cast<EntryType>(byte / 3 % 3), Payload("x")};
      if (entry.type == EntryType::kConfiguration) entry.payload = Payload(ConfigurationText());
      append.entries.push_back(std::move(entry));
    }
    message.body = std::move(append);
    raft_.Step(std::move(message));
  }

  void StepMessage(uint64_t type) {
    Message message{Other(), kSelf, std::max<Term>(1, Near(raft_.term())), {}, Byte() % 4};
    switch (type) {
      case 0:
        message.body = RequestVote{Position(message.term), Byte() % 2 == 0, false};
        break;
      case 1:
        message.body = RequestVote{Position(message.term), false, Byte() % 2 == 0};
        break;
      case 2:
        message.body = RequestVoteReply{Byte() % 2 == 0, Byte() % 2 == 0};
        break;
      case 3:
      case 4:
        return StepAppend(std::move(message));
      case 5:
        message.body = AppendEntriesReply{.success = Byte() % 2 == 0,
                                          .match = Near(raft_.last_index()),
                                          .rejected_prev = Position(message.term),
                                          .hint = Position(message.term),
                                          .round = Byte()};
        break;
      case 6:
        message.body = ReadIndexRequest{Byte()};
        break;
      case 7:
        message.body =
            ReadIndexReply{Byte(), Near(raft_.commit_index()), Near(raft_.commit_index())};
        break;
      case 8: {
        EntryId last = Position(message.term);
        if (last.index == 0) last = {1, 1};
        message.body = InstallSnapshot{{last, ConfigurationOf(ConfigurationText())}};
        break;
      }
      default:
        message.body = TimeoutNow{};
    }
    raft_.Step(std::move(message));
  }

  void Do(uint64_t what) {
    switch (what) {
      case 10:
        return raft_.Tick(1 + static_cast<int>(Byte() % 2));
      case 11:
        for (uint64_t i = 0; i < 20; ++i) {
          raft_.Tick(1);
          Check();
          Turn();
        }
        return;
      case 12:
        raft_.Propose(Payload("x"));
        return;
      case 13:
        return raft_.ReadIndex(++reads_);
      case 14:
        hold_saves_ = Byte() % 2 == 0;
        return Saved();
      default:
        return what == 15 ? DoSeldom(Byte() % 6) : StepMessage(what);
    }
  }

  void DoSeldom(uint64_t what) {
    switch (what) {
      case 0:
        raft_.TransferLeadership(1 + Byte() % 4);
        return;
      case 1:
        return raft_.OnPeerLost(Other(), Byte() % 4);
      case 2:
        return raft_.OnUnreachable(Other());
      case 3:
        return raft_.StepDown();
      case 4:
        return raft_.OnSnapshotSent(Other(), Byte() % 2 == 0);
      default:
        return CutLog();
    }
  }

  void CutLog() {
    const Index first = std::min(raft_.status().applied_index + 1, raft_.last_index());
    if (!unsaved_.empty() || first <= disk_.first_index() || first > disk_.last_index()) return;
    disk_.Cut(first);
    raft_.OnLogCut();
  }

  void Turn() {
    for (int i = 0; raft_.HasReady(); ++i) {
      CHECK_LT(i, 1000) << "a Ready without end";
      Ready ready = raft_.TakeReady();
      for (const Entry& entry : ready.committed) {
        CHECK_LE(entry.id.index, disk_.last_index()) << "an unsaved entry is applied";
      }
      if (!ready.committed.empty()) raft_.OnApplied(ready.committed.back().id.index);
      unsaved_.push_back(std::move(ready));
      Check();
      if (!hold_saves_) Saved();
    }
  }

  void Saved() {
    for (; !unsaved_.empty(); unsaved_.pop_front()) {
      const Ready& ready = unsaved_.front();
      if (ready.hard_state)
        CHECK_GE(ready.hard_state->current_term, disk_.hard_state().current_term);
      if (!ready.entries.empty() && !ready.snapshot) {
        CHECK_LE(ready.entries.front().id.index, disk_.last_index() + 1) << "a gap in the log";
      }
      disk_.Save(ready);
      raft_.OnSaved(ready.number);
      Check();
    }
  }

  void Check() {
    for (const std::string& broken : invariants_.Check(raft_)) LOG(FATAL) << broken;
    for (const std::string& broken : invariants_.CheckBounds(raft_)) LOG(FATAL) << broken;
  }

  std::string_view input_;
  MemoryDisk disk_;
  Raft raft_;
  Invariants invariants_;
  std::deque<Ready> unsaved_;
  bool hold_saves_ = false;
  uint64_t reads_ = 0;
};

}  // namespace

void RunRaftCore(std::string_view input) {
  constexpr size_t kBytesMax = 4096;
  CoreDriver(input.substr(0, kBytesMax)).Run();
}

}  // namespace raftkv::fuzz
