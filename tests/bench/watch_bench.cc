// Measures how long after a put its event reaches a watcher, and how much memory the server takes
// for its watches, for raftkv and for Debian's etcd in turn:
//
//   watch_bench [--watches 10000] [--streams 100] [--puts 5000] [--seconds 10] [--same-key]
//
// Each watch has a key of its own (with --same-key they share one). Puts are sent at a fixed rate
// to random watched keys. The delay of an event is the time from sending the put to receiving the
// event; the time until the put's own answer is printed beside it. One process is the whole
// cluster.

#include <cstdio>
#include <random>
#include <thread>

#include "CLI/CLI.hpp"
#include "absl/strings/str_format.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "glog/logging.h"
#include "tests/bench/paced_puts.h"
#include "tests/e2e/cluster.h"

namespace raftkv::e2e {
namespace {

using client::Histogram;
using etcdserverpb::WatchRequest;
using etcdserverpb::WatchResponse;

struct Settings {
  int watches = 10'000;
  int streams = 100;
  int puts = 5000;  // a second
  int seconds = 10;
  bool same_key = false;
};

std::string KeyOf(const Settings& settings, int watch) {
  return absl::StrFormat("watched/%08d", settings.same_key ? 0 : watch);
}

class Watching {
 public:
  Watching(Connection* connection, const Settings& settings, int first, int count)
      : stream_(connection->watch->Watch(&context_)) {
    for (int i = first; i < first + count; ++i) {
      WatchRequest request;
      request.mutable_create_request()->set_key(KeyOf(settings, i));
      CHECK(stream_->Write(request));
      WatchResponse response;
      CHECK(stream_->Read(&response) && response.created());
    }
  }
  void Start() {
    thread_ = std::thread([this] {
      WatchResponse response;
      while (stream_->Read(&response)) {
        const absl::Time now = absl::Now();
        for (const mvccpb::Event& event : response.events()) {
          const int64_t sent = std::stoll(event.kv().value());
          absl::MutexLock lock(&mutex_);
          delays_.Add(absl::ToInt64Microseconds(now - absl::FromUnixNanos(sent)));
        }
      }
    });
  }
  int64_t received() {
    absl::MutexLock lock(&mutex_);
    return static_cast<int64_t>(delays_.count());
  }
  void Stop(Histogram* all) {
    context_.TryCancel();
    thread_.join();
    stream_->Finish();
    all->Merge(delays_);
  }

 private:
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<WatchRequest, WatchResponse>> stream_;
  absl::Mutex mutex_;
  Histogram delays_;
  std::thread thread_;
};

void Measure(Product product, const char* name, const Settings& settings) {
  Cluster cluster({.product = product, .size = 1, .keep_data = false});
  cluster.StartAll();
  CHECK_EQ(cluster.WaitForLeader(), 0);
  std::vector<std::unique_ptr<Connection>> connections;
  for (int i = 0; i < 16; ++i) {
    connections.push_back(std::make_unique<Connection>(cluster.client_address(0)));
    CHECK(connections.back()->Ready());
  }
  const int64_t before = ResidentMiB(cluster.process(0).pid());
  std::vector<std::unique_ptr<Watching>> streams;
  const int each = settings.watches / settings.streams;
  for (int i = 0; i < settings.streams; ++i) {
    streams.push_back(
        std::make_unique<Watching>(connections[i % 16].get(), settings, i * each, each));
  }
  const int64_t watching = ResidentMiB(cluster.process(0).pid());
  for (auto& stream : streams) stream->Start();
  std::mt19937 random(1);
  PacedPuts putting(&connections, settings.puts,
                    [&] { return KeyOf(settings, static_cast<int>(random() % settings.watches)); });
  putting.Run(absl::Seconds(settings.seconds));
  const int64_t expected = putting.answered() * (settings.same_key ? settings.watches : 1);
  int64_t received = 0;
  const bool all = Eventually(absl::Seconds(60), [&] {
    received = 0;
    for (auto& stream : streams) received += stream->received();
    return received >= expected;
  });
  const int64_t after = ResidentMiB(cluster.process(0).pid());
  Histogram delays;
  for (auto& stream : streams) stream->Stop(&delays);
  absl::PrintF(
      "%-8s %d puts answered, %d failed; %d of %d events%s\n"
      "         put, p50 / p99 ms: %s / %s; event: %s / %s\n"
      "         memory, MiB: %d at rest, %d with the watches, %d after the load\n",
      name, putting.answered(), putting.failed(), received, expected, all ? "" : " (late)",
      Ms(putting.times(), 0.5), Ms(putting.times(), 0.99), Ms(delays, 0.5), Ms(delays, 0.99),
      before, watching, after);
}

}  // namespace
}  // namespace raftkv::e2e

int main(int argc, char** argv) {
  using raftkv::e2e::Product;
  raftkv::e2e::Settings settings;
  CLI::App app("Measures watches.");
  app.add_option("--watches", settings.watches);
  app.add_option("--streams", settings.streams);
  app.add_option("--puts", settings.puts);
  app.add_option("--seconds", settings.seconds);
  app.add_flag("--same-key", settings.same_key);
  CLI11_PARSE(app, argc, argv);
  setvbuf(stdout, nullptr, _IOLBF, 0);  // a run takes minutes
  raftkv::e2e::Measure(Product::kRaftkv, "raftkv", settings);
  raftkv::e2e::Measure(Product::kEtcd, "etcd", settings);
  return 0;
}
