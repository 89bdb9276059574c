#include "storage/engine/rocks_engine.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <limits>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "glog/logging.h"
#include "rocksdb/cache.h"
#include "rocksdb/convenience.h"
#include "rocksdb/db.h"
#include "rocksdb/env.h"
#include "rocksdb/file_system.h"
#include "rocksdb/filter_policy.h"
#include "rocksdb/listener.h"
#include "rocksdb/options.h"
#include "rocksdb/perf_context.h"
#include "rocksdb/rate_limiter.h"
#include "rocksdb/slice_transform.h"
#include "rocksdb/table.h"
#include "rocksdb/utilities/checkpoint.h"
#include "rocksdb/utilities/table_properties_collectors.h"
#include "rocksdb/write_batch.h"
#include "storage/engine/rocks_env.h"
#include "storage/engine/rocks_failure.h"
#include "storage/engine/rocks_reclaim.h"
#include "storage/engine/rocks_usage.h"

namespace raftkv {
namespace {

constexpr int kNoSpaceLogSeconds = 60;
constexpr uint64_t kBlobMin = 4 << 10;  // smaller values are in the table files

rocksdb::Slice ToSlice(std::string_view s) { return {s.data(), s.size()}; }
std::string_view ToView(const rocksdb::Slice& s) { return {s.data(), s.size()}; }

// Records the end of each flush. At a background error it ends the process, before RocksDB tries to
// recover by itself.
class Listener final : public rocksdb::EventListener {
 public:
  explicit Listener(std::string dir) : dir_(std::move(dir)) {}
  void SetWhenFull(std::shared_ptr<WhenFull> when_full) { when_full_ = std::move(when_full); }
  const std::shared_ptr<WhenFull>& when_full() const { return when_full_; }

  WriteStalls& stalls() { return stalls_; }

  void OnStallConditionsChanged(const rocksdb::WriteStallInfo&) override { stalls_.OnChange(); }
  void OnFlushBegin(rocksdb::DB*, const rocksdb::FlushJobInfo&) override {
    WhenFull::OnOtherWork();
  }
  void OnCompactionBegin(rocksdb::DB*, const rocksdb::CompactionJobInfo& info) override {
    const bool manual = info.compaction_reason == rocksdb::CompactionReason::kManualCompaction;
    if (when_full_ != nullptr) when_full_->BeginCompaction(manual);
  }
  void OnCompactionCompleted(rocksdb::DB*, const rocksdb::CompactionJobInfo& info) override {
    if (when_full_ != nullptr) when_full_->EndCompaction(info.status.ok());
    absl::MutexLock lock(&mutex_);
    if (reclaimer_ != nullptr) reclaimer_->OnCompaction();
  }

  // RocksDB calls it after the file is synced and recorded in the manifest. There is one flush
  // thread, so the files complete in the order of the writes.
  void OnFlushCompleted(rocksdb::DB*, const rocksdb::FlushJobInfo& info) override {
    OnFlushed(info.largest_seqno);
    uint64_t bytes = info.table_properties.data_size;
    for (const auto& blob : info.blob_file_addition_infos) bytes += blob.total_blob_bytes;
    absl::MutexLock lock(&mutex_);
    if (reclaimer_ != nullptr) reclaimer_->OnFlush(bytes);
  }
  void OnBackgroundError(rocksdb::BackgroundErrorReason reason, rocksdb::Status* status) override {
    if (status->IsCorruption()) StopOnDamage(dir_, *status, /*note=*/true);
    if (status->IsNoSpace() && ChangesNothing(reason)) {
      LOG_EVERY_T(WARNING, kNoSpaceLogSeconds)
          << dir_ << ": short of disk space: a flush or compaction is repeated later";
      *status = rocksdb::Status::OK();  // go on
      // Nobody waits for a compaction: it is only left for later.
      if (reason != rocksdb::BackgroundErrorReason::kCompaction) LeaveForLater();
      return;
    }
    // Closing ended the wait of a write for space. What it would have written is in the log.
    if (status->IsNoSpace() && when_full_ != nullptr && when_full_->closed()) return;
    StopOnFailure(dir_, "a background job", *status);
  }

  // Called when a write waits for space, too.
  void LeaveForLater() {
    absl::MutexLock lock(&mutex_);
    ++repeats_;
  }
  void OnWait() {
    LOG_EVERY_T(WARNING, kNoSpaceLogSeconds)
        << dir_ << ": the disk is full: a write waits until there is space on this volume";
    LeaveForLater();
  }

