#include "storage/engine/rocks_env.h"

#include <rocksdb/env.h>
#include <rocksdb/file_system.h>
#include <rocksdb/system_clock.h>
#include <sys/resource.h>

#include <algorithm>
#include <utility>

#include "glog/logging.h"

namespace raftkv {

namespace {

using Priority = rocksdb::Env::Priority;

// A process has three pools of threads: HIGH, in which RocksDB flushes, LOW, in which it compacts,
// and BOTTOM. A database that is opened with this Env flushes in `flush` and compacts in
// `compaction` instead, with one thread for each.
class PooledEnv final : public rocksdb::EnvWrapper {
 public:
  PooledEnv(Priority flush, Priority compaction)
      : EnvWrapper(rocksdb::Env::Default()), flush_(flush), compaction_(compaction) {
    file_system_ = WatchedFileSystem(rocksdb::FileSystem::Default(), nullptr);
    system_clock_ = target()->GetSystemClock();
  }

  void Schedule(void (*function)(void*), void* argument, Priority pool, void* tag,
                void (*unscheduled)(void*)) override {
    target()->Schedule(function, argument, PoolOf(pool), tag, unscheduled);
  }
  // Called for BOTTOM, too, where this database has no jobs.
  int UnSchedule(void* tag, Priority pool) override {
    return GetBackgroundThreads(pool) == 0 ? 0 : target()->UnSchedule(tag, PoolOf(pool));
  }
  unsigned int GetThreadPoolQueueLen(Priority pool) const override {
    return target()->GetThreadPoolQueueLen(PoolOf(pool));
  }
  int ReserveThreads(int count, Priority pool) override {
    return target()->ReserveThreads(count, PoolOf(pool));
  }
  int ReleaseThreads(int count, Priority pool) override {
    return target()->ReleaseThreads(count, PoolOf(pool));
  }
  int GetBackgroundThreads(Priority pool) override {
    return pool == Priority::HIGH || pool == Priority::LOW ? 1 : 0;
  }
  void SetBackgroundThreads(int, Priority) override {}
  void IncBackgroundThreadsIfNeeded(int, Priority) override {}

 private:
  Priority PoolOf(Priority pool) const { return pool == Priority::HIGH ? flush_ : compaction_; }

  const Priority flush_;
  const Priority compaction_;
};

// The threads and the clock of `base`, with another file system.
class EnvWithFiles final : public rocksdb::EnvWrapper {
 public:
  EnvWithFiles(rocksdb::Env* base, std::shared_ptr<rocksdb::FileSystem> files) : EnvWrapper(base) {
    file_system_ = std::move(files);
    system_clock_ = base->GetSystemClock();
  }
};

struct Envs {
  Envs() {
    rocksdb::Env* const pools = rocksdb::Env::Default();
    pools->SetBackgroundThreads(1, Priority::HIGH);
    pools->SetBackgroundThreads(2, Priority::LOW);  // one for each kind of database
    pools->SetBackgroundThreads(1, Priority::BOTTOM);
    const auto lower = [](void*) {  // of the calling thread
      setpriority(PRIO_PROCESS, 0, getpriority(PRIO_PROCESS, 0) + kStateCompactionNice);
    };
    pools->Schedule(lower, nullptr, Priority::BOTTOM, nullptr, nullptr);  // on its only thread
  }

  PooledEnv log{Priority::HIGH, Priority::LOW};
  PooledEnv state{Priority::LOW, Priority::BOTTOM};
};

}  // namespace

int OpenFilesMax() {
  constexpr rlim_t kMax = 4096;
  rlimit limit = {};
  PCHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0) << "getrlimit";
  return static_cast<int>(std::min(kMax, limit.rlim_cur / 8));
}

rocksdb::Env* RocksEnv(Durability durability) {
  static Envs* const envs = new Envs;
  return durability == Durability::kSynced ? &envs->log : &envs->state;
}

std::unique_ptr<rocksdb::Env> RocksEnvWith(Durability durability,
                                           const std::shared_ptr<rocksdb::FileSystem>& files,
                                           std::shared_ptr<WhenFull> when_full) {
  return std::make_unique<EnvWithFiles>(RocksEnv(durability),
                                        WatchedFileSystem(files, std::move(when_full)));
}

}  // namespace raftkv
