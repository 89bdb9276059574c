#include "storage/engine/memory_engine.h"

#include <algorithm>
#include <utility>

#include "glog/logging.h"

namespace raftkv {

// Pins a batch number until it is destroyed.
class MemoryView final : public View, public std::enable_shared_from_this<MemoryView> {
 public:
  explicit MemoryView(std::shared_ptr<MemoryDisk> disk) : disk_(std::move(disk)) {
    absl::MutexLock lock(&disk_->mutex_);
    batch_ = disk_->written_;
    disk_->pins_.insert(batch_);
  }
  ~MemoryView() override {
    absl::MutexLock lock(&disk_->mutex_);
    disk_->pins_.erase(disk_->pins_.find(batch_));
  }

  std::optional<std::string> Get(std::string_view key) const override {
    absl::MutexLock lock(&disk_->mutex_);
    const auto cell = disk_->cells_.find(key);
    if (cell == disk_->cells_.end()) return std::nullopt;
    const std::string* value = MemoryDisk::Visible(cell->second, batch_);
    if (value == nullptr) return std::nullopt;
    return *value;
  }
  std::unique_ptr<Iterator> NewIterator(std::string_view upper, int64_t* skips_left) const override;

 private:
  friend class MemoryIterator;
  const std::shared_ptr<MemoryDisk> disk_;
  uint64_t batch_ = 0;
};

// Stops only at cells that are visible in the view. The view's pin keeps these cells and their
// values in memory, at the same address.
class MemoryIterator final : public Iterator {
 public:
  MemoryIterator(std::shared_ptr<const MemoryView> view, std::string_view upper,
                 int64_t* skips_left)
      : view_(std::move(view)), disk_(*view_->disk_), upper_(upper), skips_left_(skips_left) {}

  void Seek(std::string_view key) override {
    absl::MutexLock lock(&disk_.mutex_);
    Forward(disk_.cells_.lower_bound(key));
  }
  void SeekForPrev(std::string_view key) override {
    absl::MutexLock lock(&disk_.mutex_);
    auto cell = disk_.cells_.upper_bound(key);
    if (!upper_.empty() && key >= upper_) cell = disk_.cells_.lower_bound(upper_);
    Backward(cell);
  }
  void Next() override {
    absl::MutexLock lock(&disk_.mutex_);
    Forward(std::next(cell_));
  }
  void Prev() override {
    absl::MutexLock lock(&disk_.mutex_);
    Backward(cell_);
  }
  bool valid() const override { return value_ != nullptr && !OutOfSkips(); }
  std::string_view key() const override { return cell_->first; }
  std::string_view value() const override { return *value_; }

 private:
  using Position = MemoryDisk::Cells::const_iterator;

  void Forward(Position cell) ABSL_EXCLUSIVE_LOCKS_REQUIRED(disk_.mutex_) {
    value_ = nullptr;
    for (; cell != disk_.cells_.end(); ++cell) {
      if (!upper_.empty() && cell->first >= upper_) return;
      if (StopAt(cell) || Skip()) return;
    }
  }
  // Moves to the last visible cell before `cell`.
  void Backward(Position cell) ABSL_EXCLUSIVE_LOCKS_REQUIRED(disk_.mutex_) {
    value_ = nullptr;
    while (cell != disk_.cells_.begin()) {
      if (StopAt(--cell) || Skip()) return;
    }
  }
  // Passes a deleted cell that is not removed yet. Returns whether that exceeded the limit.
  bool Skip() {
    if (skips_left_ != nullptr) --*skips_left_;
    return OutOfSkips();
  }
  bool OutOfSkips() const { return skips_left_ != nullptr && *skips_left_ < 0; }
  bool StopAt(Position cell) ABSL_EXCLUSIVE_LOCKS_REQUIRED(disk_.mutex_) {
    value_ = MemoryDisk::Visible(cell->second, view_->batch_);
    cell_ = cell;
    return value_ != nullptr;
  }

