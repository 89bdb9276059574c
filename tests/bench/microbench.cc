// Micro-benchmarks, with Google Benchmark, of what a put or a range costs apart from gRPC: the
// codec of AppendEntries, the log, the state machine. Log and state machine are RocksDB databases,
// opened as a member opens them, in a temporary directory (TMPDIR).
//
//   make microbench     FILTER=Range: only the benchmarks whose names match
//
// Look at the column CPU: the column Time contains waits, for the disk and for other processes.

#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "glog/logging.h"
#include "proto/raft.pb.h"
#include "server/peer/raft_codec.h"
#include "storage/base/checksum.h"
#include "storage/data_dir/data_dir.h"
#include "storage/state_machine.h"
#include "tests/storage/testing.h"

namespace raftkv {
namespace {

constexpr int kKeys = 100'000;
const std::string& Value() {
  static const std::string value(256, 'v');
  return value;
}

std::string KeyName(int64_t i) {
  char name[40];
  std::snprintf(name, sizeof(name), "/registry/key/%010lld", static_cast<long long>(i % kKeys));
  return name;
}

// A put, as a member of a cluster proposes it.
std::string Put(int64_t key) {
  proto::Command command = PutCommand(KeyName(key), Value());
  command.mutable_origin()->set_member_id(1);
  return command.SerializeAsString();
}

std::string TxnOfPuts(int64_t key, int puts) {
  proto::Command command;
  for (int i = 0; i < puts; ++i) {
    etcdserverpb::PutRequest& put = *command.mutable_txn()->add_success()->mutable_request_put();
    put.set_key(KeyName(key + i));
    put.set_value(Value());
  }
  return command.SerializeAsString();
}

// Different keys, far from each other.
int64_t Scattered(int64_t i) { return i * 7919; }

std::vector<raft::Entry> PutsAfter(raft::Index index, int64_t count) {
  std::vector<raft::Entry> entries;
  for (int64_t i = 0; i < count; ++i) {
    ++index;
    entries.push_back(MakeEntry(1, index, Put(Scattered(static_cast<int64_t>(index)))));
  }
  return entries;
}

void CountEntries(benchmark::State& state) {
  state.SetItemsProcessed(state.iterations() * state.range(0));
}

raft::Message AppendEntriesOf(int64_t count) {
  return {1, 2, 1,
          raft::AppendEntries{.prev = {1, 1}, .entries = PutsAfter(1, count), .commit = 1}};
}

void EncodeAppendEntries(benchmark::State& state) {
  const raft::Message message = AppendEntriesOf(state.range(0));
  std::string bytes;
  for (auto _ : state) {
    Encode(message, std::get<raft::AppendEntries>(message.body)).SerializeToString(&bytes);
    benchmark::DoNotOptimize(bytes.data());
  }
  CountEntries(state);
}
BENCHMARK(EncodeAppendEntries)->Arg(1)->Arg(64);

void DecodeAppendEntries(benchmark::State& state) {
  const raft::Message message = AppendEntriesOf(state.range(0));
  const std::string bytes =
      Encode(message, std::get<raft::AppendEntries>(message.body)).SerializeAsString();
  for (auto _ : state) {
    proto::AppendEntriesRequest request;
    CHECK(request.ParseFromString(bytes));
    const absl::StatusOr<raft::Message> decoded = Decode(&request);
    CHECK(decoded.ok()) << decoded.status();
  }
  CountEntries(state);
}
BENCHMARK(DecodeAppendEntries)->Arg(1)->Arg(64);

// One synced batch.
void AppendToLog(benchmark::State& state) {
  const TempDir dir;
  const DataDir data = *OpenDataDir(TestDirOptions(dir / "data"));
  raft::Index last = data.log->last_index();
  const raft::HardState hard_state = {.current_term = 1};
  for (auto _ : state) {
    state.PauseTiming();
    const std::vector<raft::Entry> entries = PutsAfter(last, state.range(0));
    last = entries.back().id.index;
    state.ResumeTiming();
    data.log->Save(hard_state, entries);
  }
  CountEntries(state);
}
BENCHMARK(AppendToLog)->Arg(1)->Arg(64);

// The state machine of a member, with kKeys keys.
class Loaded {
 public:
  Loaded() : data_(*OpenDataDir(TestDirOptions(dir_ / "data"))) {
    for (int i = 0; i < kKeys; i += 100) {
      std::vector<raft::Entry> entries;
      for (int j = i; j < i + 100; ++j) entries.push_back(MakeEntry(1, ++index_, Put(j)));
      Apply(entries);
    }
    data_.state->Flush();
  }
  raft::Index NextIndex() { return ++index_; }
  void Apply(const std::vector<raft::Entry>& entries) {
    CHECK_EQ(data_.state->Apply(entries).size(), entries.size());
    data_.state->MaybeFlush();
  }
  StateMachine& state_machine() { return *data_.state; }

