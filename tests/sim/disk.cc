#include "tests/sim/disk.h"

#include <utility>

namespace raftkv::sim {

namespace {

// Wraps the product's memory engine. Each write and flush is a step at which the fuse can end the
// process.
class FusedEngine final : public Engine {
 public:
  FusedEngine(std::shared_ptr<MemoryDisk> disk, Durability durability, Fuse* fuse,
              std::function<void()> on_sync, Disk::StateHooks hooks)
      : engine_(std::move(disk), durability),
        fuse_(fuse),
        on_sync_(std::move(on_sync)),
        hooks_(std::move(hooks)) {}

  void Write(const WriteBatch& batch, bool sync) override {
    const bool alive = fuse_->Burn();
    engine_.Write(batch, sync && alive);
    if (alive && sync && on_sync_) on_sync_();
  }
  void Flush() override {
    if (fuse_->Burn()) engine_.Flush();
  }
  void StartFlush() override {
    if (!fuse_->Burn()) return;
    engine_.StartFlush();
    if (hooks_.on_flush_started) hooks_.on_flush_started();
  }

  std::optional<std::string> Get(std::string_view key) const override { return engine_.Get(key); }
  std::unique_ptr<Iterator> NewIterator(std::string_view upper,
                                        int64_t* skips_left) const override {
    return engine_.NewIterator(upper, skips_left);
  }
  std::shared_ptr<const View> NewView() const override { return engine_.NewView(); }
  absl::Status Scan(std::string_view begin, std::string_view end,
                    const Visitor& visit) const override {
    return engine_.Scan(begin, end, visit);
  }
  absl::StatusOr<std::optional<KeyValue>> Last() const override { return engine_.Last(); }
  // Sometimes nothing is given back, as if the files could not be removed yet.
  void Drop(std::string_view end) override {
    if (engine_.written() % 2 == 0 && fuse_->Burn()) engine_.Drop(end);
  }
  uint64_t written() const override { return engine_.written(); }
  uint64_t survived() const override { return engine_.survived(); }
  uint64_t DiskBytes() const override { return engine_.DiskBytes(); }
  bool WouldStall() const override { return hooks_.would_stall && hooks_.would_stall(); }

 private:
  MemoryEngine engine_;
  Fuse* const fuse_;
  const std::function<void()> on_sync_;
  const Disk::StateHooks hooks_;
};

// How many synced batches of the log a tear may lose.
constexpr uint64_t kTearMax = 12;

// `older` may be null. Otherwise it gets the marks that a power failure may bring back: those
// before `stored` that were recorded since the last sync. In the seeds without tears, recording the
// mark is no effect, so that they stay what they were.
class MarkInMemory final : public Watermark {
 public:
  MarkInMemory(std::shared_ptr<Mark> stored, std::deque<Mark>* older, Fuse* fuse, bool is_effect)
      : stored_(std::move(stored)),
        older_(older),
        fuse_(fuse),
        is_effect_(is_effect),
        mark_(*stored_) {}
  const Mark& mark() const override { return mark_; }
  void Record(const Mark& mark, bool sync) override {
    mark_ = mark;
    if (!(is_effect_ ? fuse_->Burn() : !fuse_->blown())) return;
    if (older_ != nullptr) {
      older_->push_back(*stored_);
      if (older_->size() > kTearMax) older_->pop_front();
      if (sync) older_->clear();
    }
    *stored_ = mark;
  }

 private:
  const std::shared_ptr<Mark> stored_;
  std::deque<Mark>* const older_;
  Fuse* const fuse_;
  const bool is_effect_;
  Mark mark_;
};

// How many of the batches at risk survive: often none or all of them.
uint64_t Survivors(uint64_t at_risk, Rng* rng) {
  switch (rng->Below(4)) {
    case 0:
      return 0;
    case 1:
      return at_risk;
    default:
      return rng->Below(at_risk + 1);
  }
}

}  // namespace

std::unique_ptr<Engine> Disk::OpenLog(Fuse* fuse, std::function<void()> on_sync) {
  return std::make_unique<FusedEngine>(log_, Durability::kSynced, fuse, std::move(on_sync),
                                       Disk::StateHooks());
}

std::unique_ptr<Watermark> Disk::OpenMark(Fuse* fuse) {
  return std::make_unique<MarkInMemory>(mark_, tearable_ ? &older_marks_ : nullptr, fuse,
                                        tearable_);
}

std::unique_ptr<Engine> Disk::OpenState(Fuse* fuse, StateHooks hooks) {
  return std::make_unique<FusedEngine>(state_, Durability::kFlushed, fuse, nullptr,
                                       std::move(hooks));
}

std::unique_ptr<Engine> Disk::Replace(std::shared_ptr<MemoryDisk> state, const LogStore::Tip& base,
                                      Fuse* fuse, StateHooks hooks) {
  auto engine =
      std::make_unique<FusedEngine>(state, Durability::kFlushed, fuse, nullptr, std::move(hooks));
  if (fuse->Burn()) {
    state_ = std::move(state);
    resume_ = base;
  }
  return engine;
}

void Disk::Replaced(Fuse* fuse) {
  if (fuse->Burn()) resume_.reset();
}

void Disk::NoteCrashPoint() {
  crash_point_ = {true, log_->batches_at_risk(), state_->batches_at_risk()};
}

bool Disk::Crash(Rng* rng) {
  if (!crash_point_.noted) NoteCrashPoint();
  const uint64_t kept = Survivors(crash_point_.state_at_risk, rng);
  const bool lost = kept < crash_point_.state_at_risk;
  log_->Crash(Survivors(crash_point_.log_at_risk, rng));
  state_->Crash(kept);
  crash_point_ = {};
  return lost;
}

void Disk::SetTearable() {
  tearable_ = true;
  log_->KeepTorn(kTearMax);
}

bool Disk::Tear(raft::EntryId applied, Rng* rng) {
  if (resume_) return false;
  Watermark::Mark mark = *mark_;
  if (!older_marks_.empty() && rng->Chance(50 * kPercent)) {
    mark = older_marks_[rng->Below(older_marks_.size())];
    mark.reached = mark_->reached;  // the peers tell a member that reached more (decision 0017)
  }
  for (uint64_t batches = rng->Between(1, kTearMax); batches > 0; --batches) {
    Fuse fuse;
    auto log =
        LogStore::Open(std::make_unique<MemoryEngine>(log_->Torn(batches), Durability::kSynced),
                       std::make_unique<MarkInMemory>(std::make_shared<Watermark::Mark>(mark),
                                                      nullptr, &fuse, false));
    const bool opens = log.ok();  // if not, the next start reports it
    const bool lost = opens && raft::EntryId{(*log)->TermAt((*log)->last_index()),
                                             (*log)->last_index()} < mark.last;
    if (opens && !lost && mark != *mark_) continue;  // a loss that the old mark does not show
    if (lost && !(*log)->ContinueAfter(applied)) continue;
    log_ = log_->Torn(batches);
    *mark_ = mark;
    older_marks_.clear();
    return lost;
  }
  return false;
}

void Disk::Close() {
  log_->Crash(UINT64_MAX);
  state_->Crash(UINT64_MAX);
  crash_point_ = {};
}

void Disk::Wipe() {
  log_ = std::make_shared<MemoryDisk>();
  state_ = std::make_shared<MemoryDisk>();
  mark_ = std::make_shared<Watermark::Mark>();
  older_marks_.clear();
  if (tearable_) log_->KeepTorn(kTearMax);
  resume_.reset();
  crash_point_ = {};
}

}  // namespace raftkv::sim
