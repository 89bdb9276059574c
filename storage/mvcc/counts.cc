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

// A cut leaves so many keys in the block, dead ones too, and looks at one more.
constexpr int64_t kCutKeys = kBlockKeys / 2;
// Or so many that their values are this large together, since a walk reads those too.
constexpr size_t kCutBytes = 4 << 20;
// It passes no more than these that were removed and the engine still has to pass.
constexpr int64_t kCutSkips = 16'384;
constexpr int kCutsAfterBatch = 4;

std::string BlockKey(std::string_view begin) { return std::string(1, kCountTable).append(begin); }

bool DecodeBlock(std::string_view record, int64_t* keys, int64_t* dead) {
  uint64_t live = 0, rest = 0;
  if (!TakeVarint64(&record, &live)) return false;
  if (!record.empty() && !TakeVarint64(&record, &rest)) return false;
  *keys = static_cast<int64_t>(live);
  *dead = static_cast<int64_t>(rest);
  return record.empty();
}

std::optional<int64_t> Walk(const View& view, KeyRange range, Revision revision, Budget* budget) {
  VersionCursor cursor(view, std::move(range), revision, budget);
  int64_t keys = 0;
  while (cursor.Next()) ++keys;
  if (budget->over()) return std::nullopt;
  return keys;
}

std::optional<int64_t> CountNewest(const View& view, const KeyRange& range, Budget* budget) {
  const std::unique_ptr<Iterator> it = view.NewIterator(BlockKey(range.end), budget->skips_left());
  it->Seek(BlockKey(range.begin));
  if (!it->valid()) return Walk(view, range, INT64_MAX, budget);  // none if it is over
  const std::string first(it->key().substr(1));
  std::string last;
  int64_t keys = 0, keys_of_last = 0, dead = 0;
  for (; it->valid(); it->Next()) {
    if (!budget->Visit()) return std::nullopt;
    keys += keys_of_last;
    CHECK(DecodeBlock(it->value(), &keys_of_last, &dead));
    last.assign(it->key().substr(1));
  }
  const std::optional<int64_t> before = Walk(view, {range.begin, first}, INT64_MAX, budget);
  if (!before) return std::nullopt;
  // The last block ends beyond the range, unless neither ends at all.
  const std::optional<int64_t> after = range.end == TableEnd(kVersionTable)
                                           ? keys_of_last
                                           : Walk(view, {last, range.end}, INT64_MAX, budget);
  if (!after) return std::nullopt;
  return keys + *before + *after;
}

// By how much the count of the range grew after `revision`; none when more than `events_max` events
// lie between, or the budget is over.
std::optional<int64_t> GrowthSince(const View& view, const KeyRange& range, Revision revision,
                                   int64_t events_max, Budget* budget) {
  std::string begin, prefix;
  AppendEventKey({revision + 1, 0}, &begin);
  const std::unique_ptr<Iterator> it =
      view.NewIterator(TableEnd(kEventTable), budget->skips_left());
  int64_t growth = 0;
  for (it->Seek(begin); it->valid(); it->Next()) {
    if (--events_max < 0 || !budget->Visit()) return std::nullopt;
    const Event event = DecodeEvent(it->value());
    if (event.created == event.deleted) continue;
    prefix.clear();
    AppendVersionPrefix(event.key, &prefix);
    const std::string key = BeforeVersions(prefix);  // within the range if its versions are
    if (key < range.begin || key >= range.end) continue;
    growth += event.created ? 1 : -1;
  }
  if (budget->over()) return std::nullopt;
  return growth;
}

}  // namespace

Counts::Counts() : blocks_{{std::string(1, kVersionTable), Block()}} { found_ = blocks_.begin(); }

absl::Status Counts::Load(const Engine& engine) {
  if (RAFTKV_MUTANT("counts-forgotten-at-restart")) return absl::OkStatus();
  const std::string begin(1, kCountTable);
  return engine.Scan(begin, TableEnd(kCountTable),
                     [this](std::string_view key, std::string_view value) {
                       Block block;
                       if (key.size() < 2 || key[1] != kVersionTable ||
                           !DecodeBlock(value, &block.keys, &block.dead)) {
                         return absl::DataLossError("state machine: a count of keys is damaged");
                       }
                       const std::string first(key.substr(1));
                       blocks_[first] = block;
                       if (block.size() > block.cut_above) large_.push_back(first);
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
    if (block.size() > block.cut_above) large_.push_back(it->first);
  }
  changed_.clear();
}

void Counts::MaybeCut(const View& view, WriteBatch* batch) {
  CHECK(changed_.empty()) << "cuts are made of saved blocks";
  for (int cuts_left = kCutsAfterBatch; cuts_left > 0 && !large_.empty();) {
    const Blocks::iterator it = blocks_.find(large_.back());
    large_.pop_back();
    if (it == blocks_.end() || it->second.size() <= it->second.cut_above) continue;
    --cuts_left;

    const auto next = std::next(it);
    Budget budget({.visited_keys_max = kCutKeys + 1}, kCutSkips);
    VersionCursor cursor(view,
                         {it->first, next == blocks_.end() ? TableEnd(kVersionTable) : next->first},
                         INT64_MAX, &budget);
    Block& block = it->second;
    Block stays;
    size_t bytes = 0;
    bool on_rest = false;  // the cursor is on the first key after those that stay
    while (cursor.NextOrDead()) {
      on_rest = stays.size() == kCutKeys || bytes > kCutBytes;
      if (on_rest) break;
      bytes += cursor.value().size();
      ++(cursor.head().exists() ? stays.keys : stays.dead);
    }
    if (!on_rest) {  // among very many keys that were removed: not worth it yet
      block.cut_above = 2 * block.size();
      break;
    }
    CHECK_GE(block.keys, stays.keys) << "a block has more keys than were counted";
    const auto rest = blocks_.emplace_hint(next, cursor.prefix(), Block());
    rest->second.keys = block.keys - stays.keys;
    rest->second.dead = std::max<int64_t>(0, block.dead - stays.dead);
    block.keys = stays.keys;
    block.dead = stays.dead;
    block.cut_above = kBlockKeys;
    Touch(it);
    Touch(rest);
    if (rest->second.size() > kBlockKeys) large_.push_back(rest->first);
  }
  Save(batch);
}

std::optional<int64_t> CountLive(const View& view, const KeyRange& range, Revision revision,
                                 Revision newest, Budget* budget) {
  if (range.begin >= range.end) return 0;
  if (revision == newest || RAFTKV_MUTANT("count-of-the-past-is-of-now")) {
    if (!budget->charges_walks()) return CountNewest(view, range, budget);
    // Where blocks are cut is local, hence a charge that goes by the number of keys alone.
    Budget unlimited;
    const int64_t keys = *CountNewest(view, range, &unlimited);
    if (!budget->Walk(std::min(keys, kBlockKeys + keys / kBlockKeys))) return std::nullopt;
    return keys;
  }
  if (budget->charges_walks()) return Walk(view, range, revision, budget);
  // What the events since then changed, taken back, if they are fewer than the keys there are now;
  // or a walk through the past, which passes about as many.
  const int64_t visits = budget->visits_left();
  const std::optional<int64_t> now = CountNewest(view, range, budget);
  if (!now) return std::nullopt;
  const int64_t events_max = std::min(budget->visits_left(), *now);
  if (const auto growth = GrowthSince(view, range, revision, events_max, budget)) {
    return *now - *growth;
  }
  if (budget->over()) return std::nullopt;
  budget->PutBack(visits - budget->visits_left());
  return Walk(view, range, revision, budget);
}

}  // namespace raftkv::mvcc