  // Is told about flushes and compactions, until Close.
  void SetReclaimer(Reclaimer* reclaimer) {
    absl::MutexLock lock(&mutex_);
    reclaimer_ = reclaimer;
  }
  // While the database closes, RocksDB drops flushes and reports nothing: AwaitFlush ends.
  void Close() {
    absl::MutexLock lock(&mutex_);
    reclaimer_ = nullptr;
    closed_ = true;
  }

  // Everything up to `sequence` is durable.
  void Raise(uint64_t sequence) {
    absl::MutexLock lock(&mutex_);
    if (sequence > survived_.load()) survived_.store(sequence);
  }
  uint64_t survived() const { return survived_.load(); }
  // Everything up to `sequence` is in files, and durable.
  void OnFlushed(uint64_t sequence) {
    Raise(sequence);
    absl::MutexLock lock(&mutex_);
    flushed_ = std::max(flushed_, sequence);
  }

  // How often a flush was left for later, or a write waited for space.
  uint64_t repeats() {
    absl::MutexLock lock(&mutex_);
    return repeats_;
  }
  // Waits until everything up to `position` is flushed. False: one more was left for later.
  // RocksDB itself would wait until a later flush succeeds.
  bool AwaitFlush(uint64_t position, uint64_t repeats) {
    absl::MutexLock lock(&mutex_);
    const auto over = [&]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
      return flushed_ >= position || repeats_ > repeats || closed_;
    };
    mutex_.Await(absl::Condition(&over));
    return flushed_ >= position;
  }

 private:
  // A flush or compaction whose new file does not fit keeps what it read, and removes the file.
  // RocksDB repeats a compaction; a flush is repeated when the next one starts.
  static bool ChangesNothing(rocksdb::BackgroundErrorReason reason) {
    using Reason = rocksdb::BackgroundErrorReason;
    return reason == Reason::kFlush || reason == Reason::kFlushNoWAL ||
           reason == Reason::kCompaction;
  }

  const std::string dir_;
  std::shared_ptr<WhenFull> when_full_;
  WriteStalls stalls_;
  absl::Mutex mutex_;  // held while one of the next members changes
  std::atomic<uint64_t> survived_{0};
  uint64_t flushed_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t repeats_ ABSL_GUARDED_BY(mutex_) = 0;
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  Reclaimer* reclaimer_ ABSL_GUARDED_BY(mutex_) = nullptr;
};

// Passes a KeyPrefix to RocksDB. RocksDB applies that of the filters to the bounds of ranges, too.
// If both bounds have the same prefix, it assumes that the whole range is within that prefix. So a
// key without a prefix must be outside the domain.
class Prefixes final : public rocksdb::SliceTransform {
 public:
  // RocksDB stores the name of the filters' prefixes in each file. It reads files with another name
  // without their filter, so the name must change if the prefixes change.
  Prefixes(KeyPrefix prefix_of, const char* name) : prefix_of_(prefix_of), name_(name) {}
  const char* Name() const override { return name_; }
  bool InDomain(const rocksdb::Slice& key) const override {
    return !prefix_of_(ToView(key)).empty();
  }
  rocksdb::Slice Transform(const rocksdb::Slice& key) const override {
    return ToSlice(prefix_of_(ToView(key)));
  }

 private:
  const KeyPrefix prefix_of_;
  const char* const name_;
};

// The open database. Views and iterators share it, so it stays open until the last of them is gone.
struct Database {
  std::string dir;
  std::shared_ptr<void> held;  // before `db`, so that it is released after it
  std::unique_ptr<rocksdb::Env> env;
  std::unique_ptr<rocksdb::DB> db;
  bool read_only = false;
};

void CheckRead(const Database& database, const rocksdb::Status& status) {
  if (status.ok()) return;
  if (status.IsCorruption()) StopOnDamage(database.dir, status, /*note=*/!database.read_only);
  StopOnFailure(database.dir, "a read", status);
}

class RocksIterator final : public Iterator {
 public:
  RocksIterator(std::shared_ptr<const Database> database, const rocksdb::Snapshot* snapshot,
                std::shared_ptr<const View> pin, std::string_view upper, int64_t* skips_left)
      : database_(std::move(database)),
        pin_(std::move(pin)),
        upper_(upper),
        bound_(upper_),
        skips_left_(skips_left) {
    rocksdb::ReadOptions options;
    options.snapshot = snapshot;
    options.auto_prefix_mode = true;  // use the filter if both bounds have the same prefix
    if (!upper_.empty()) options.iterate_upper_bound = &bound_;
    // RocksDB limits the skipped keys of one move; Move() counts them over all moves.
    if (skips_left != nullptr) {
      options.max_skippable_internal_keys =
          static_cast<uint64_t>(std::max<int64_t>(*skips_left, 1));
    }
    it_.reset(database_->db->NewIterator(options));
  }

