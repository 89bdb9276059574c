// Measures what a read costs when its keys were often rewritten and others were deleted, and
// nothing was compacted; for raftkv and then for etcd (RAFTKV_ETCD, or else Debian's):
//
//   hot_keys_bench [--keys 10] [--writes 4000] [--deleted 3000] [--reads 500]
//
// The keys and the deleted ones have one prefix and are written in turn. One process is the whole
// cluster, and one client sends one read at a time. Each figure is the median of `reads`.

#include <cstdio>
#include <functional>
#include <memory>
#include <random>
#include <string>

#include "CLI/CLI.hpp"
#include "absl/strings/str_format.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "client/bench/histogram.h"
#include "client/raftkv.h"
#include "glog/logging.h"
#include "tests/e2e/cluster.h"

namespace raftkv::e2e {
namespace {

struct HotKeysSettings {
  int keys = 10;
  int writes = 4000;  // of each key
  int deleted = 3000;
  int reads = 500;
};

constexpr char kHotPrefix[] = "hot/";

std::string HotKey(int i) { return absl::StrFormat("%skey/%04d", kHotPrefix, i); }

// Sends requests without waiting for each, but at most 64 at a time.
class Pipeline {
 public:
  explicit Pipeline(client::Client* client) : client_(*client) {}
  ~Pipeline() { Wait(0); }
  template <typename Result>
  void Send(const client::Request<Result>& request) {
    Wait(63);
    {
      absl::MutexLock lock(&mutex_);
      ++pending_;
    }
    client_.Start(request, [this](const absl::StatusOr<Result>& result) {
      CHECK(result.ok()) << result.status();
      absl::MutexLock lock(&mutex_);
      --pending_;
    });
  }

 private:
  void Wait(int most) {
    absl::MutexLock lock(&mutex_);
    const auto few = [this, most]()
                         ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return pending_ <= most; };
    mutex_.Await(absl::Condition(&few));
  }

  client::Client& client_;
  absl::Mutex mutex_;
  int pending_ ABSL_GUARDED_BY(mutex_) = 0;
};

void Load(client::Client* client, const HotKeysSettings& settings) {
  const std::string value(256, 'v');
  Pipeline pipeline(client);
  int deleted = 0;
  for (int write = 0; write < settings.writes; ++write) {
    for (int key = 0; key < settings.keys; ++key) {
      pipeline.Send(client::PutRequest(HotKey(key), value));
    }
    for (; deleted < int64_t{settings.deleted} * (write + 1) / settings.writes; ++deleted) {
      const std::string key = absl::StrFormat("%sgone/%06d", kHotPrefix, deleted);
      pipeline.Send(client::PutRequest(key, value));
      pipeline.Send(client::DeleteRequest(key));
    }
  }
}

std::string Median(const HotKeysSettings& settings, const std::function<void()>& read) {
  client::Histogram times;
  for (int i = 0; i < settings.reads; ++i) {
    const absl::Time start = absl::Now();
    read();
    times.Add(absl::ToInt64Microseconds(absl::Now() - start));
  }
  return absl::StrFormat("%.2f", static_cast<double>(times.Percentile(0.5)) / 1000);
}

void MeasureHotKeys(Product product, const char* name, const HotKeysSettings& settings) {
  Cluster cluster({.product = product, .size = 1, .keep_data = false});
  cluster.StartAll();
  CHECK_EQ(cluster.WaitForLeader(), 0);
  auto connected = client::Client::Connect({.endpoints = {cluster.client_address(0)}});
  CHECK(connected.ok()) << connected.status();
  client::Client& client = **connected;
  const int64_t first = client.Put(HotKey(0), "first")->header.revision;
  Load(&client, settings);
  const int64_t last = client.Put(HotKey(0), "last")->header.revision;
  std::mt19937_64 random(1);
  const auto past = [&] { return std::uniform_int_distribution<int64_t>(first, last)(random); };
  const client::Keys all = client::Keys::Prefix(kHotPrefix);
  const auto range = [&](const client::Keys& keys, const client::ReadOptions& options) {
    return Median(settings, [&] {
      client::ReadOptions now = options;
      if (now.revision != 0) now.revision = past();
      const auto result = client.Range(keys, now);
      CHECK(result.ok()) << result.status();
    });
  };
  absl::PrintF(
      "%-8s prefix: newest %s, past %s; count: newest %s, past %s; one key: newest %s, "
      "past %s ms\n",
      name, range(all, {}), range(all, {.revision = 1}), range(all, {.count_only = true}),
      range(all, {.revision = 1, .count_only = true}), range(HotKey(0), {}),
      range(HotKey(0), {.revision = 1}));
}

}  // namespace
}  // namespace raftkv::e2e

int main(int argc, char** argv) {
  using raftkv::e2e::Product;
  raftkv::e2e::HotKeysSettings settings;
  CLI::App app("Measures reads of keys that were often rewritten.");
  app.add_option("--keys", settings.keys);
  app.add_option("--writes", settings.writes);
  app.add_option("--deleted", settings.deleted);
  app.add_option("--reads", settings.reads);
  CLI11_PARSE(app, argc, argv);
  setvbuf(stdout, nullptr, _IOLBF, 0);
  raftkv::e2e::MeasureHotKeys(Product::kRaftkv, "raftkv", settings);
  raftkv::e2e::MeasureHotKeys(Product::kEtcd, "etcd", settings);
  return 0;
}
