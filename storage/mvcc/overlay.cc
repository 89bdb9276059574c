#include "storage/mvcc/overlay.h"

#include <utility>

#include "glog/logging.h"

namespace raftkv::mvcc {
namespace {

// Merges an iterator of the engine with the changes of the batch. If both have a key, the batch's
// value is used.
class OverlayIterator final : public Iterator {
 public:
  OverlayIterator(std::unique_ptr<Iterator> base, const Overlay::Changes& changes,
                  std::string_view upper)
      : base_(std::move(base)), changes_(changes), upper_(upper) {}

  void Seek(std::string_view key) override {
    base_->Seek(key);
    change_ = changes_.lower_bound(key);
    Settle();
  }
  void Next() override {
    if (on_change_) {
      if (base_->valid() && base_->key() == change_->first) base_->Next();
      ++change_;
    } else {
      base_->Next();
    }
    Settle();
  }
  void SeekForPrev(std::string_view) override { LOG(FATAL) << "an overlay moves forward only"; }
  void Prev() override { LOG(FATAL) << "an overlay moves forward only"; }

  bool valid() const override { return valid_; }
  std::string_view key() const override { return on_change_ ? change_->first : base_->key(); }
  std::string_view value() const override { return on_change_ ? *change_->second : base_->value(); }

 private:
  // Chooses the lesser of the two positions, passing over what the batch deletes.
  void Settle() {
    for (;;) {
      const bool changed = change_ != changes_.end() && (upper_.empty() || change_->first < upper_);
      on_change_ = changed && (!base_->valid() || change_->first <= base_->key());
      valid_ = changed || base_->valid();
      if (!on_change_ || change_->second) return;
      if (base_->valid() && base_->key() == change_->first) base_->Next();
      ++change_;
    }
  }

  const std::unique_ptr<Iterator> base_;
  const Overlay::Changes& changes_;
  const std::string upper_;
  Overlay::Changes::const_iterator change_;
  bool on_change_ = false;
  bool valid_ = false;
};

}  // namespace

void Overlay::Reset() {
  changes_.clear();
  indexed_ = 0;
}

void Overlay::CatchUp() const {
  for (; indexed_ < batch_.size(); ++indexed_) {
    const WriteBatch::Op op = batch_.op(indexed_);
    CHECK(op.kind != WriteBatch::Kind::kDeleteRange);
    std::optional<std::string>& value = changes_[std::string(op.key)];
    if (op.kind == WriteBatch::Kind::kPut) {
      value = std::string(op.value);
    } else {
      value.reset();
    }
  }
}

std::optional<std::string> Overlay::Get(std::string_view key) const {
  CatchUp();
  if (const auto change = changes_.find(key); change != changes_.end()) return change->second;
  return engine_.Get(key);
}

// When skips_left runs out, the engine's iterator ends early and only the keys of the batch follow.
// Callers that set a limit must check it.
std::unique_ptr<Iterator> Overlay::NewIterator(std::string_view upper, int64_t* skips_left) const {
  CatchUp();
  return std::make_unique<OverlayIterator>(engine_.NewIterator(upper, skips_left), changes_, upper);
}

}  // namespace raftkv::mvcc