 private:
  const TempDir dir_;
  DataDir data_;
  raft::Index index_ = 0;
};

// Applies batches of state.range(0) entries.
void ApplyBatches(benchmark::State& state, std::string (*command)(int64_t key)) {
  Loaded loaded;
  for (auto _ : state) {
    state.PauseTiming();
    std::vector<raft::Entry> entries;
    for (int64_t i = 0; i < state.range(0); ++i) {
      const raft::Index index = loaded.NextIndex();
      entries.push_back(MakeEntry(1, index, command(Scattered(static_cast<int64_t>(index)))));
    }
    state.ResumeTiming();
    loaded.Apply(entries);
  }
  CountEntries(state);
}

void ApplyPuts(benchmark::State& state) { ApplyBatches(state, Put); }
BENCHMARK(ApplyPuts)->Arg(1)->Arg(64);

void ApplyTxnsOf8Puts(benchmark::State& state) {
  ApplyBatches(state, [](int64_t key) { return TxnOfPuts(key, 8); });
}
BENCHMARK(ApplyTxnsOf8Puts)->Arg(1)->Arg(64);

// Leases with a key each, renewed together, as lease_bench makes them.
class LoadedLeases {
 public:
  explicit LoadedLeases(Loaded* loaded) : loaded_(*loaded) {
    proto::Command version;
    version.mutable_set_cluster_version()->set_version(kNewestVersion);
    Apply({version});
    for (int64_t i = 0; i < kKeys; ++i) {
      leases_.push_back({.id = static_cast<int64_t>(HashMix(1, i) >> 1)});
      proto::Command grant, put = PutCommand(KeyName(i), Value());
      grant.mutable_lease_grant()->set_id(leases_.back().id);
      grant.mutable_lease_grant()->set_ttl(60);
      put.mutable_put()->set_lease(leases_.back().id);
      Apply({grant, put});
    }
    for (int64_t i = 0; i < kKeys; i += kTogether) {
      proto::Command renew;
      for (int64_t j = i; j < i + kTogether; ++j)
        renew.mutable_renew_leases()->add_ids(leases_[j].id);
      const raft::Index renewed = Apply({renew});
      for (int64_t j = i; j < i + kTogether; ++j) leases_[j].renewed = renewed;
      // Leases whose time is over at the same moment expire in the order of their ids (lessor.h).
      std::sort(leases_.begin() + i, leases_.begin() + i + kTogether,
                [](const Lease& a, const Lease& b) { return a.id < b.id; });
    }
    loaded_.state_machine().TakeLeaseChanges();
  }
  raft::Entry ExpireNext(int64_t count) {
    proto::Command command;
    for (int64_t end = next_ + count; next_ < end; ++next_) {
      proto::ExpireLeases::Lease& lease = *command.mutable_expire_leases()->add_leases();
      lease.set_id(leases_[next_].id);
      lease.set_renewed(leases_[next_].renewed);
    }
    return MakeEntry(1, loaded_.NextIndex(), command);
  }

 private:
  static constexpr int64_t kTogether = 1000;
  struct Lease {
    int64_t id = 0;
    raft::Index renewed = 0;
  };
  raft::Index Apply(const std::vector<proto::Command>& commands) {
    std::vector<raft::Entry> entries;
    for (const proto::Command& command : commands) {
      entries.push_back(MakeEntry(1, loaded_.NextIndex(), command));
    }
    loaded_.Apply(entries);
    return entries.back().id.index;
  }

  Loaded& loaded_;
  std::vector<Lease> leases_;
  int64_t next_ = 0;
};

// One entry that ends state.range(0) leases, which have a key each.
void ExpireLeases(benchmark::State& state) {
  Loaded loaded;
  LoadedLeases leases(&loaded);
  for (auto _ : state) {
    state.PauseTiming();
    const raft::Entry entry = leases.ExpireNext(state.range(0));
    state.ResumeTiming();
    loaded.Apply({entry});
    loaded.state_machine().TakeLeaseChanges();
  }
  CountEntries(state);
}
BENCHMARK(ExpireLeases)->Arg(100)->Iterations(kKeys / 100);
BENCHMARK(ExpireLeases)->Arg(500)->Iterations(kKeys / 500);

// One read of state.range(0) keys, from a snapshot of its own.
void Range(benchmark::State& state) {
  Loaded loaded;
  etcdserverpb::RangeRequest request;
  int64_t i = 0;
  for (auto _ : state) {
    const int64_t first = Scattered(++i) % (kKeys - state.range(0));
    request.set_key(KeyName(first));
    if (state.range(0) > 1) request.set_range_end(KeyName(first + state.range(0)));
    etcdserverpb::RangeResponse response;
    CHECK(loaded.state_machine().Snapshot()->Range(request, Limits(), &response).ok());
    CHECK_EQ(response.kvs_size(), state.range(0));
  }
  CountEntries(state);
}
BENCHMARK(Range)->Arg(1)->Arg(1'000);

}  // namespace
}  // namespace raftkv

BENCHMARK_MAIN();