  void Seek(std::string_view key) override {
    Move([&] { it_->Seek(ToSlice(key)); });
  }
  void SeekForPrev(std::string_view key) override {
    Move([&] { it_->SeekForPrev(ToSlice(key)); });
  }
  void Next() override {
    Move([&] { it_->Next(); });
  }
  void Prev() override {
    Move([&] { it_->Prev(); });
  }
  bool valid() const override {
    return it_->Valid() && (skips_left_ == nullptr || *skips_left_ >= 0);
  }
  std::string_view key() const override { return ToView(it_->key()); }
  std::string_view value() const override { return ToView(it_->value()); }

 private:
  template <typename Step>
  void Move(Step step) {
    if (skips_left_ == nullptr) {
      step();
    } else {
      // RocksDB counts per thread, and does so by default.
      const uint64_t& skipped = rocksdb::get_perf_context()->internal_delete_skipped_count;
      const uint64_t before = skipped;
      step();
      *skips_left_ -= static_cast<int64_t>(skipped - before);
    }
    // At damage, or after too many deleted keys, RocksDB's iterator becomes invalid as at the end;
    // only its status shows why.
    if (it_->Valid() || it_->status().ok()) return;
    if (!it_->status().IsIncomplete()) return CheckRead(*database_, it_->status());
    CHECK(skips_left_ != nullptr) << database_->dir << ": " << it_->status().ToString();
    *skips_left_ = -1;
  }

  const std::shared_ptr<const Database> database_;
  const std::shared_ptr<const View> pin_;  // holds the snapshot, if there is one
  const std::string upper_;
  const rocksdb::Slice bound_;
  int64_t* const skips_left_;
  std::unique_ptr<rocksdb::Iterator> it_;
};

std::optional<std::string> GetFrom(const Database& database, const rocksdb::Snapshot* snapshot,
                                   std::string_view key) {
  rocksdb::ReadOptions options;
  options.snapshot = snapshot;
  std::string value;
  const rocksdb::Status status = database.db->Get(options, ToSlice(key), &value);
  if (status.IsNotFound()) return std::nullopt;
  CheckRead(database, status);
  return value;
}

class RocksView final : public View, public std::enable_shared_from_this<RocksView> {
 public:
  explicit RocksView(std::shared_ptr<const Database> database)
      : database_(std::move(database)), snapshot_(database_->db->GetSnapshot()) {}
  ~RocksView() override { database_->db->ReleaseSnapshot(snapshot_); }

  std::optional<std::string> Get(std::string_view key) const override {
    return GetFrom(*database_, snapshot_, key);
  }
  std::unique_ptr<Iterator> NewIterator(std::string_view upper,
                                        int64_t* skips_left) const override {
    return std::make_unique<RocksIterator>(database_, snapshot_, shared_from_this(), upper,
                                           skips_left);
  }

 private:
  const std::shared_ptr<const Database> database_;
  const rocksdb::Snapshot* const snapshot_;
};

// Engine::Scan.
absl::Status ScanRocks(rocksdb::DB& db, const std::string& dir, std::string_view begin,
                       std::string_view end, const Engine::Visitor& visit) {
  rocksdb::ReadOptions options;
  options.total_order_seek = true;
  options.fill_cache = false;
  options.readahead_size = 1 << 20;
  const rocksdb::Slice bound = ToSlice(end);
  if (!end.empty()) options.iterate_upper_bound = &bound;
  const std::unique_ptr<rocksdb::Iterator> it(db.NewIterator(options));
  for (it->Seek(ToSlice(begin)); it->Valid(); it->Next()) {
    absl::Status status = visit(ToView(it->key()), ToView(it->value()));
    if (!status.ok()) return status;
  }
  if (it->status().ok()) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat(dir, ": ", it->status().ToString()));
}

