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
// A walk over this part of a block, 16 keys, costs about as much as a search for blocks.
constexpr int64_t kPartOfFew = 16;
// CountPart: what the walk of the others may cost, and how many deleted keys that the engine has
// not removed yet it may pass.
constexpr int64_t kStepsOfOthers = 2 * kBlockKeys;
constexpr int64_t kSkipsOfOthers = 256;
// The records of blocks are small and next to each other, so this number of them costs one step.
constexpr int64_t kBlocksOfStep = 4;

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
  if (charged == VersionCursor::Charged::kNo) cursor.ShowExistenceOnly();
  int64_t keys = 0;
  while (cursor.Next()) ++keys;
  if (meter->over()) return std::nullopt;
  return keys;
}

// Counts a range that has few keys, live and dead. Nullopt if it has more, or if the meter is over.
std::optional<int64_t> CountFew(const ReadState& state, const KeyRange& range, Revision revision,
                                Meter* meter) {
  const int64_t steps = std::min(state.block_keys / kPartOfFew, meter->steps_left());
  Meter few({.steps_max = steps}, kSkipsOfOthers);
  const auto keys = Walk(state.view, range, revision, &few, VersionCursor::Charged::kNo);
  return meter->Charge(steps - few.steps_left()) ? keys : std::nullopt;
}

// Counts the live keys of a part of a block. `others` are the other parts of the block, which has
// `live` keys in all. Walks the part and the others in turn, until one of the two ends. So a part
// that contains all keys of its block costs little, as one without keys does.
std::optional<int64_t> CountPart(const ReadState& state, KeyRange part,
                                 std::vector<KeyRange> others, int64_t live, Revision revision,
                                 Meter* meter) {
  const int64_t steps_of_few = state.block_keys / kPartOfFew;
  const int64_t steps_left = meter->steps_left();
  // The others may have many removed keys that the engine has to pass. Then only the part is
  // walked.
  Meter meter_of_others({.steps_max = std::min(kStepsOfOthers, steps_left)}, kSkipsOfOthers);
  int64_t steps_of_others = 0;
  std::optional<VersionCursor> other;
  VersionCursor cursor(state.view, std::move(part), revision, meter, VersionCursor::Charged::kNo);
  cursor.ShowExistenceOnly();
  int64_t keys = 0;
  while (cursor.NextOrDead()) {
    if (cursor.head().exists()) ++keys;
    const int64_t steps = steps_left - meter->steps_left() - steps_of_others;
    while (steps_of_others + steps_of_few < steps && !meter_of_others.over()) {
      if (!other) {
        if (others.empty()) return live;
        other.emplace(state.view, std::move(others.back()), revision, &meter_of_others);
        other->ShowExistenceOnly();
        others.pop_back();
      }
      const int64_t before = meter_of_others.steps_left();
      const bool on_key = other->NextOrDead();
      if (on_key && other->head().exists()) --live;
      if (!on_key && !meter_of_others.over()) other.reset();
      const int64_t taken = before - meter_of_others.steps_left();
      steps_of_others += taken;
      if (!meter->Charge(taken)) return std::nullopt;
    }
  }
  if (meter->over()) return std::nullopt;
  return keys;
}

// What the records of the blocks say of a range at one revision.
struct Blocks {
  int64_t keys = 0;               // live keys that were counted
  std::vector<KeyRange> parts;    // of blocks; nothing is known of these parts
  std::vector<KeyRange> unknown;  // whole blocks whose live keys are not known for the revision
  int64_t newest_of_unknown = 0;  // their live keys at the newest revision
  int64_t size_of_unknown = 0;    // their keys, live and dead
};

// Adds [begin, end) to the ranges, which are in order.
void Append(std::string_view begin, std::string_view end, std::vector<KeyRange>* ranges) {
  if (!ranges->empty() && ranges->back().end == begin) {
    ranges->back().end = end;
  } else {
    ranges->push_back({std::string(begin), std::string(end)});
  }
}

// Nullopt if the meter is over. Charges local steps only.
std::optional<Blocks> ReadBlocks(const ReadState& state, const KeyRange& range, Revision revision,
                                 Meter* meter) {
  const View& view = state.view;
  Blocks result;
  const std::unique_ptr<Iterator> it = view.NewIterator(TableEnd(kCountTable), meter->skips_left());
  // A view of an incomplete batch has forward iterators only. The first block is then not known if
  // it begins before the range.
  if (state.settled) it->SeekForPrev(BlockKey(range.begin));
  if (!state.settled || !it->valid() || it->key().front() != kCountTable) {
    it->Seek(BlockKey(range.begin));
  }
  std::string begin = it->valid() ? std::string(it->key().substr(1)) : TableEnd(kVersionTable);
  if (begin > range.begin) Append(range.begin, std::min(begin, range.end), &result.parts);
  int64_t blocks = 0;
  while (it->valid() && begin < range.end) {
    Record block;
    CHECK(Decode(it->value(), &block));
    meter->Bytes(it->key().size());
    if (++blocks % kBlocksOfStep == 0 && !meter->Step()) return std::nullopt;
    it->Next();
    if (meter->over()) return std::nullopt;
    std::string end = it->valid() ? std::string(it->key().substr(1)) : TableEnd(kVersionTable);
    const std::optional<int64_t> live = LiveAt(block, revision);
    const KeyRange part{std::max(begin, range.begin), std::min(end, range.end)};
    if (part.begin == begin && part.end == end) {
      if (live) {
        result.keys += *live;
      } else {
        Append(begin, end, &result.unknown);
        result.newest_of_unknown += block.keys;
        result.size_of_unknown += block.keys + block.dead;
      }
    } else if (!live) {
      Append(part.begin, part.end, &result.parts);
    } else if (*live > 0) {
      std::vector<KeyRange> others;
      if (begin < part.begin) others.push_back({begin, part.begin});
      if (part.end < end) others.push_back({part.end, end});
      const auto keys = CountPart(state, part, std::move(others), *live, revision, meter);
      if (!keys) return std::nullopt;
      result.keys += *keys;
    }
    begin = std::move(end);
  }
  if (meter->over()) return std::nullopt;
  return result;
}