  const std::shared_ptr<const MemoryView> view_;
  MemoryDisk& disk_;
  const std::string upper_;
  int64_t* const skips_left_;
  Position cell_;
  const std::string* value_ = nullptr;
};

std::unique_ptr<Iterator> MemoryView::NewIterator(std::string_view upper,
                                                  int64_t* skips_left) const {
  return std::make_unique<MemoryIterator>(shared_from_this(), upper, skips_left);
}

uint64_t MemoryDisk::batches_at_risk() const {
  absl::MutexLock lock(&mutex_);
  return written_ - survived_;
}

void MemoryDisk::Crash(uint64_t kept) {
  absl::MutexLock lock(&mutex_);
  CHECK(!in_use_ && pins_.empty()) << "destroy the engine and its views before Crash";
  written_ = survived_ + std::min(kept, written_ - survived_);
  survived_ = written_;
  for (const Cells::iterator cell : at_risk_) {
    Versions& versions = cell->second;
    while (!versions.empty() && versions.front().batch > written_) {
      bytes_ -= versions.front().value ? versions.front().value->size() : 0;
      versions.pop_front();
    }
  }
  // at_risk_ may list a cell more than once, so remove empty cells only after this loop.
  std::set<std::string> emptied;
  for (const Cells::iterator cell : at_risk_) {
    if (cell->second.empty()) emptied.insert(cell->first);
  }
  for (const std::string& key : emptied) {
    bytes_ -= key.size();
    cells_.erase(key);
  }
  at_risk_.clear();
}

void MemoryDisk::KeepTorn(uint64_t batches) {
  absl::MutexLock lock(&mutex_);
  tearable_ = batches;
  kept_ = survived_;
}

std::shared_ptr<MemoryDisk> MemoryDisk::Torn(uint64_t batches) const {
  absl::MutexLock lock(&mutex_);
  CHECK(!in_use_ && pins_.empty() && written_ == survived_);
  auto torn = std::make_shared<MemoryDisk>();
  absl::MutexLock lock_torn(&torn->mutex_);
  torn->written_ = torn->survived_ = std::max(kept_, written_ - std::min(written_, batches));
  torn->tearable_ = tearable_;
  torn->kept_ = kept_;
  for (const auto& [key, versions] : cells_) {
    Versions left = versions;
    while (!left.empty() && left.front().batch > torn->written_) left.pop_front();
    if (left.empty()) continue;
    torn->bytes_ += key.size();
    for (const Version& version : left) torn->bytes_ += version.value ? version.value->size() : 0;
    torn->cells_.emplace(key, std::move(left));
  }
  return torn;
}

void MemoryDisk::SurviveLocked() {
  survived_ = written_;
  if (tearable_ > 0 && survived_ > tearable_) kept_ = std::max(kept_, survived_ - tearable_);
  at_risk_.clear();
}

const std::string* MemoryDisk::Visible(const Versions& versions, uint64_t batch) {
  for (const Version& version : versions) {
    if (version.batch <= batch) return version.value ? &*version.value : nullptr;
  }
  return nullptr;
}

void MemoryDisk::SetLocked(std::string_view key, std::optional<std::string> value) {
  auto cell = cells_.lower_bound(key);
  if (cell == cells_.end() || cell->first != key) {
    cell = cells_.emplace_hint(cell, key, Versions());
    bytes_ += key.size();
  }
  Versions& versions = cell->second;
  bytes_ += value ? value->size() : 0;
  if (!versions.empty() || !value) ++stale_;
  if (!versions.empty() && versions.front().batch == written_) {
    bytes_ -= versions.front().value ? versions.front().value->size() : 0;
    versions.front().value = std::move(value);
  } else {
    versions.push_front({written_, std::move(value)});
  }
  at_risk_.push_back(cell);  // stays valid: SweepLocked keeps cells whose newest version is at risk
  PruneLocked(&versions, FloorLocked());
}

uint64_t MemoryDisk::FloorLocked() const {
  const uint64_t durable = tearable_ > 0 ? kept_ : survived_;
  return pins_.empty() ? durable : std::min(durable, *pins_.begin());
}

void MemoryDisk::PruneLocked(Versions* versions, uint64_t floor) {
  auto kept = versions->begin();
  while (kept != versions->end() && kept->batch > floor) ++kept;
  if (kept == versions->end()) return;
  for (auto next = std::next(kept); next != versions->end(); next = std::next(kept)) {
    bytes_ -= next->value ? next->value->size() : 0;
    versions->erase_after(kept);
  }
}

void MemoryDisk::SweepLocked() {
  stale_ = 0;
  const uint64_t floor = FloorLocked();
  for (auto cell = cells_.begin(); cell != cells_.end();) {
    PruneLocked(&cell->second, floor);
    const Version& newest = cell->second.front();
    if (newest.batch <= floor && !newest.value) {
      bytes_ -= cell->first.size();
      cell = cells_.erase(cell);
    } else {
      ++cell;
    }
  }
}

MemoryEngine::MemoryEngine(std::shared_ptr<MemoryDisk> disk, Durability durability)
    : disk_(std::move(disk)), durability_(durability) {
  absl::MutexLock lock(&disk_->mutex_);
  CHECK(!disk_->in_use_) << "another engine uses this disk";
  disk_->in_use_ = true;
}

MemoryEngine::~MemoryEngine() {
  absl::MutexLock lock(&disk_->mutex_);
  disk_->in_use_ = false;
}

void MemoryEngine::Write(const WriteBatch& batch, bool sync) {
  CHECK(!sync || durability_ == Durability::kSynced);
  absl::MutexLock lock(&disk_->mutex_);
  ++disk_->written_;
  for (size_t i = 0; i < batch.size(); ++i) {
    const WriteBatch::Op op = batch.op(i);
    switch (op.kind) {
      case WriteBatch::Kind::kPut:
        disk_->SetLocked(op.key, std::string(op.value));
        break;
      case WriteBatch::Kind::kDelete:
        disk_->SetLocked(op.key, std::nullopt);
        break;
      case WriteBatch::Kind::kDeleteRange:
        for (auto cell = disk_->cells_.lower_bound(op.key);
             cell != disk_->cells_.end() && cell->first < op.value; ++cell) {
          if (cell->second.front().value) disk_->SetLocked(cell->first, std::nullopt);
        }
        break;
    }
  }
  if (sync) disk_->SurviveLocked();
  // A sweep visits all cells, so run one only when it may free about as many versions.
  if (disk_->stale_ > 1024 + disk_->cells_.size()) disk_->SweepLocked();
}

std::optional<std::string> MemoryEngine::Get(std::string_view key) const {
  absl::MutexLock lock(&disk_->mutex_);
  const auto cell = disk_->cells_.find(key);
  if (cell == disk_->cells_.end()) return std::nullopt;
  return cell->second.front().value;
}

std::unique_ptr<Iterator> MemoryEngine::NewIterator(std::string_view upper,
                                                    int64_t* skips_left) const {
  return NewView()->NewIterator(upper, skips_left);
}

std::shared_ptr<const View> MemoryEngine::NewView() const {
  return std::make_shared<MemoryView>(disk_);
}

absl::Status MemoryEngine::Scan(std::string_view begin, std::string_view end,
                                const Visitor& visit) const {
  const std::unique_ptr<Iterator> it = NewIterator(end);
  for (it->Seek(begin); it->valid(); it->Next()) {
    if (absl::Status status = visit(it->key(), it->value()); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::StatusOr<std::optional<Engine::KeyValue>> MemoryEngine::Last() const {
  absl::MutexLock lock(&disk_->mutex_);
  for (auto cell = disk_->cells_.rbegin(); cell != disk_->cells_.rend(); ++cell) {
    const std::optional<std::string>& value = cell->second.front().value;
    if (value) return KeyValue{cell->first, *value};
  }
  return std::nullopt;
}

void MemoryEngine::Drop(std::string_view end) {
  WriteBatch batch;
  batch.DeleteRange({}, end);
  Write(batch, /*sync=*/false);
}

uint64_t MemoryEngine::written() const {
  absl::MutexLock lock(&disk_->mutex_);
  return disk_->written_;
}

uint64_t MemoryEngine::survived() const {
  absl::MutexLock lock(&disk_->mutex_);
  return disk_->survived_;
}

void MemoryEngine::Flush() {
  absl::MutexLock lock(&disk_->mutex_);
  disk_->SurviveLocked();
}

uint64_t MemoryEngine::DiskBytes() const {
  absl::MutexLock lock(&disk_->mutex_);
  return disk_->bytes_;
}

}  // namespace raftkv
