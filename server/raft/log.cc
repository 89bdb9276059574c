#include "server/raft/log.h"

#include <algorithm>
#include <utility>

#include "storage/base/check.h"
#include "storage/base/mutant.h"

namespace raftkv::raft {

RaftLog::RaftLog(const LogReader* reader, size_t cache_bytes_max)
    : reader_(reader),
      cache_bytes_max_(cache_bytes_max),
      first_index_(reader->first_index()),
      before_{reader->TermAt(reader->last_index()), reader->last_index()},
      before_chain_(reader->ChainHash(reader->last_index())),
      taken_(before_.index),
      saved_(before_.index) {
  CHECK_GE(first_index_, 1u);
  CHECK_GE(before_.index + 1, first_index_);
}

Term RaftLog::TermAt(Index index) const {
  CHECK_GE(index + 1, first_index_);
  CHECK_LE(index, last_index());
  if (index > before_.index) return recent_[index - before_.index - 1].id.term;
  if (index == before_.index) return before_.term;
  return reader_->TermAt(index);
}

uint64_t RaftLog::ChainAt(Index index) const {
  CHECK_GE(index + 1, first_index_);
  CHECK_LE(index, last_index());
  if (index > before_.index) return chains_[index - before_.index - 1];
  if (index == before_.index) return before_chain_;
  return reader_->ChainHash(index);
}

bool RaftLog::Contains(EntryId id) const {
  return id.index + 1 >= first_index_ && id.index <= last_index() && TermAt(id.index) == id.term;
}

EntryId RaftLog::LastAtMost(EntryId bound) const {
  Index low = first_index_ - 1;  // the answer is in [low, high]
  Index high = std::clamp(bound.index, low, last_index());
  if (TermAt(high) <= bound.term) return IdAt(high);
  while (low < high) {
    const Index middle = low + (high - low + 1) / 2;
    if (TermAt(middle) <= bound.term) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return IdAt(low);
}

std::vector<Entry> RaftLog::Entries(Index first, Index last, size_t count_max,
                                    size_t bytes_max) const {
  CHECK_GE(first, first_index_);
  CHECK_LE(last, last_index());
  if (first > last || count_max == 0) return {};
  if (last - first >= count_max) last = first + count_max - 1;
  if (!InMemory(first)) return reader_->Entries(first, std::min(last, before_.index), bytes_max);

  std::vector<Entry> entries;
  size_t bytes = 0;
  for (Index i = first; i <= last; ++i) {
    const Entry& entry = recent_[i - before_.index - 1];
    bytes += EntryBytes(entry);
    if (bytes > bytes_max && !entries.empty()) break;
    entries.push_back(entry);
  }
  return entries;
}

void RaftLog::Append(Entry entry) {
  CHECK_EQ(entry.id.index, last_index() + 1);
  CHECK_GE(entry.id.term, TermAt(last_index()));
  recent_bytes_ += EntryBytes(entry);
  chains_.push_back(ChainAfter(ChainAt(last_index()), entry));
  recent_.push_back(std::move(entry));
}

void RaftLog::TruncateFrom(Index index) {
  CHECK_GE(index, first_index_);
  CHECK_LE(index, last_index());
  if (!InMemory(index)) {
    before_chain_ = ChainAt(index - 1);
    before_ = IdAt(index - 1);
  }
  while (!recent_.empty() && recent_.back().id.index >= index) {
    recent_bytes_ -= EntryBytes(recent_.back());
    recent_.pop_back();
    chains_.pop_back();
  }
  taken_ = std::min(taken_, index - 1);
  if (!RAFTKV_MUTANT("truncation-keeps-the-saved-index")) saved_ = std::min(saved_, index - 1);
  for (Write& write : writes_) write.last = std::min(write.last, index - 1);
}

void RaftLog::Reset(EntryId last, uint64_t chain) {
  first_index_ = last.index + 1;
  before_ = last;
  before_chain_ = chain;
  recent_.clear();
  chains_.clear();
  recent_bytes_ = 0;
  taken_ = last.index;
  // Until the reset is saved, a crash brings the old log back, and the snapshot proves nothing
  // about its entries.
  saved_ = RAFTKV_MUTANT("snapshot-acked-before-durable") ? last.index : 0;
  for (Write& write : writes_) write.last = 0;
  reset_untaken_ = resetting_ = true;
}

void RaftLog::OnCut() {
  const Index first = reader_->first_index();
  CHECK_GE(first, first_index_);
  CHECK_LE(first, saved_ + 1);
  while (before_.index + 1 < first) {
    if (recent_.empty()) {
      before_ = {reader_->TermAt(first - 1), first - 1};
      before_chain_ = reader_->ChainHash(first - 1);
      break;
    }
    DropOldest();
  }
  first_index_ = first;
}

void RaftLog::DropOldest() {
  before_ = recent_.front().id;
  before_chain_ = chains_.front();
  recent_bytes_ -= EntryBytes(recent_.front());
  recent_.pop_front();
  chains_.pop_front();
}

std::vector<Entry> RaftLog::TakeUntaken(uint64_t ready_number) {
  if (!HasUntaken()) return {};
  CHECK(InMemory(taken_ + 1));
  reset_untaken_ = false;
  std::vector<Entry> entries(recent_.begin() + (taken_ - before_.index), recent_.end());
  taken_ = last_index();
  writes_.push_back({ready_number, taken_});
  return entries;
}

bool RaftLog::OnSaved(uint64_t ready_number) {
  const Index before = saved_;
  while (!writes_.empty() && writes_.front().ready_number <= ready_number) {
    saved_ = std::max(saved_, writes_.front().last);
    if (saved_ + 1 >= first_index_) resetting_ = false;
    writes_.pop_front();
  }
  return saved_ > before;
}

size_t RaftLog::BytesInMemory(Index after, Index to) const {
  CHECK_LE(to, last_index());
  size_t bytes = 0;
  for (Index i = std::max(after, before_.index) + 1; i <= to; ++i) {
    bytes += EntryBytes(recent_[i - before_.index - 1]);
  }
  return bytes;
}

void RaftLog::Evict(Index commit_index) {
  const Index evictable = std::min(saved_, commit_index);
  while (recent_bytes_ > cache_bytes_max_ && before_.index < evictable) DropOldest();
}

}  // namespace raftkv::raft