// By how much the number of live keys of these ranges has grown since `revision`. Nullopt if there
// are more than `events_max` events since then, or if the meter is over.
std::optional<int64_t> GrowthSince(const View& view, const std::vector<KeyRange>& ranges,
                                   Revision revision, int64_t events_max, Meter* meter) {
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
    const std::string key = BeforeVersions(prefix);  // in a range if the key's versions are
    const auto after = std::upper_bound(
        ranges.begin(), ranges.end(), key,
        [](const std::string& k, const KeyRange& range) { return k < range.begin; });
    if (after == ranges.begin() || key >= std::prev(after)->end) continue;
    growth += event.created ? 1 : -1;
  }
  if (meter->over()) return std::nullopt;
  return growth;
}

// Charges local steps only.
std::optional<int64_t> Count(const ReadState& state, const KeyRange& range, Revision revision,
                             Meter* meter) {
  if (const auto few = CountFew(state, range, revision, meter)) return few;
  if (meter->over()) return std::nullopt;
  std::optional<Blocks> blocks = ReadBlocks(state, range, revision, meter);
  if (!blocks) return std::nullopt;
  int64_t keys = blocks->keys;
  const auto walk = [&](std::vector<KeyRange> ranges) {
    for (KeyRange& part : ranges) {
      const auto more =
          Walk(state.view, std::move(part), revision, meter, VersionCursor::Charged::kNo);
      if (!more) return false;
      keys += *more;
    }
    return true;
  };
  if (!walk(std::move(blocks->parts))) return std::nullopt;
  if (blocks->unknown.empty()) return keys;  // always so for the newest revision
  // If there are fewer events since `revision` than keys to walk, start from the newest count and
  // subtract what these events changed. Leave enough steps for the walk.
  const int64_t events_max = std::min(meter->steps_left() / 2, blocks->size_of_unknown);
  if (state.revision - revision <= events_max) {
    const auto growth = GrowthSince(state.view, blocks->unknown, revision, events_max, meter);
    if (growth) return keys + blocks->newest_of_unknown - *growth;
    if (meter->over()) return std::nullopt;
  }
  // Each key costs at least a step: do not begin a walk that cannot end.
  if (blocks->size_of_unknown > meter->steps_left()) meter->Charge(blocks->size_of_unknown);
  if (meter->over() || !walk(std::move(blocks->unknown))) return std::nullopt;
  return keys;
}

}  // namespace

Counts::Counts(int64_t block_keys, const ClusterVersion* version)
    : block_keys_(block_keys),
      version_(*version),
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
                                         // Earlier programs made larger blocks.
                                         .split_above = (record.first == 0 ? 4 : 1) * block_keys_};
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

void Counts::Touch(BlockMap::iterator block) {
  if (!block->second.changed) changed_.push_back(block);
  block->second.changed = true;
}

void Counts::Save(WriteBatch* batch) {
  std::string record;
  for (size_t i = 0; i < changed_.size(); ++i) {
    const BlockMap::iterator it = changed_[i];
    Block& block = it->second;
    block.changed = false;
    if (block.size() == 0 && it != blocks_.begin()) {
      if (block.first == 0) {  // then it may have dead keys that were not counted
        const auto before = std::prev(it);
        before->second.first = 0;
        before->second.last = std::max(before->second.last, block.last);
        Touch(before);
      }
      batch->Delete(BlockKey(it->first));
      if (found_ == it) found_ = blocks_.begin();
      blocks_.erase(it);
      continue;
    }
    record.clear();
    PutVarint64(&record, static_cast<uint64_t>(block.keys));
    PutVarint64(&record, static_cast<uint64_t>(block.dead));
    if (version_ >= kBlockRevisionsVersion) {
      PutVarint64(&record, static_cast<uint64_t>(block.first));
      PutVarint64(&record, static_cast<uint64_t>(block.last));
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
    const BlockMap::iterator it = blocks_.find(large_.back());
    large_.pop_back();
    if (it == blocks_.end() || !it->second.large()) continue;
    --splits_left;
    if (!Split(view, it, &bytes_left)) break;
  }
  Save(batch);
}

bool Counts::Split(const View& view, BlockMap::iterator it, size_t* bytes_left) {
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
  if (revision < state.revision && !RAFTKV_MUTANT("count-of-the-past-is-of-now")) {
    if (meter->in_entry()) return Walk(state.view, range, revision, meter, Charged::kYes);
    return Count(state, range, revision, meter);
  }
  const std::optional<int64_t> keys = Count(state, range, INT64_MAX, meter);
  if (!keys || !meter->in_entry()) return keys;
  // Where blocks are cut is local, so the charge depends only on the number of keys.
  const int64_t block_keys = meter->rules().count_block_keys;
  if (!meter->Walk(std::min(*keys, block_keys + *keys / block_keys))) return std::nullopt;
  return keys;
}

}  // namespace raftkv::mvcc
