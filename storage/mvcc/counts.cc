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
// CountPart: how many keys of a part are walked before the others, and how many deleted keys that
// the engine has not removed yet the others may have.
constexpr int kKeysBeforeOthers = 16;
constexpr int64_t kSkipsOfOthers = 256;

std::string BlockKey(std::string_view begin) { return std::string(1, kCountTable).append(begin); }

// What table `c` says of a block.
struct Record {
  int64_t keys = 0;
  int64_t dead = 0;
  Revision first = 0;
  Revision last = INT64_MAX;
};

bool Decode(std::string_view bytes, Record* record) {
  const auto take = [&](int64_t* number) {
    uint64_t taken = 0;
    if (!TakeVarint64(&bytes, &taken)) return false;
    *number = static_cast<int64_t>(taken);
    return true;
  };
  *record = Record();
  if (!take(&record->keys)) return false;
  if (!bytes.empty() && !take(&record->dead)) return false;
  if (!bytes.empty() && !(take(&record->first) && take(&record->last))) return false;
  return bytes.empty();
}

// How many keys of the block are live at `revision`, if its record shows that.
std::optional<int64_t> LiveAt(const Record& block, Revision revision) {
  if (block.last <= revision || RAFTKV_MUTANT("count-of-a-block-is-of-now")) return block.keys;
  if (block.first > revision) return 0;
  return std::nullopt;
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

// Counts the live keys of a part of a block. `others` are the other parts of the block, which has
// `live` keys in all. Walks the part and the others in turn, until one of the two ends. So a part
// that contains all keys of its block costs no more than one without keys.
std::optional<int64_t> CountPart(const View& view, KeyRange part, std::vector<KeyRange> others,
                                 int64_t live, Revision revision, Meter* meter) {
  VersionCursor cursor(view, std::move(part), revision, meter, VersionCursor::Charged::kNo);
  // The others may have many removed keys that the engine has to pass. Then only the part is walked.
  Meter meter_of_others({.steps_max = 2 * kBlockKeys}, kSkipsOfOthers);
  std::optional<VersionCursor> other;
  int64_t keys = 0;
  for (int walked = 0; cursor.NextOrDead(); ++walked) {
    if (cursor.head().exists()) ++keys;
    if (walked < kKeysBeforeOthers || meter_of_others.over()) continue;
    if (!meter->Step()) break;
    for (;; other.reset()) {
      if (!other) {
        if (others.empty()) return live;
        other.emplace(view, std::move(others.back()), revision, &meter_of_others);
        others.pop_back();
      }
      if (other->NextOrDead()) {
        if (other->head().exists()) --live;
        break;
      }
      if (meter_of_others.over()) break;
    }
  }
  if (meter->over()) return std::nullopt;
  return keys;
}

// The live keys of a range at one revision, by blocks.
struct ByBlocks {
  int64_t keys = 0;              // that were counted
  std::vector<KeyRange> others;  // whose keys must be walked
  int64_t size_of_others = 0;    // keys of the blocks of `others`, live and dead
};

// Nullopt if the meter is over. Charges local steps only.
std::optional<ByBlocks> CountBlocks(const ReadState& state, const KeyRange& range,
                                    Revision revision, Meter* meter) {
  const View& view = state.view;
  ByBlocks result;
  const auto walk_later = [&result](std::string_view begin, std::string_view end) {
    if (!result.others.empty() && result.others.back().end == begin) {
      result.others.back().end = end;
    } else {
      result.others.push_back({std::string(begin), std::string(end)});
    }
  };
  const std::unique_ptr<Iterator> it = view.NewIterator(TableEnd(kCountTable), meter->skips_left());
  // A view of an incomplete batch has forward iterators only. The first block is then not known if
  // it begins before the range.
  if (state.settled) it->SeekForPrev(BlockKey(range.begin));
  if (!state.settled || !it->valid() || it->key().front() != kCountTable) {
    it->Seek(BlockKey(range.begin));
  }
  if (!it->valid() || it->key().substr(1) > range.begin) {
    const std::string_view end = it->valid() ? it->key().substr(1) : std::string_view(range.end);
    walk_later(range.begin, std::min<std::string_view>(end, range.end));
  }
  Record block;
  for (std::string begin, end; it->valid() && it->key().substr(1) < range.end; begin.swap(end)) {
    if (begin.empty()) begin = it->key().substr(1);
    CHECK(Decode(it->value(), &block));
    if (!meter->Step(it->key().size())) return std::nullopt;
    it->Next();
    end = it->valid() ? std::string(it->key().substr(1)) : TableEnd(kVersionTable);
    const std::optional<int64_t> live = LiveAt(block, revision);
    const bool begins_before = begin < range.begin, ends_after = end > range.end;
    if (!live) {
      walk_later(std::max(begin, range.begin), std::min(end, range.end));
      result.size_of_others += block.keys + block.dead;
    } else if (*live == 0 || (!begins_before && !ends_after)) {
      result.keys += *live;
    } else {
      std::vector<KeyRange> others;
      if (begins_before) others.push_back({begin, range.begin});
      if (ends_after) others.push_back({range.end, end});
      const std::optional<int64_t> part =
          CountPart(view, {std::max(begin, range.begin), std::min(end, range.end)},
                    std::move(others), *live, revision, meter);
      if (!part) return std::nullopt;
      result.keys += *part;
    }
  }
  if (meter->over()) return std::nullopt;
  return result;
}

// Completes the count of CountBlocks.
std::optional<int64_t> CountOthers(const View& view, ByBlocks counted, Revision revision,
                                   Meter* meter) {
  for (KeyRange& range : counted.others) {
    const std::optional<int64_t> keys =
        Walk(view, std::move(range), revision, meter, VersionCursor::Charged::kNo);
    if (!keys) return std::nullopt;
    counted.keys += *keys;
  }
  return counted.keys;
}

std::optional<int64_t> CountNewest(const ReadState& state, const KeyRange& range, Meter* meter) {
  std::optional<ByBlocks> counted = CountBlocks(state, range, INT64_MAX, meter);
  if (!counted) return std::nullopt;
  return CountOthers(state.view, std::move(*counted), INT64_MAX, meter);
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
                       Record record;
                       if (key.size() < 2 || key[1] != kVersionTable || !Decode(value, &record)) {
                         return absl::DataLossError("state machine: a count of keys is damaged");
                       }
                       const Block block{.keys = record.keys,
                                         .dead = record.dead,
                                         .first = record.first,
                                         .last = record.last,
                                         .split_above = block_keys_};
                       const std::string first(key.substr(1));
                       blocks_[first] = block;
                       if (block.large()) large_.push_back(first);
                       return absl::OkStatus();
                     });
}

