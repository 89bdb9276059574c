#include "storage/engine/rocks_env.h"

#include <rocksdb/env.h>
#include <rocksdb/system_clock.h>
#include <sys/resource.h>

#include "storage/engine/rocks_file_system.h"

namespace raftkv {

namespace {

using Priority = rocksdb::Env::Priority;

// The pools of a process, which all databases share: RocksDB flushes in HIGH and compacts in LOW.
// It uses BOTTOM only if that has threads, and USER never. A database that is opened with this Env
// flushes in `flush` and compacts in `compaction` instead, with one thread each.
class PooledEnv final : public rocksdb::EnvWrapper {
 public:
  PooledEnv(Priority flush, Priority compaction)
      : EnvWrapper(rocksdb::Env::Default()), flush_(flush), compaction_(compaction) {
    file_system_ = WatchedFileSystem();
    system_clock_ = target()->GetSystemClock();
    for (const Priority pool : {flush, compaction}) target()->SetBackgroundThreads(1, pool);
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

rocksdb::Env* MakeStateEnv() {
  auto* env = new PooledEnv(Priority::USER, Priority::BOTTOM);
  const auto lower = [](void*) {  // of the calling thread
    setpriority(PRIO_PROCESS, 0, getpriority(PRIO_PROCESS, 0) + kStateCompactionNice);
  };
  env->Schedule(lower, nullptr, Priority::LOW, nullptr, nullptr);  // on the pool's only thread
  return env;
}

}  // namespace

rocksdb::Env* RocksEnv(Durability durability) {
  static rocksdb::Env* const log = new PooledEnv(Priority::HIGH, Priority::LOW);
  static rocksdb::Env* const state = MakeStateEnv();
  return durability == Durability::kSynced ? log : state;
}

}  // namespace raftkv