class RocksEngine final : public Engine {
 public:
  RocksEngine(std::shared_ptr<const Database> database, std::shared_ptr<Listener> listener,
              Durability durability, uint64_t write_buffer)
      : database_(std::move(database)),
        listener_(std::move(listener)),
        durability_(durability),
        db_(*database_->db) {
    listener_->OnFlushed(db_.GetLatestSequenceNumber());
    if (database_->read_only || durability_ == Durability::kSynced) return;
    reclaimer_ = std::make_unique<Reclaimer>(
        &db_, Reclaimer::Options{.dir = database_->dir,
                                 .unit = 8 * write_buffer,
                                 .small = write_buffer / 16,
                                 .flush = [this] { return FlushUnlessFull(); },
                                 .when_full = listener_->when_full()});
    listener_->SetReclaimer(reclaimer_.get());
  }
  ~RocksEngine() override {
    if (listener_->when_full() != nullptr) listener_->when_full()->Close();
    listener_->Close();
  }

  void Write(const WriteBatch& batch, bool sync) override {
    CHECK(!sync || durability_ == Durability::kSynced);
    if (batch.empty() || database_->read_only) return;
    rocksdb::WriteBatch out(batch.bytes() + 16 * batch.size() + 16);
    for (size_t i = 0; i < batch.size(); ++i) {
      const WriteBatch::Op op = batch.op(i);
      rocksdb::Status status;
      switch (op.kind) {
        case WriteBatch::Kind::kPut:
          status = out.Put(ToSlice(op.key), ToSlice(op.value));
          break;
        case WriteBatch::Kind::kDelete:
          status = out.Delete(ToSlice(op.key));
          break;
        case WriteBatch::Kind::kDeleteRange:
          status = out.DeleteRange(ToSlice(op.key), ToSlice(op.value));
          break;
      }
      CHECK(status.ok()) << status.ToString();
    }
    rocksdb::WriteOptions options;
    options.sync = sync;
    options.disableWAL = durability_ == Durability::kFlushed;
    const rocksdb::Status status = db_.Write(options, &out);
    if (!status.ok()) StopOnFailure(database_->dir, "a write", status);
    if (sync) listener_->Raise(db_.GetLatestSequenceNumber());
  }

  std::optional<std::string> Get(std::string_view key) const override {
    return GetFrom(*database_, nullptr, key);
  }
  std::unique_ptr<Iterator> NewIterator(std::string_view upper,
                                        int64_t* skips_left) const override {
    return std::make_unique<RocksIterator>(database_, nullptr, nullptr, upper, skips_left);
  }
  std::shared_ptr<const View> NewView() const override {
    return std::make_shared<RocksView>(database_);
  }

  absl::Status Scan(std::string_view begin, std::string_view end,
                    const Visitor& visit) const override {
    return ScanRocks(db_, database_->dir, begin, end, visit);
  }

  absl::StatusOr<std::optional<KeyValue>> Last() const override {
    rocksdb::ReadOptions options;
    options.total_order_seek = true;
    const std::unique_ptr<rocksdb::Iterator> it(db_.NewIterator(options));
    it->SeekToLast();
    if (it->Valid()) return KeyValue{it->key().ToString(), it->value().ToString()};
    if (it->status().ok()) return std::nullopt;
    return absl::DataLossError(absl::StrCat(database_->dir, ": ", it->status().ToString()));
  }

  // Removes the files that contain only keys before `end`. Writes no deletions for the keys in
  // other files: in a log, those files soon contain only such keys, too, and a later call removes
  // them.
  void Drop(std::string_view end) override {
    if (database_->read_only) return;
    const rocksdb::Slice begin, bound = ToSlice(end);
    const rocksdb::Status status = rocksdb::DeleteFilesInRange(
        &db_, db_.DefaultColumnFamily(), &begin, &bound, /*include_end=*/false);
    if (!status.ok()) StopOnFailure(database_->dir, "removing old files", status);
  }

  uint64_t written() const override { return db_.GetLatestSequenceNumber(); }
  uint64_t survived() const override { return listener_->survived(); }

  void Flush() override { FlushUnlessFull(); }
  void StartFlush() override {
    rocksdb::FlushOptions options;
    options.wait = false;
    options.allow_write_stall = true;  // otherwise Flush waits for compactions even without `wait`
    const rocksdb::Status status = db_.Flush(options);
    if (status.IsTryAgain()) return listener_->LeaveForLater();  // writes are stopped
    if (!status.ok() && !status.IsNoSpace()) StopOnFailure(database_->dir, "a flush", status);
  }

  void StartReclaim() override {
    if (reclaimer_ != nullptr) reclaimer_->Start();
  }

