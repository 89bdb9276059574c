#include "storage/log/log_store.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "storage/base/checksum.h"
#include "storage/base/mutant.h"

namespace raftkv {
namespace {

using raft::Entry;
using raft::EntryId;
using raft::Index;
using raft::Term;

constexpr char kEntryKind = 0;
constexpr char kStateKind = 1;
constexpr size_t kKeyBytes = 9;

constexpr uint32_t kEntryMagic = 0x474f4c52;  // "RLOG"
constexpr uint32_t kStateMagic = 0x54534c52;  // "RLST"
constexpr char kFormat = 1;

// Fields of an entry record, with their sizes in bytes: CRC of all that follows 4, magic 4, format
// 1, type 1, zeros 2, payload length 4, term 8, index 8, chain hash of the log before it 8,
// payload. A state record begins with the same 12 bytes (CRC to zeros), then has eleven 8-byte
// numbers. The first release wrote only ten.
constexpr size_t kPreambleBytes = 12;
constexpr size_t kHeaderBytes = 40;
constexpr size_t kOldStateBytes = kPreambleBytes + 10 * 8;
constexpr size_t kStateBytes = kOldStateBytes + 8;

std::string Key(Index index, char kind) {
  std::string key;
  key.reserve(kKeyBytes);
  PutBigEndian64(&key, index);
  key.push_back(kind);
  return key;
}

struct Record {
  EntryId id;
  raft::EntryType type;
  uint64_t chain_before;
  std::string_view payload;
};

void BeginRecord(uint32_t magic, char type, std::string* out) {
  out->assign(4, '\0');  // the CRC; set by SetCrc
  PutFixed32(out, magic);
  out->push_back(kFormat);
  out->push_back(type);
  out->append(2, '\0');
}

// `rest`: what follows `record`.
void SetCrc(std::string* record, std::string_view rest = {}) {
  std::string crc;
  PutFixed32(&crc, Crc32cAfter(Crc32c(std::string_view(*record).substr(4)), rest));
  record->replace(0, 4, crc);
}

// Whether the record is intact, but was written by a program that uses another format.
bool OfAnotherFormat(std::string_view record, uint32_t magic) {
  return record.size() > kPreambleBytes && Crc32c(record.substr(4)) == Fixed32(record.data()) &&
         Fixed32(record.data() + 4) == magic && record[8] != kFormat;
}

// Checks size, CRC, magic number and format. Returns what is wrong, or null.
const char* CheckPreamble(std::string_view record, size_t size_min, uint32_t magic) {
  if (record.size() < size_min) return "is too short";
  if (Crc32c(record.substr(4)) != Fixed32(record.data())) return "fails its checksum";
  if (Fixed32(record.data() + 4) != magic) return "has a wrong magic number";
  return record[8] == kFormat ? nullptr : "has an unknown format";
}

// The record of the entry without the payload, which follows it.
void EncodeHeader(const Entry& entry, uint64_t chain_before, std::string* out) {
  BeginRecord(kEntryMagic, static_cast<char>(entry.type), out);
  PutFixed32(out, static_cast<uint32_t>(entry.payload.size()));
  PutFixed64(out, entry.id.term);
  PutFixed64(out, entry.id.index);
  PutFixed64(out, chain_before);
  SetCrc(out, entry.payload.view());
}

// Returns what is wrong with the record, or null.
const char* DecodeEntry(std::string_view bytes, Record* record) {
  if (const char* wrong = CheckPreamble(bytes, kHeaderBytes, kEntryMagic)) return wrong;
  const char* p = bytes.data();
  if (Fixed32(p + 12) != bytes.size() - kHeaderBytes) return "has a wrong length";
  if (static_cast<uint8_t>(p[9]) > static_cast<uint8_t>(raft::EntryType::kConfiguration)) {
    return "has an unknown type";
  }
  record->type = static_cast<raft::EntryType>(p[9]);
  record->id = {.term = Fixed64(p + 16), .index = Fixed64(p + 24)};
  record->chain_before = Fixed64(p + 32);
  record->payload = bytes.substr(kHeaderBytes);
  return nullptr;
}

template <typename... Parts>
absl::Status Damaged(const Parts&... parts) {
  return absl::DataLossError(absl::StrCat("log: ", parts...));
}

}  // namespace

LogStore::LogStore(std::unique_ptr<Engine> engine, std::unique_ptr<Watermark> watermark)
    : engine_(std::move(engine)), watermark_(std::move(watermark)) {}

LogStore::~LogStore() = default;

absl::StatusOr<std::unique_ptr<LogStore>> LogStore::Open(std::unique_ptr<Engine> engine,
                                                         std::unique_ptr<Watermark> watermark) {
  std::unique_ptr<LogStore> log(new LogStore(std::move(engine), std::move(watermark)));
  if (absl::Status status = log->Load(); !status.ok()) return status;
  if (absl::Status status = log->CompareWithMark(); !status.ok()) return status;
  return log;
}

// Reads the state record, which has the largest key, and then each entry once, from the first index
// that the state record names. Each entry record must be intact and must follow the entry before
// it. The first entry must follow the base. The state record must describe exactly the entries that
// were read.
absl::Status LogStore::Load() {
  absl::StatusOr<std::optional<Engine::KeyValue>> newest = engine_->Last();
  if (!newest.ok()) return newest.status();
  if (!newest->has_value()) {
    ForgetBefore({});
    return absl::OkStatus();
  }
  const std::string& state = (*newest)->value;
  if ((*newest)->key.size() != kKeyBytes || (*newest)->key.back() != kStateKind) {
    return Damaged("does not end with a state record");
  }
  if (OfAnotherFormat(state, kStateMagic)) {
    return absl::FailedPreconditionError(absl::StrCat(
        "log: its format is ", static_cast<int>(state[8]), " and this program reads only ",
        static_cast<int>(kFormat), "; run the raftkv-server that wrote it, or a newer one"));
  }
  if (const char* wrong = CheckPreamble(state, kOldStateBytes, kStateMagic)) {
    return Damaged("the state record ", wrong);
  }
  Tip last;
  DecodeState(state, &last);
  ForgetBefore(base_);
  Tip tip = base_;
  const absl::Status status = engine_->Scan(
      Key(base_.id.index + 1, kEntryKind), {},
      [&](std::string_view key, std::string_view value) -> absl::Status {
        if (key.size() != kKeyBytes)
          return Damaged("holds an unexpected key of ", key.size(), " bytes");
        const Index index = BigEndian64(key.data());
        if (key.back() == kStateKind) return absl::OkStatus();
        if (key.back() != kEntryKind) {
          return Damaged("holds an unexpected key of kind ", static_cast<int>(key.back()));
        }
        Record record;
        if (const char* wrong = DecodeEntry(value, &record)) {
          return Damaged("entry ", index, " ", wrong);
        }
        if (record.id.index != index) {
          return Damaged("entry ", index, " holds entry ", record.id.index);
        }
        if (index != tip.id.index + 1) {
          return Damaged("entries ", tip.id.index + 1, " to ", index - 1, " are missing");
        }
        if (record.chain_before != tip.chain_hash || record.id.term < tip.id.term) {
          return Damaged("entry ", index, " does not follow entry ", tip.id.index);
        }
        tip = {record.id,
               raft::ChainAfter(record.chain_before, record.id, record.type, record.payload)};
        NoteTerm(index, record.id.term);
        NoteBytes(index, value.size());
        return absl::OkStatus();
      });
  if (!status.ok()) return status;
  if (last != tip) {
    return Damaged("ends at entry ", tip.id.index, " instead of ", last.id.index,
                   ", or its entries were altered");
  }
  last_ = tip;
  return absl::OkStatus();
}

// After a crash between a batch and its mark, the log is further than its mark. Then the mark is
// written now: from now on the member may acknowledge the whole log.
absl::Status LogStore::CompareWithMark() {
  if (watermark_ == nullptr) return absl::OkStatus();
  const Watermark::Mark& mark = watermark_->mark();
  if (last_.id < mark.last) {
    lost_ = {.first = std::min(last_index(), mark.last.index) + 1, .last = mark.last};
    if (RAFTKV_MUTANT("lost-end-not-noticed")) lost_.reset();
  } else if (base_.id.index <= mark.last.index && mark.last.index <= last_index() &&
             TermAt(mark.last.index) == mark.last.term &&
             ChainHash(mark.last.index) != mark.chain_hash) {
    return Damaged("the entries up to ", mark.last.index,
                   " differ from the saved ones (see WATERMARK)");
  }
  if (absl::Status s = AdoptHardState(mark); !s.ok()) return s;
  if (last_.id > mark.last || hard_state_.current_term != mark.term ||
      hard_state_.voted_for != mark.vote) {
    RecordMark(/*sync=*/true);
  }
  return absl::OkStatus();
}

// The mark is written after the batch, so a newer term or vote in the mark was saved.
absl::Status LogStore::AdoptHardState(const Watermark::Mark& mark) {
  if (hard_state_.current_term > mark.term) return absl::OkStatus();
  if (hard_state_.current_term < mark.term) {
    hard_state_.current_term = mark.term;
    hard_state_.voted_for = mark.vote;
    reached_index_ = 0;
  } else if (hard_state_.voted_for == raft::kNobody) {
    hard_state_.voted_for = mark.vote;
  } else if (mark.vote != raft::kNobody && hard_state_.voted_for != mark.vote) {
    return Damaged("the vote of term ", mark.term, " is not the saved one (see WATERMARK)");
  }
  reached_index_ = std::max({reached_index_, mark.reached, last_index()});
  return absl::OkStatus();
}

void LogStore::Save(const std::optional<raft::HardState>& hard_state,
                    const std::vector<Entry>& entries) {
  if (!hard_state && entries.empty()) return;
  bool term_or_vote_changed = false;
  if (hard_state) {
    CHECK_GE(hard_state->current_term, hard_state_.current_term);
    if (hard_state->current_term != hard_state_.current_term) reached_index_ = 0;
    term_or_vote_changed = hard_state->current_term != hard_state_.current_term ||
                           hard_state->voted_for != hard_state_.voted_for;
    if (RAFTKV_MUTANT("vote-saved-before-term") && term_or_vote_changed) {
      hard_state_.voted_for = hard_state->voted_for;
      batch_.Clear();
      WriteState();
    }
    hard_state_ = *hard_state;
  }
  batch_.Clear();
  Tip tip = last_;
  if (!entries.empty()) {
    const Index first = entries.front().id.index;
    CHECK_GE(first, first_index());
    CHECK_LE(first, last_index() + 1);
    if (first <= last_index()) {
      tip = {{TermAt(first - 1), first - 1}, ChainHash(first - 1)};
      // Lower the watermark before the truncation is written. If it stayed high and the power
      // failed after the truncation, an intact log would look damaged.
      LowerWatermark(first - 1);
      ForgetAfter(first - 1);
      for (Index index = entries.back().id.index + 1;
           index <= last_index() && !RAFTKV_MUTANT("truncation-keeps-tail"); ++index) {
        batch_.Delete(Key(index, kEntryKind));
        batch_.Delete(Key(index, kStateKind));
      }
    }
    std::string header;
    for (const Entry& entry : entries) {
      CHECK_EQ(entry.id.index, tip.id.index + 1);
      CHECK_GE(entry.id.term, tip.id.term);
      EncodeHeader(entry, tip.chain_hash, &header);
      batch_.Put(Key(entry.id.index, kEntryKind), header, entry.payload.view());
      NoteBytes(entry.id.index, header.size() + entry.payload.size());
      tip = {entry.id, raft::ChainAfter(tip.chain_hash, entry)};
      NoteTerm(entry.id.index, entry.id.term);
    }
    last_ = tip;
  }
  reached_index_ = std::max(reached_index_, last_index());
  WriteState();
  RecordMark(/*sync=*/term_or_vote_changed);
}

bool LogStore::ContinueAfter(const EntryId& applied) {
  const bool contained = applied.index >= base_.id.index && applied.index <= last_index() &&
                         TermAt(applied.index) == applied.term;
  const bool marked = watermark_ != nullptr && watermark_->mark().last == applied;
  if (!contained && !marked) return false;
  // After a power failure the mark may be older than what was acknowledged last. So it does not
  // suffice that the log comes as far as the mark. Saved with the next batch.
  if (!RAFTKV_MUTANT("votes-at-the-mark")) may_vote_ = false;
  if (!contained) Reset({applied, watermark_->mark().chain_hash});
  return true;
}

void LogStore::AllowVoting() {
  if (may_vote_) return;
  may_vote_ = true;
  batch_.Clear();
  WriteState();
}

void LogStore::WriteState() {
  batch_.Put(Key(last_.id.index, kStateKind), EncodeState());
  engine_->Write(batch_, /*sync=*/!RAFTKV_MUTANT("saves-are-not-synced"));
  ++synced_batches_;
}

void LogStore::RecordMark(bool sync) {
  if (watermark_ == nullptr) return;
  Watermark::Mark mark = watermark_->mark();
  mark.term = hard_state_.current_term;
  mark.vote = hard_state_.voted_for;
  mark.reached = reached_index_;
  if (lost_ && last_.id >= lost_->last) {
    lost_.reset();
    sync = true;
  }
  // While entries are lost, the mark says how far the log must come.
  if (!lost_ || RAFTKV_MUTANT("mark-follows-a-lost-end")) {
    mark.first_index = first_index();
    mark.last = last_.id;
    mark.chain_hash = last_.chain_hash;
  }
  watermark_->Record(mark, sync);
}

void LogStore::LowerWatermark(Index last) {
  if (watermark_ == nullptr || lost_ || watermark_->mark().last.index <= last) return;
  Watermark::Mark mark = watermark_->mark();
  mark.last = {TermAt(last), last};
  mark.chain_hash = ChainHash(last);
  watermark_->Record(mark, /*sync=*/true);
}

void LogStore::Cut(Index first) {
  if (first <= first_index()) return;
  CHECK_LE(first, last_index() + 1);
  base_ = {{TermAt(first - 1), first - 1}, ChainHash(first - 1)};
  batch_.Clear();
  WriteState();
  ForgetBefore(base_);
  engine_->Drop(Key(base_.id.index, kStateKind));
  RecordMark(/*sync=*/false);
}

void LogStore::Reset(const Tip& base) {
  CHECK_GE(base.id.index, first_index());
  // The mark is lowered first, as before a truncation. It is then valid for the old log and for the
  // new one.
  LowerWatermark(base_.id.index);
  batch_.Clear();
  if (last_index() > base.id.index && !RAFTKV_MUTANT("reset-keeps-old-entries")) {
    batch_.DeleteRange(Key(base.id.index + 1, kEntryKind), Key(last_index() + 1, kEntryKind));
  }
  if (hard_state_.current_term < base.id.term) {
    hard_state_ = {.current_term = base.id.term, .voted_for = raft::kNobody, .commit_index = 0};
    reached_index_ = 0;
  }
  reached_index_ = std::max(reached_index_, base.id.index);
  hard_state_.commit_index = base.id.index;
  base_ = last_ = base;
  terms_.clear();
  sizes_.clear();
  ForgetBefore(base_);
  WriteState();
  engine_->Drop(Key(base_.id.index, kStateKind));
  RecordMark(/*sync=*/true);
}

bool LogStore::Contains(const Tip& tip) const {
  return tip.id.index >= base_.id.index && tip.id.index <= last_index() &&
         TermAt(tip.id.index) == tip.id.term && ChainHash(tip.id.index) == tip.chain_hash;
}

uint64_t LogStore::BytesFrom(Index first) const {
  const auto after = std::upper_bound(sizes_.begin(), sizes_.end(), first - 1,
                                      [](Index i, const SizeMark& m) { return i < m.last; });
  return bytes_ - (after == sizes_.begin() ? after->bytes : std::prev(after)->bytes);
}

Index LogStore::FirstWithin(uint64_t bytes_max) const {
  const auto mark = std::partition_point(sizes_.begin(), sizes_.end(), [&](const SizeMark& m) {
    return bytes_ - m.bytes > bytes_max;
  });
  return mark == sizes_.end() ? last_index() : std::min(mark->last + 1, last_index());
}

Term LogStore::TermAt(Index index) const {
  CHECK_GE(index, base_.id.index);
  CHECK_LE(index, last_index());
  const auto run = std::upper_bound(terms_.begin(), terms_.end(), index,
                                    [](Index i, const TermRun& r) { return i < r.first; });
  return std::prev(run)->term;
}

std::vector<Entry> LogStore::Entries(Index first, Index last, size_t bytes_max) const {
  CHECK_GE(first, first_index());
  CHECK_LE(last, last_index());
  std::vector<Entry> entries;
  if (first > last) return entries;
  size_t bytes = 0;
  const std::unique_ptr<Iterator> it = engine_->NewIterator(Key(last, kStateKind));
  for (it->Seek(Key(first, kEntryKind)); it->valid(); it->Next()) {
    if (it->key().back() == kStateKind) continue;
    Record record;
    const char* wrong = DecodeEntry(it->value(), &record);
    CHECK(wrong == nullptr) << "log: entry " << first + entries.size() << " " << wrong;
    Entry entry{record.id, record.type, raft::Payload(std::string(record.payload))};
    CHECK_EQ(entry.id.index, first + entries.size());
    bytes += raft::EntryBytes(entry);
    if (!entries.empty() && bytes > bytes_max) return entries;
    entries.push_back(std::move(entry));
  }
  CHECK_EQ(entries.size(), last - first + 1) << "log: entries disappeared while running";
  return entries;
}

uint64_t LogStore::ChainHash(Index index) const {
  CHECK_GE(index, base_.id.index);
  CHECK_LE(index, last_index());
  if (index == last_.id.index) return last_.chain_hash;
  if (index == base_.id.index) return base_.chain_hash;
  Record record;
  const std::string bytes = ReadRecord(index + 1);
  const char* wrong = DecodeEntry(bytes, &record);
  CHECK(wrong == nullptr) << "log: entry " << index + 1 << " " << wrong;
  return record.chain_before;
}

std::string LogStore::ReadRecord(Index index) const {
  std::optional<std::string> bytes = engine_->Get(Key(index, kEntryKind));
  CHECK(bytes.has_value()) << "log: entry " << index << " disappeared while running";
  return *std::move(bytes);
}

void LogStore::NoteTerm(Index index, Term term) {
  if (terms_.empty() || terms_.back().term != term) terms_.push_back({index, term});
}

void LogStore::NoteBytes(Index index, size_t bytes) {
  bytes_ += bytes;
  if (bytes_ - sizes_.back().bytes >= kSizeStep) sizes_.push_back({index, bytes_});
}

// Removes from memory what is known about entries before the base.
void LogStore::ForgetBefore(const Tip& base) {
  if (terms_.empty()) terms_.push_back({base.id.index, base.id.term});
  const auto run = std::upper_bound(terms_.begin(), terms_.end(), base.id.index,
                                    [](Index index, const TermRun& r) { return index < r.first; });
  terms_.erase(terms_.begin(), std::prev(run));
  terms_.front().first = base.id.index;
  while (sizes_.size() > 1 && sizes_[1].last <= base.id.index) sizes_.pop_front();
  if (sizes_.empty()) sizes_.push_back({base.id.index, bytes_});
  sizes_.front().last = base.id.index;
}

void LogStore::ForgetAfter(Index last) {
  while (terms_.back().first > last) terms_.pop_back();
  while (sizes_.back().last > last) sizes_.pop_back();
  bytes_ = sizes_.back().bytes;
}

std::string LogStore::EncodeState() const {
  std::string out;
  BeginRecord(kStateMagic, 0, &out);
  for (uint64_t v :
       {hard_state_.current_term, hard_state_.voted_for, hard_state_.commit_index,
        static_cast<uint64_t>(may_vote_), base_.id.term, base_.id.index, base_.chain_hash,
        last_.id.term, last_.id.index, last_.chain_hash, reached_index_}) {
    PutFixed64(&out, v);
  }
  SetCrc(&out);
  return out;
}

void LogStore::DecodeState(std::string_view record, Tip* last) {
  const char* p = record.data() + kPreambleBytes;
  uint64_t may_vote = 0;
  for (uint64_t* v : {&hard_state_.current_term, &hard_state_.voted_for, &hard_state_.commit_index,
                      &may_vote, &base_.id.term, &base_.id.index, &base_.chain_hash, &last->id.term,
                      &last->id.index, &last->chain_hash}) {
    *v = Fixed64(p);
    p += 8;
  }
  may_vote_ = may_vote != 0;
  reached_index_ = record.size() < kStateBytes ? last->id.index : Fixed64(p);
}

}  // namespace raftkv
