#include "storage/mvcc/counts.h"

#include <algorithm>
#include <iterator>
#include <memory>
#include <utility>

#include "glog/logging.h"
#include "storage/base/checksum.h"
#include "storage/base/mutant.h"
#include "storage/mvcc/range.h"

namespace raftkv::mvcc {
namespace {

// Splitting a block reads at most about this many bytes of keys and values, so the first of the two
// new blocks has at most about as many.
constexpr size_t kSplitBytes = 2 << 20;
// A split passes at most this many deleted keys that the engine has not removed yet.
constexpr int64_t kSplitSkips = 16'384;
constexpr int kSplitsAfterBatch = 4;
constexpr size_t kSplitBytesAfterBatch = 2 * kSplitBytes;

std::string BlockKey(std::string_view begin) { return std::string(1, kCountTable).append(begin); }

bool DecodeBlock(std::string_view record, int64_t* keys, int64_t* dead) {
  uint64_t live = 0, rest = 0;
  if (!TakeVarint64(&record, &live)) return false;
  if (!record.empty() && !TakeVarint64(&record, &rest)) return false;
  *keys = static_cast<int64_t>(live);
  *dead = static_cast<int64_t>(rest);
  return record.empty();
}

// Counts by walking. With Charged::kNo only local steps are charged, and nothing to the entry.
std::optional<int64_t> Walk(const View& view, KeyRange range, Revision revision, Meter* meter,
                            VersionCursor::Charged charged) {
  VersionCursor cursor(view, std::move(range), revision, meter, charged);
  int64_t keys = 0;
  while (cursor.Next()) ++keys;
  if (meter->over()) return std::nullopt;
  return keys;
}

// Counts the live keys at the newest revision by blocks. Charges local steps only.
std::optional<int64_t> CountNewest(const View& view, const KeyRange& range, Meter* meter) {
  const auto walk = [&](const std::string& begin, const std::string& end) {
    return Walk(view, {begin, end}, INT64_MAX, meter, VersionCursor::Charged::kNo);
  };
  const std::unique_ptr<Iterator> it = view.NewIterator(BlockKey(range.end), meter->skips_left());
  it->Seek(BlockKey(range.begin));
  if (!it->valid()) return walk(range.begin, range.end);  // nullopt if the meter is over
  const std::string first(it->key().substr(1));
  std::string last;
  int64_t keys = 0, keys_of_last = 0, dead = 0;
  for (; it->valid(); it->Next()) {
    if (!meter->Step(it->key().size())) return std::nullopt;
    keys += keys_of_last;
    CHECK(DecodeBlock(it->value(), &keys_of_last, &dead));
    last.assign(it->key().substr(1));
  }
  const std::optional<int64_t> before = walk(range.begin, first);
  if (!before) return std::nullopt;
  // The last block ends beyond the range, except if neither has an end.
  const std::optional<int64_t> after =
      range.end == TableEnd(kVersionTable) ? keys_of_last : walk(last, range.end);
  if (!after) return std::nullopt;
  return keys + *before + *after;
}

// By how much the number of live keys of the range has grown since `revision`. Nullopt if there are
// more than `events_max` events since then, or if the meter is over.
std::optional<int64_t> GrowthSince(const View& view, const KeyRange& range, Revision revision,
                                   int64_t events_max, Meter* meter) {
  std::string begin, prefix;
  AppendEventKey({revision + 1, 0}, &begin);
  const std::unique_ptr<Iterator> it = view.NewIterator(TableEnd(kEventTable), meter->skips_left());
  int64_t growth = 0;
  for (it->Seek(begin); it->valid(); it->Next()) {
    if (--events_max < 0 || !meter->Step(it->value().size())) return std::nullopt;
    const Event event = DecodeEvent(it->value());
    if (event.created == event.deleted) continue;
    prefix.clear();
    AppendVersionPrefix(event.key, &prefix);
    const std::string key = BeforeVersions(prefix);  // in the range if the key's versions are
    if (key < range.begin || key >= range.end) continue;
    growth += event.created ? 1 : -1;
  }
  if (meter->over()) return std::nullopt;
  return growth;
}

}  // namespace

Counts::Counts(int64_t block_keys)
    : block_keys_(block_keys),
      blocks_{{std::string(1, kVersionTable), Block{.split_above = block_keys}}} {
  found_ = blocks_.begin();
}

absl::Status Counts::Load(const Engine& engine) {
  if (RAFTKV_MUTANT("counts-forgotten-at-restart")) return absl::OkStatus();
  const std::string begin(1, kCountTable);
  return engine.Scan(begin, TableEnd(kCountTable),
                     [this](std::string_view key, std::string_view value) {
                       Block block{.split_above = block_keys_};
                       if (key.size() < 2 || key[1] != kVersionTable ||
                           !DecodeBlock(value, &block.keys, &block.dead)) {
                         return absl::DataLossError("state machine: a count of keys is damaged");
                       }
                       const std::string first(key.substr(1));
                       blocks_[first] = block;
                       if (block.large()) large_.push_back(first);
                       return absl::OkStatus();
                     });
}

void Counts::Add(std::string_view prefix, int64_t keys, int64_t dead) {
  const auto next = std::next(found_);
  if (prefix < found_->first || (next != blocks_.end() && prefix >= next->first)) {
    found_ = std::prev(blocks_.upper_bound(prefix));
  }
  Block& block = found_->second;
  block.keys += keys;
  CHECK_GE(block.keys, 0) << "more keys were deleted than there were";
  block.dead = std::max<int64_t>(0, block.dead + dead);
  if (keys > 0) block.key_bytes += prefix.size();
  Touch(found_);
}

void Counts::Touch(Blocks::iterator block) {
  if (!block->second.changed) changed_.push_back(block);
  block->second.changed = true;
}

void Counts::Save(WriteBatch* batch) {
  std::string record;
  for (const Blocks::iterator it : changed_) {
    Block& block = it->second;
    block.changed = false;
    if (block.size() == 0 && it != blocks_.begin()) {
      batch->Delete(BlockKey(it->first));
      if (found_ == it) found_ = blocks_.begin();
      blocks_.erase(it);
      continue;
    }
    record.clear();
    PutVarint64(&record, static_cast<uint64_t>(block.keys));
    PutVarint64(&record, static_cast<uint64_t>(block.dead));
    batch->Put(BlockKey(it->first), record);
    if (block.large()) large_.push_back(it->first);
  }
  changed_.clear();
}

void Counts::MaybeSplit(const View& view, WriteBatch* batch) {
  CHECK(changed_.empty()) << "only saved blocks are split";
  size_t bytes_left = kSplitBytesAfterBatch;
  for (int splits_left = kSplitsAfterBatch; splits_left > 0 && bytes_left > 0 && !large_.empty();) {
    const Blocks::iterator it = blocks_.find(large_.back());
    large_.pop_back();
    if (it == blocks_.end() || !it->second.large()) continue;
    --splits_left;
    if (!Split(view, it, &bytes_left)) break;
  }
  Save(batch);
}

bool Counts::Split(const View& view, Blocks::iterator it, size_t* bytes_left) {
  // Half of the block's keys, dead ones included, stay. One more key is read.
  const int64_t keys_max = block_keys_ / 2;
  // The limit of steps is never reached. It is set because only then skipped keys are limited.
  Meter meter({.steps_max = INT64_MAX - 1}, kSplitSkips);
  const auto next = std::next(it);
  VersionCursor cursor(view,
                       {it->first, next == blocks_.end() ? TableEnd(kVersionTable) : next->first},
                       INT64_MAX, &meter);
  Block& block = it->second;
  Block stays;
  size_t bytes = 0;
  bool on_rest = false;  // the cursor is on the first key that does not stay
  while (cursor.NextOrDead()) {
    on_rest = stays.size() == keys_max || bytes > kSplitBytes;
    if (on_rest) break;
    bytes += cursor.prefix().size() + cursor.value().size();
    if (cursor.head().exists()) stays.key_bytes += cursor.prefix().size();
    ++(cursor.head().exists() ? stays.keys : stays.dead);
  }
  *bytes_left -= std::min(*bytes_left, bytes);
  if (!on_rest) {
    // There are very many removed keys, or a very large key: try again when the block has doubled.
    block.split_above = 2 * block.size();
    block.key_bytes = 0;
    return false;
  }
  CHECK_GE(block.keys, stays.keys) << "a block has more keys than were counted";
  const auto rest = blocks_.emplace_hint(next, cursor.prefix(), Block{.split_above = block_keys_});
  rest->second.keys = block.keys - stays.keys;
  rest->second.dead = std::max<int64_t>(0, block.dead - stays.dead);
  rest->second.key_bytes = block.key_bytes - std::min(block.key_bytes, stays.key_bytes);
  block.keys = stays.keys;
  block.dead = stays.dead;
  block.key_bytes = 0;  // the part that stays is small enough
  block.split_above = block_keys_;
  Touch(it);
  Touch(rest);
  if (rest->second.large()) large_.push_back(rest->first);
  return true;
}

bool AddLiveKeys(std::string_view record, int64_t* keys) {
  int64_t live = 0, dead = 0;
  if (!DecodeBlock(record, &live, &dead)) return false;
  *keys += live;
  return true;
}

std::string AfterDeadBlocks(const View& view, const std::string& prefix, Meter* meter) {
  const std::unique_ptr<Iterator> it = view.NewIterator(TableEnd(kCountTable), meter->skips_left());
  it->SeekForPrev(BlockKey(prefix));
  if (!it->valid() || it->key().front() != kCountTable) it->Seek(std::string(1, kCountTable));
  for (; it->valid(); it->Next()) {
    int64_t keys = 0, dead = 0;
    CHECK(DecodeBlock(it->value(), &keys, &dead));
    if (keys > 0) return std::max(prefix, std::string(it->key().substr(1)));
    if (!meter->Step(it->key().size())) return prefix;
  }
  return meter->over() ? prefix : TableEnd(kVersionTable);
}

std::optional<int64_t> CountLive(const View& view, const KeyRange& range, Revision revision,
                                 Revision newest, Meter* meter) {
  if (range.begin >= range.end) return 0;
  using Charged = VersionCursor::Charged;
  if (IsOneKey(range)) return Walk(view, range, revision, meter, Charged::kNo);
  if (revision == newest || RAFTKV_MUTANT("count-of-the-past-is-of-now")) {
    const std::optional<int64_t> keys = CountNewest(view, range, meter);
    if (!keys || !meter->in_entry()) return keys;
    // Where blocks are cut is local, so the charge depends only on the number of keys.
    const int64_t block_keys = meter->rules().count_block_keys;
    if (!meter->Walk(std::min(*keys, block_keys + *keys / block_keys))) return std::nullopt;
    return keys;
  }
  if (meter->in_entry()) return Walk(view, range, revision, meter, Charged::kYes);
  // If there are fewer events since `revision` than keys, count the keys at the newest revision and
  // subtract what these events changed. Otherwise walk the keys at `revision`, which passes about
  // as many keys.
  const std::optional<int64_t> now = CountNewest(view, range, meter);
  if (!now) return std::nullopt;
  const int64_t events_max = std::min(meter->steps_left(), *now);
  if (const auto growth = GrowthSince(view, range, revision, events_max, meter)) {
    return *now - *growth;
  }
  if (meter->over()) return std::nullopt;
  return Walk(view, range, revision, meter, Charged::kNo);
}

}  // namespace raftkv::mvcc