  absl::Status Checkpoint(const std::string& dir) override {
    if (!FlushUnlessFull()) return absl::UnavailableError(dir + ": the disk is full or too slow");
    rocksdb::Checkpoint* checkpoint = nullptr;
    rocksdb::Status status = rocksdb::Checkpoint::Create(&db_, &checkpoint);
    const std::unique_ptr<rocksdb::Checkpoint> owned(checkpoint);
    // 0: flush first. With any other number, what is not flushed would be missing, because there is
    // no write-ahead log (docs/decisions/0012).
    if (status.ok()) status = checkpoint->CreateCheckpoint(dir, /*log_size_for_flush=*/0);
    if (status.ok()) return absl::OkStatus();
    return absl::UnavailableError(absl::StrCat(dir, ": ", status.ToString()));
  }

  uint64_t DiskBytes() const override {
    uint64_t files = 0, blobs = 0, memory = 0;
    db_.GetIntProperty(rocksdb::DB::Properties::kTotalSstFilesSize, &files);
    db_.GetIntProperty(rocksdb::DB::Properties::kTotalBlobFileSize, &blobs);
    db_.GetIntProperty(rocksdb::DB::Properties::kCurSizeAllMemTables, &memory);
    return files + blobs + memory;
  }

  EngineUsage Usage() const override { return UsageOf(&db_); }
  bool WouldStall() const override {
    if (listener_->when_full() != nullptr && listener_->when_full()->waits()) return true;
    return listener_->stalls().Now(&db_);
  }

 private:
  // False: a flush is left for later, so not everything is flushed.
  bool FlushUnlessFull() {
    const uint64_t position = written(), repeats = listener_->repeats();
    StartFlush();
    return listener_->AwaitFlush(position, repeats);
  }

  const std::shared_ptr<const Database> database_;
  const std::shared_ptr<Listener> listener_;
  const Durability durability_;
  rocksdb::DB& db_;
  std::unique_ptr<Reclaimer> reclaimer_;  // null: a log, or read only
};

// RocksDB's own text log is not written: a write to it that finds the disk full ends the process
// (an assertion of the library).
class NoLog final : public rocksdb::Logger {
 public:
  using rocksdb::Logger::Logv;
  void Logv(const char*, va_list) override {}
};

uint64_t WriteBufferOf(const RocksOptions& o) {
  if (o.write_buffer_bytes != 0) return o.write_buffer_bytes;
  return o.room != nullptr ? WriteBufferBytes(o.room->volume_bytes()) : kWriteBufferMax;
}

