// Measures how long after a put its event reaches a watcher, and how much memory the server takes
// for its watches, for raftkv and then for etcd (RAFTKV_ETCD, or else Debian's):
//
//   watch_bench [--watches 10000] [--streams 100] [--puts 5000] [--seconds 10] [--same-key]
//
// The load is that of `raftkv bench watch` (client/bench/watch_load.h): puts at a fixed rate to
// random watched keys. One process is the whole cluster.

#include <cstdio>

#include "CLI/CLI.hpp"
#include "absl/strings/str_format.h"
#include "client/bench/local_servers.h"
#include "client/bench/watch_load.h"
#include "glog/logging.h"
#include "tests/bench/ms.h"
#include "tests/e2e/cluster.h"

namespace raftkv::e2e {
namespace {

struct Settings {
  int watches = 10'000;
  int streams = 100;
  int puts = 5000;  // a second
  int seconds = 10;
  bool same_key = false;
};

void Measure(Product product, const char* name, const Settings& settings) {
  Cluster cluster({.product = product, .size = 1, .keep_data = false});
  cluster.StartAll();
  CHECK_EQ(cluster.WaitForLeader(), 0);
  client::WatchLoadOptions options;
  options.watches = settings.watches;
  options.streams = settings.streams;
  options.drain = absl::Minutes(1);
  options.puts.endpoints = {cluster.client_address(0)};
  options.puts.clients = 512;
  options.puts.conns = 16;
  options.puts.duration = absl::Seconds(settings.seconds);
  options.puts.rate = settings.puts;
  options.puts.late_turns = client::LoadOptions::LateTurns::kTaken;
  options.puts.key_space = settings.same_key ? 1 : settings.watches;
  const client::LocalServers server({cluster.client_address(0)});
  const auto resident_mib = [&] { return server.LargestResidentBytes() >> 20; };
  const int64_t before = resident_mib();
  int64_t watching = 0;
  const auto report = client::RunWatchLoad(
      options, [&] { watching = resident_mib(); }, [](const client::LoadProgress&) {});
  CHECK(report.ok()) << report.status();
  absl::PrintF(
      "%-8s %d puts acknowledged, %d failed; %d events, %d missing\n"
      "         put, p50 / p99 ms: %s / %s; event: %s / %s\n"
      "         memory, MiB: %d at rest, %d with the watches, %d after the load\n",
      name, report->puts.latency.count(), report->puts.errors, report->delay.count(),
      report->missing, Ms(report->puts.latency, 0.5), Ms(report->puts.latency, 0.99),
      Ms(report->delay, 0.5), Ms(report->delay, 0.99), before, watching, resident_mib());
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
