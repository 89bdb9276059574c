#include "tests/storage/crash_story.h"

#include <algorithm>
#include <filesystem>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "glog/logging.h"
#include "storage/base/checksum.h"

namespace raftkv {
namespace {

namespace fs = std::filesystem;

constexpr size_t kAll = SIZE_MAX;

template <typename T>
T Must(absl::StatusOr<T> value) {
  CHECK(value.ok()) << value.status();
  return *std::move(value);
}

DataDirOptions Options(const std::string& dir, raft::MemberId member) {
  DataDirOptions options = TestDirOptions(dir);
  options.member_id = member;
  options.cache_bytes = 1 << 20;
  return options;
}

uint64_t HashOf(const CrashDisk::Image& image) {
  uint64_t hash = 0;
  for (const auto& [path, contents] : image) hash = Hash64(contents, Hash64(path, hash));
  return hash;
}

}  // namespace

// --- History

History::History(const std::string& dir)
    : sender_(Must(OpenDataDir(Options(dir, 2)))), random_(std::hash<std::string>()(dir)) {
  Note();
}

void History::Note() {
  moments_.push_back({sender_.state->digest(), Must(sender_.state->Snapshot()->HashKv(0)).hash});
}

void History::Commit(const std::vector<raft::Entry>& entries) {
  for (const raft::Entry& entry : entries) {
    sender_.log->Save(raft::HardState{entry.id.term, 2, entry.id.index}, {entry});
    sender_.state->Apply({&entry, 1});
    Note();
  }
}

std::vector<raft::Entry> History::Entries(raft::Index first, raft::Index last) const {
  return sender_.log->Entries(first, last, kAll);
}

std::vector<raft::Entry> History::Draw(const raft::EntryId& after, raft::Term term,
                                       uint64_t count) {
  std::vector<raft::Entry> entries;
  for (raft::Index i = after.index + 1; i <= after.index + count; ++i) {
    const Model::Moment now = {sender_.state->revision(), sender_.state->compacted_revision()};
    proto::Command command = random_.Command(now);
    if (random_.OneIn(12)) {
      command.mutable_compaction()->set_revision(now.revision - random_.Below(5));
    }
    if (random_.OneIn(6)) {
      command = PutCommand("large", std::string(static_cast<size_t>(random_.Below(9000)), 'x'));
    }
    entries.push_back(MakeEntry(term, i, command));
  }
  return entries;
}

std::string History::Compare(const StateMachine& state) const {
  const raft::Index applied = state.applied().index;
  if (applied >= moments_.size()) return absl::StrCat("applied ", applied, ", never committed");
  const Moment& expected = moments_[applied];
  if (state.digest() != expected.digest) return absl::StrCat("another digest at ", applied);
  if (Must(state.Snapshot()->HashKv(0)).hash != expected.hash) {
    return absl::StrCat("other contents at ", applied);
  }
  return "";
}

absl::StatusOr<std::unique_ptr<ReceivedSnapshot>> History::TrySend(
    StateDirs* to, const std::function<void(const SnapshotManifest&, Files&)>& damage) const {
  constexpr size_t kChunkBytes = 4000;
  const auto taken = Must(sender_.states->Take(*sender_.state));
  SnapshotManifest manifest = taken->manifest();
  manifest.base.chain_hash = sender_.log->ChainHash(manifest.base.id.index);
  Files files;
  for (size_t file = 0; file < manifest.files.size(); ++file) {
    files.push_back(Must(taken->Read(file, 0, manifest.files[file].size)));
  }
  damage(manifest, files);
  auto writer = Must(to->Receive(manifest));
  for (size_t file = 0; file < files.size(); ++file) {
    for (uint64_t at = 0; at < files[file].size(); at += kChunkBytes) {
      const std::string data = files[file].substr(at, kChunkBytes);
      if (auto s = writer->Write(file, at, data, Crc32c(data)); !s.ok()) return s;
    }
  }
  return to->Accept(std::move(writer));
}

std::unique_ptr<ReceivedSnapshot> History::Send(StateDirs* to) const {
  return Must(TrySend(to, [](const SnapshotManifest&, Files&) {}));
}

// --- the story

std::string CrashStory::Shape::ToString() const {
  return absl::StrFormat("term %d vote %d commit %d, entries %d to %d of term %d, chain %x, %s",
                         hard_state.current_term, hard_state.voted_for, hard_state.commit_index,
                         first, last.id.index, last.id.term, last.chain_hash,
                         may_vote ? "may vote" : "may not vote");
}

CrashStory::Shape CrashStory::ShapeOf(const LogStore& log) {
  const raft::Index last = log.last_index();
  return {log.hard_state(),
          log.first_index(),
          {{log.TermAt(last), last}, log.ChainHash(last)},
          log.may_vote()};
}

CrashStory::CrashStory(uint64_t seed, int operations, const std::string& dir,
                       std::function<bool(const std::string&)> ignored)
    : dir_(dir), rng_(seed), history_(dir + "/sender") {
  fs::create_directory(dir + "/recorded");
  recording_ = std::make_unique<Recording>(dir + "/recorded", std::move(ignored));
  Run(operations);
  member_ = DataDir();
  changes_ = recording_->Take();
  CrashDisk all;
  for (const Change& change : changes_) all.Apply(change);
  const CrashDisk::Image recorded = all.Now(), real = ReadImage(dir + "/recorded");
  for (const auto& [path, contents] : real) {
    CHECK(recorded.contains(path)) << path << ": was not recorded";
    CHECK(recorded.at(path) == contents) << path << ": some change was not recorded";
  }
  CHECK_EQ(recorded.size(), real.size()) << "some change was not recorded";
}

void CrashStory::Run(int operations) {
  Begin("first start");
  Open();
  End();
  for (int i = 0; i < operations; ++i) Do(rng_.Below(100));
}

void CrashStory::Do(uint64_t draw) {
  if (draw < 30) return Append();
  if (draw < 40) return Overwrite();
  if (draw < 46) return Vote();
  if (draw < 66) return Apply();
  if (draw < 76) {
    Begin("flush");
    member_.state->Flush();
  } else if (draw < 79) {
    Begin("flush in the background");
    member_.state->StartFlush();
  } else if (draw < 84) {
    return Cut();
  } else if (draw < 87) {
    Begin("take a snapshot");
    Must(member_.states->Take(*member_.state));
  } else if (draw < 92) {
    return Install();
  } else if (draw < 94) {
    Begin("permit voting");
    member_.log->AllowVoting();
  } else {
    Begin("restart");
    member_ = DataDir();
    Open();
  }
  End();
}

void CrashStory::Begin(const char* operation) {
  Step step;
  step.operation = operation;
  if (member_.log != nullptr) {
    step.before = ShapeOf(*member_.log);
    step.persisted = member_.state->persisted_applied().index;
    step.applied = member_.state->applied().index;
    step.committed = committed_;
    step.store_id = member_.identity.store_id;
  }
  recording_->Mark(steps_.size());
  steps_.push_back(std::move(step));
}

void CrashStory::End() {
  Step& step = steps_.back();
  step.after = ShapeOf(*member_.log);
  step.applied = std::max(step.applied, member_.state->applied().index);
}

void CrashStory::Open() {
  member_ = Must(OpenAt(dir_ + "/recorded/n1"));
  const raft::Index applied = member_.state->applied().index;
  member_.state->Apply(member_.log->Entries(applied + 1, committed_, kAll));
}

void CrashStory::Append() {
  Begin("append");
  const raft::Index last = member_.log->last_index();
  const raft::EntryId after = {member_.log->TermAt(last), last};
  raft::HardState hard_state = member_.log->hard_state();
  if (hard_state.current_term == 0 || rng_.Below(8) == 0) {
    hard_state = {hard_state.current_term + 1, 1 + rng_.Below(3), 0};
  }
  hard_state.commit_index = committed_;
  const auto entries = history_.Draw(after, hard_state.current_term, 1 + rng_.Below(4));
  const bool same_state = hard_state == member_.log->hard_state();
  member_.log->Save(same_state ? std::nullopt : std::optional(hard_state), entries);
  End();
}

void CrashStory::Overwrite() {
  const raft::Index last = member_.log->last_index();
  if (last == committed_) return Append();
  Begin("overwrite");
  const raft::Index keep = committed_ + rng_.Below(last - committed_);
  const raft::HardState hard_state = {term() + rng_.Below(2), 1 + rng_.Below(3), committed_};
  const auto entries = history_.Draw({member_.log->TermAt(keep), keep}, hard_state.current_term,
                                     1 + rng_.Below(last - keep + 1));
  const bool same = hard_state.current_term == term();
  member_.log->Save(same ? std::nullopt : std::optional(hard_state), entries);
  End();
}

void CrashStory::Vote() {
  Begin("vote");
  member_.log->Save(raft::HardState{term() + 1, rng_.Below(4), committed_}, {});
  End();
}

void CrashStory::Apply() {
  Begin("apply");
  const raft::Index last = member_.log->last_index();
  if (committed_ < last) {
    const raft::Index commit = committed_ + 1 + rng_.Below(last - committed_);
    history_.Commit(member_.log->Entries(committed_ + 1, commit, kAll));
    committed_ = commit;
  }
  steps_.back().committed = committed_;
  member_.state->Apply(member_.log->Entries(member_.state->applied().index + 1, committed_, kAll));
  if (rng_.Below(2) == 0) member_.state->CompactStep(1 + static_cast<int64_t>(rng_.Below(6)));
  End();
}

void CrashStory::Cut() {
  const raft::Index first = member_.log->first_index();
  const raft::Index persisted = member_.state->persisted_applied().index;
  if (persisted < first) return Append();
  Begin("cut the log");
  member_.log->Cut(first + 1 + rng_.Below(persisted - first + 1));
  End();
}

void CrashStory::Install() {
  Begin("install a snapshot");
  const raft::Term other = std::max(term(), history_.last_id().term) + 1;
  history_.Commit(history_.Draw(history_.last_id(), other, 1 + rng_.Below(6)));
  std::unique_ptr<ReceivedSnapshot> received = history_.Send(member_.states.get());
  const LogStore::Tip base = received->base();
  std::unique_ptr<StateMachine> state = member_.states->Replace(std::move(received));
  member_.log->Reset(base);
  member_.states->Replaced();
  member_.state->Install(std::move(state));
  committed_ = base.id.index;
  End();
}

absl::StatusOr<DataDir> CrashStory::OpenAt(const std::string& dir) const {
  return OpenDataDir(Options(dir, 1));
}

// --- after a power loss

std::vector<CrashStory::Outcome> CrashStory::CrashBefore(size_t point) {
  for (; replayed_ < point; ++replayed_) {
    const Change& change = changes_[replayed_];
    if (change.kind == Change::Kind::kMark) step_ = change.offset;
    disk_.Apply(change);
  }
  std::vector<Outcome> outcomes;
  const Step& step = steps_[step_];
  for (const Loss loss : {Loss::kUnsynced, Loss::kPart, Loss::kTorn}) {
    Outcome& outcome = outcomes.emplace_back();
    outcome.operation = step.operation;
    sim::Rng rng(point * 4 + static_cast<uint64_t>(loss));
    const CrashDisk::Image image = disk_.After(loss, &rng);
    outcome.fresh = checked_.emplace(step_, HashOf(image)).second;
    if (!outcome.fresh) continue;
    // The name is in the messages of a process that ends itself.
    const std::string dir = absl::StrCat(dir_, "/change-", point, "-loss-", static_cast<int>(loss));
    WriteImage(image, dir);
    outcome.failure = Check(step, dir, &outcome.warnings);
    if (!outcome.failure.empty()) {
      outcome.failure = absl::StrCat("during \"", step.operation, "\", before change ", point,
                                     ", loss ", static_cast<int>(loss), ": ", outcome.failure);
    }
    fs::remove_all(dir);
  }
  return outcomes;
}

std::string CrashStory::Check(const Step& step, const std::string& dir,
                              std::vector<std::string>* warnings) {
  absl::StatusOr<DataDir> opened = OpenAt(dir + "/n1");
  if (!opened.ok()) return absl::StrCat("does not open: ", opened.status().message());
  *warnings = opened->warnings;
  if (std::string wrong = CheckOpened(step, &*opened); !wrong.empty()) return wrong;
  const Shape shape = ShapeOf(*opened->log);
  *opened = DataDir();
  opened = OpenAt(dir + "/n1");
  if (!opened.ok()) return absl::StrCat("does not open again: ", opened.status().message());
  for (const std::string& warning : opened->warnings) {
    if (absl::StrContains(warning, "repaired")) return "a repair is not durable: " + warning;
  }
  if (ShapeOf(*opened->log) != shape) return "the log changed at the second start";
  return "";
}

std::string CrashStory::CheckOpened(const Step& step, DataDir* opened) {
  const Shape shape = ShapeOf(*opened->log);
  if (!step.store_id.empty() && (opened->is_new || opened->identity.store_id != step.store_id)) {
    return "the directory has become a new one";
  }
  if (shape != step.before && shape != step.after) {
    return absl::StrCat("the log is: ", shape.ToString(), "; before: ", step.before.ToString(),
                        "; after: ", step.after.ToString());
  }
  const raft::Index applied = opened->state->applied().index;
  if (applied < step.persisted || applied > step.applied) {
    return absl::StrCat("the state machine applied ", applied, " entries, not ", step.persisted,
                        " to ", step.applied);
  }
  if (std::string wrong = history_.Compare(*opened->state); !wrong.empty()) return wrong;
  const raft::Index commit = std::min(std::max(step.committed, applied), shape.last.id.index);
  const auto entries = opened->log->Entries(applied + 1, commit, kAll);
  if (entries != history_.Entries(applied + 1, commit)) return "committed entries changed";
  opened->state->Apply(entries);
  return history_.Compare(*opened->state);
}

}  // namespace raftkv