// Options that matter for safety are set even if they are RocksDB's defaults (docs/decisions/0002).
rocksdb::Options MakeOptions(const RocksOptions& o) {
  rocksdb::Options r;
  r.env = o.env != nullptr ? o.env : RocksEnv(o.durability);
  r.create_if_missing = o.create_if_missing;
  r.paranoid_checks = true;
  r.max_bgerror_resume_count = 0;
  r.max_background_jobs = 2;  // one flushes, one compacts (rocks_env.h); Listener needs that
  r.allow_concurrent_memtable_write = false;
  r.recycle_log_file_num = 0;
  r.max_open_files = OpenFilesMax();
  r.info_log = std::make_shared<NoLog>();
  r.stats_dump_period_sec = 0;
  r.stats_persist_period_sec = 0;
  r.compression = rocksdb::kNoCompression;
  // The system begins to write a table file of a flush or a compaction while the rest is still
  // being made. The fsync at its end still waits for all of it, but delays the log's fsyncs less.
  r.bytes_per_sync = 1 << 20;
  // In bytes a second, with a pause of 2 ms after each part. On ext4, an fsync of the log waits for
  // what was written to other new files before. More than the loop can write (docs/decisions/0028).
  r.rate_limiter.reset(rocksdb::NewGenericRateLimiter(512 << 20, /*refill_period_us=*/2000));
  r.delayed_write_rate = 16 << 20;  // by default it would be the limit above
  r.manifest_preallocation_size = 64 << 10;
  const uint64_t buffer = WriteBufferOf(o);
  // As by default with the largest buffers. On a small volume compactions are smaller, too.
  r.target_file_size_base = 2 * buffer;
  r.max_bytes_for_level_base = 8 * buffer;

  rocksdb::BlockBasedTableOptions table;
  table.block_cache = rocksdb::NewLRUCache(o.cache_bytes);
  table.format_version = 5;
  if (o.durability == Durability::kSynced) {
    r.wal_recovery_mode = o.salvage ? rocksdb::WALRecoveryMode::kPointInTimeRecovery
                                    : rocksdb::WALRecoveryMode::kTolerateCorruptedTailRecords;
    r.track_and_verify_wals_in_manifest = true;
    r.avoid_flush_during_recovery = false;  // so recovered records are synced before we use them
    r.write_buffer_size = buffer;
    // Drop removes only files that are below the first level.
    r.level0_file_num_compaction_trigger = 2;
  } else {
    r.write_buffer_size = buffer / 2;
    r.max_write_buffer_number = 4;
    // A compaction of the first level rewrites the whole second level, so it starts late
    // (docs/decisions/0026). LowBytes (disk_space.h) reserves space for 8 files.
    r.level0_file_num_compaction_trigger = 8;
    r.level0_slowdown_writes_trigger = 24;
    // Compactions do not copy large values, only references to them (docs/decisions/0027).
    r.enable_blob_files = true;
    r.min_blob_size = kBlobMin;
    r.blob_file_size = 2 * buffer;
    r.avoid_flush_during_shutdown = true;  // closing does not flush; Server::Stop calls Flush
    if (o.filter_prefix != nullptr) {
      r.prefix_extractor = std::make_shared<Prefixes>(o.filter_prefix, "raftkv.VersionPrefixes");
    }
    if (o.hint_prefix != nullptr) {
      r.memtable_insert_with_hint_prefix_extractor =
          std::make_shared<Prefixes>(o.hint_prefix, "raftkv.HintPrefixes");
    }
    r.blob_cache = table.block_cache;
    table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10));
    table.whole_key_filtering = false;
    // A file in which at least half of 16,384 consecutive entries are deletions is compacted early.
    // Otherwise reads would have to pass all these deletions, and their space would not be freed.
    r.table_properties_collector_factories.push_back(
        rocksdb::NewCompactOnDeletionCollectorFactory(16'384, 8'192));
  }
  r.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  return r;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Engine>> OpenRocksEngine(const RocksOptions& options) {
  if (absl::Status s = CheckNotNotedDamaged(options.dir); !s.ok()) return s;
  const std::string current = absl::StrCat(options.dir, "/CURRENT");
  if (!options.create_if_missing && access(current.c_str(), F_OK) != 0 && errno == ENOENT) {
    return absl::DataLossError(absl::StrCat(current, ": is missing"));
  }
  rocksdb::Options rocks = MakeOptions(options);
  auto listener = std::make_shared<Listener>(options.dir);
  rocks.listeners.push_back(listener);
  std::unique_ptr<rocksdb::Env> env;
  if (options.room != nullptr) {
    listener->SetWhenFull(std::make_shared<WhenFull>(
        options.room, [listener = listener.get()] { listener->OnWait(); }));
    const auto files =
        options.env != nullptr ? options.env->GetFileSystem() : rocksdb::FileSystem::Default();
    env = RocksEnvWith(options.durability, files, listener->when_full());
    rocks.env = env.get();
  }
  rocksdb::DB* db = nullptr;
  const rocksdb::Status status = options.read_only
                                     ? rocksdb::DB::OpenForReadOnly(rocks, options.dir, &db)
                                     : rocksdb::DB::Open(rocks, options.dir, &db);
  if (!status.ok()) return OpenError(options.dir, status);
  auto database = std::make_shared<Database>();
  database->dir = options.dir;
  database->held = options.held;
  database->env = std::move(env);
  database->db.reset(db);
  database->read_only = options.read_only;
  return std::make_unique<RocksEngine>(std::move(database), std::move(listener), options.durability,
                                       WriteBufferOf(options));
}

absl::Status ScanClosedRocks(const RocksOptions& options, bool verify,
                             const std::vector<std::pair<std::string, std::string>>& ranges,
                             const Engine::Visitor& visit) {
  rocksdb::Options rocks = MakeOptions(options);
  rocksdb::DB* opened = nullptr;
  rocksdb::Status status = rocksdb::DB::OpenForReadOnly(rocks, options.dir, &opened);
  const std::unique_ptr<rocksdb::DB> db(opened);
  if (status.ok() && verify) status = db->VerifyChecksum();
  if (!status.ok()) return OpenError(options.dir, status);
  if (verify) {
    // VerifyChecksum does not read blob files.
    const auto read = [](std::string_view, std::string_view) { return absl::OkStatus(); };
    if (absl::Status s = ScanRocks(*db, options.dir, {}, {}, read); !s.ok()) return s;
  }
  for (const auto& [begin, end] : ranges) {
    if (absl::Status s = ScanRocks(*db, options.dir, begin, end, visit); !s.ok()) return s;
  }
  return absl::OkStatus();
}

}  // namespace raftkv
