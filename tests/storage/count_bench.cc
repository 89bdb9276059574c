// The measurements of docs/decisions/0005: the cost of creating, overwriting, counting, paging and
// deleting a million keys, and of compacting them (StateMachine::CompactStep). Prints one line for
// each figure.
//
//   ninja count_bench && bin/count_bench DIRECTORY
//
// CPU is that of the applying thread alone; reads are wall time.

#include <sys/resource.h>
#include <time.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "config/process.h"
#include "glog/logging.h"
#include "storage/mvcc/layout.h"
#include "storage/state_machine.h"
#include "tests/storage/rocks.h"
#include "tests/storage/testing.h"

namespace raftkv {
namespace {

constexpr int kKeys = 1'000'000;
constexpr int kOverwrites = 500'000;

double Seconds(clockid_t clock) {
  timespec t{};
  clock_gettime(clock, &t);
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) / 1e9;
}

long ResidentMiB() {
  std::ifstream statm("/proc/self/statm");
  long total = 0, resident = 0;
  statm >> total >> resident;
  return resident * 4 / 1024;
}

std::string KeyName(int i) {
  char name[32];
  std::snprintf(name, sizeof(name), "/registry/key/%08d", i);
  return name;
}

class Bench {
 public:
  explicit Bench(const std::string& dir) { state_ = *StateMachine::Open(OpenRocks(dir)); }

  void Puts(const char* name, const std::vector<int>& keys, int batch) {
    const std::string value(64, 'v');
    double cpu = 0;
    std::vector<raft::Entry> entries;
    for (size_t i = 0; i < keys.size(); ++i) {
      entries.push_back(MakeEntry(1, ++index_, PutCommand(KeyName(keys[i]), value)));
      if (entries.size() < static_cast<size_t>(batch) && i + 1 < keys.size()) continue;
      const double begin = Seconds(CLOCK_THREAD_CPUTIME_ID);
      state_->Apply(entries);
      state_->MaybeFlush();
      cpu += Seconds(CLOCK_THREAD_CPUTIME_ID) - begin;
      entries.clear();
    }
    state_->Flush();
    std::printf("%-40s %8.2f us of CPU each\n", name, cpu * 1e6 / static_cast<double>(keys.size()));
  }

  void Read(const char* name, Revision revision, int64_t limit, bool count_only, int from) {
    etcdserverpb::RangeRequest request;
    request.set_key(KeyName(from));
    request.set_range_end("/registry/key0");
    request.set_limit(limit);
    request.set_count_only(count_only);
    request.set_revision(revision);
    double best = 1e9;
    int64_t count = 0;
    for (int i = 0; i < 5; ++i) {
      etcdserverpb::RangeResponse response;
      const double begin = Seconds(CLOCK_MONOTONIC);
      CHECK(state_->Snapshot()->Range(request, Limits(), &response).ok());
      best = std::min(best, Seconds(CLOCK_MONOTONIC) - begin);
      count = response.count();
    }
    std::printf("%-40s %8.3f ms, count %lld\n", name, best * 1e3, static_cast<long long>(count));
  }

  void DeleteAll() {
    const long before = ResidentMiB();
    const double wall = Seconds(CLOCK_MONOTONIC), cpu = Seconds(CLOCK_THREAD_CPUTIME_ID);
    const auto results =
        state_->Apply({MakeEntry(1, ++index_, DeleteCommand("/registry/", "/registry0"))});
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    std::printf("delete of %lld keys: %.2f s, %.2f s of CPU, %ld MiB before, at most %ld MiB\n",
                static_cast<long long>(results[0].response.delete_range().deleted()),
                Seconds(CLOCK_MONOTONIC) - wall, Seconds(CLOCK_THREAD_CPUTIME_ID) - cpu, before,
                usage.ru_maxrss / 1024);
  }

  // Compacts everything. So much is written between the steps that each one is as large as
  // possible.
  void Compact(int steps) {
    proto::Command compaction;
    compaction.mutable_compaction()->set_revision(revision());
    state_->Apply({MakeEntry(1, ++index_, compaction)});
    double sum = 0, longest = 0;
    for (int step = 0; step < steps && state_->compacting(); ++step) {
      std::vector<raft::Entry> entries;
      for (int i = 0; i < 2048; ++i) {
        entries.push_back(MakeEntry(1, ++index_, PutCommand(KeyName(i), "v")));
      }
      state_->Apply(entries);
      state_->MaybeFlush();
      const double begin = Seconds(CLOCK_MONOTONIC);
      state_->CompactStep();
      const double took = Seconds(CLOCK_MONOTONIC) - begin;
      sum += took;
      longest = std::max(longest, took);
    }
    std::printf("%-40s %8.1f ms, at most %.1f ms\n", "a step of compaction, 4,096 events",
                sum * 1e3 / steps, longest * 1e3);
  }

  Revision revision() const { return state_->revision(); }

 private:
  std::unique_ptr<StateMachine> state_;
  raft::Index index_ = 0;
};

void Run(const std::string& dir) {
  std::vector<int> order(kKeys);
  std::iota(order.begin(), order.end(), 0);
  {
    Bench sequential(dir + "/sequential");
    sequential.Puts("create in order, batches of 32", order, 32);
  }
  std::mt19937 random(1);
  std::shuffle(order.begin(), order.end(), random);
  {
    Bench large(dir + "/large");
    large.Puts("create at random, batches of 512", order, 512);
  }
  Bench bench(dir + "/random");
  bench.Puts("create at random, batches of 32", order, 32);
  bench.Read("count of all", 0, 0, true, 0);
  bench.Read("page of 500 of all", 0, 500, false, 0);
  bench.Read("page of 500, half way", 0, 500, false, kKeys / 2 + 77);
  std::vector<int> hot(kOverwrites);
  for (int& key : hot) key = static_cast<int>(random() % 100'000);
  const Revision before = bench.revision();
  bench.Puts("overwrite 100,000 keys, batches of 32", hot, 32);
  bench.Read("count of all", 0, 0, true, 0);
  bench.Read("count of all, 1,000 revisions ago", bench.revision() - 1'000, 0, true, 0);
  bench.Read("count of all, 500,000 revisions ago", before, 0, true, 0);
  bench.DeleteAll();
  bench.Compact(300);
}

}  // namespace
}  // namespace raftkv

int main(int argc, char** argv) {
  const raftkv::TempDir temporary;
  raftkv::Run(argc > 1 ? argv[1] : temporary.path());
}