void Counts::Add(std::string_view prefix, Revision revision, int64_t keys, int64_t dead) {
  const auto next = std::next(found_);
  if (prefix < found_->first || (next != blocks_.end() && prefix >= next->first)) {
    found_ = std::prev(blocks_.upper_bound(prefix));
  }
  Block& block = found_->second;
  block.keys += keys;
  CHECK_GE(block.keys, 0) << "more keys were deleted than there were";
  block.dead = std::max<int64_t>(0, block.dead + dead);
  if (keys > 0) {
    block.key_bytes += prefix.size();
    block.first = std::min(block.first, revision);
  }
  if (keys != 0) block.last = revision;
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
    for (const int64_t number : {block.keys, block.dead, block.first, block.last}) {
      PutVarint64(&record, static_cast<uint64_t>(number));
    }
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
  Block stays{.last = 0};
  size_t bytes = 0;
  bool on_rest = false;  // the cursor is on the first key that does not stay
  while (cursor.NextOrDead()) {
    on_rest = stays.size() == keys_max || bytes > kSplitBytes;
    if (on_rest) break;
    bytes += cursor.prefix().size() + cursor.value().size();
    if (cursor.head().exists()) stays.key_bytes += cursor.prefix().size();
    ++(cursor.head().exists() ? stays.keys : stays.dead);
    stays.last = std::max(stays.last, cursor.head().exists() ? cursor.head().create_revision
                                                             : cursor.head().mod_revision);
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
  rest->second.first = block.first;
  rest->second.last = block.last;
  block.keys = stays.keys;
  block.dead = stays.dead;
  if (RAFTKV_MUTANT("split-forgets-old-keys")) block.first = stays.last;
  block.first = std::max(block.first, cursor.oldest());
  block.last = std::min(block.last, stays.last);
  block.key_bytes = 0;  // the part that stays is small enough
  block.split_above = block_keys_;
  Touch(it);
  Touch(rest);
  if (rest->second.large()) large_.push_back(rest->first);
  return true;
}

bool AddLiveKeys(std::string_view record, int64_t* keys) {
  Record block;
  if (!Decode(record, &block)) return false;
  *keys += block.keys;
  return true;
}

std::string AfterDeadBlocks(const View& view, const std::string& prefix, Revision revision,
                            Meter* meter) {
  const std::unique_ptr<Iterator> it = view.NewIterator(TableEnd(kCountTable), meter->skips_left());
  it->SeekForPrev(BlockKey(prefix));
  if (!it->valid() || it->key().front() != kCountTable) it->Seek(std::string(1, kCountTable));
  for (; it->valid(); it->Next()) {
    Record block;
    CHECK(Decode(it->value(), &block));
    if (LiveAt(block, revision) != 0) return std::max(prefix, std::string(it->key().substr(1)));
    if (!meter->Step(it->key().size())) return prefix;
  }
  return meter->over() ? prefix : TableEnd(kVersionTable);
}

std::optional<int64_t> CountLive(const ReadState& state, const KeyRange& range, Revision revision,
                                 Meter* meter) {
  if (range.begin >= range.end) return 0;
  using Charged = VersionCursor::Charged;
  if (IsOneKey(range)) return Walk(state.view, range, revision, meter, Charged::kNo);
  if (revision == state.revision || RAFTKV_MUTANT("count-of-the-past-is-of-now")) {
    const std::optional<int64_t> keys = CountNewest(state, range, meter);
    if (!keys || !meter->in_entry()) return keys;
    // Where blocks are cut is local, so the charge depends only on the number of keys.
    const int64_t block_keys = meter->rules().count_block_keys;
    if (!meter->Walk(std::min(*keys, block_keys + *keys / block_keys))) return std::nullopt;
    return keys;
  }
  if (meter->in_entry()) return Walk(state.view, range, revision, meter, Charged::kYes);
  std::optional<ByBlocks> counted = CountBlocks(state, range, revision, meter);
  if (!counted) return std::nullopt;
  // If there are fewer events since `revision` than keys to walk, count the keys at the newest
  // revision and subtract what these events changed. Each revision has an event.
  const int64_t events_max = std::min(meter->steps_left(), counted->size_of_others);
  if (state.revision - revision <= events_max) {
    const std::optional<int64_t> now = CountNewest(state, range, meter);
    if (!now) return std::nullopt;
    if (const auto growth = GrowthSince(state.view, range, revision, events_max, meter)) {
      return *now - *growth;
    }
    if (meter->over()) return std::nullopt;
  }
  return CountOthers(state.view, std::move(*counted), revision, meter);
}

}  // namespace raftkv::mvcc
