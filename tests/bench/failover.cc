// Measures how long writes stop when the leader dies or stops (docs/benchmarks.md). Three processes
// on this machine, and clients that put through all of them.
//
//   kill, term  In each round the leader gets the signal, and the time until the next acknowledged
//               put is taken; only puts that were sent after the signal count. Then the member is
//               started again.
//   restart     In each round all members are restarted, one after the other (SIGTERM).
//               The longest time without an acknowledged put is taken.
//
//   failover [raftkv|etcd] [kill|term|restart] [ROUNDS]      the defaults are raftkv, kill and 30
//
// Calls that failed are counted, with their texts.

#include <signal.h>

#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/time/clock.h"
#include "tests/e2e/writers.h"

namespace raftkv::e2e {
namespace {

constexpr int kClients = 64;

// Ends the process if the cluster does not serve.
void Require(bool holds, const char* what) {
  if (holds) return;
  std::cerr << what << "\n";
  std::exit(1);
}

void StartAgain(Cluster* cluster, int member) {
  Require(cluster->process(member).Wait(absl::Seconds(30)).has_value(), "it does not end");
  cluster->Start(member);
  Require(
      Eventually(absl::Seconds(30), [&] { return cluster->Put(member, "started", "again").ok(); }),
      "the member does not serve again");
}

// The time of one round in milliseconds.
double Round(Cluster* cluster, Writers* writers, int signal) {
  const int leader = cluster->WaitForLeader();
  Require(leader >= 0, "no leader");
  Require(writers->WaitFor(2000), "the clients' puts are not acknowledged");
  writers->StartClock();
  cluster->process(leader).Signal(signal);
  const auto time = writers->WaitForAcknowledgement(absl::Seconds(30));
  Require(time.has_value(), "no put was acknowledged within 30 s");
  Require(writers->WaitFor(1000), "the clients' puts are not acknowledged");
  StartAgain(cluster, leader);
  return absl::ToDoubleMilliseconds(*time);
}

double RestartAll(Cluster* cluster, Writers* writers) {
  Require(cluster->WaitForLeader() >= 0, "no leader");
  Require(writers->WaitFor(2000), "the clients' puts are not acknowledged");
  writers->TakeLongestGap();
  for (int member = 0; member < cluster->size(); ++member) {
    cluster->process(member).Signal(SIGTERM);
    StartAgain(cluster, member);
    Require(writers->WaitFor(1000), "the clients' puts are not acknowledged");
  }
  return absl::ToDoubleMilliseconds(writers->TakeLongestGap());
}

int Main(int argc, char** argv) {
  const std::string product = argc > 1 ? argv[1] : "raftkv";
  const std::string how = argc > 2 ? argv[2] : "kill";
  int rounds = 30;
  if ((product != "raftkv" && product != "etcd") ||
      (how != "kill" && how != "term" && how != "restart") || argc > 4 ||
      (argc == 4 && !absl::SimpleAtoi(argv[3], &rounds)) || rounds < 1) {
    std::cerr << "usage: failover [raftkv|etcd] [kill|term|restart] [ROUNDS]\n";
    return 2;
  }
  Cluster cluster({.product = product == "etcd" ? Product::kEtcd : Product::kRaftkv});
  cluster.StartAll();
  Writers writers(cluster.client_addresses(), kClients);
  std::vector<double> times;
  for (int round = 0; round < rounds; ++round) {
    times.push_back(how == "restart"
                        ? RestartAll(&cluster, &writers)
                        : Round(&cluster, &writers, how == "kill" ? SIGKILL : SIGTERM));
    std::cerr << "round " << round + 1 << ": " << times.back() << " ms\n";
  }
  for (const auto& [failure, count] : writers.Stop()) {
    std::cout << count << " calls failed: " << failure << "\n";
  }
  std::sort(times.begin(), times.end());
  std::cout << product << ", " << how << ", " << rounds << " rounds, " << kClients
            << " clients: median " << times[rounds / 2] << " ms, least " << times.front()
            << ", p90 " << times[rounds * 9 / 10] << ", most " << times.back() << "\n";
  return 0;
}

}  // namespace
}  // namespace raftkv::e2e

int main(int argc, char** argv) { return raftkv::e2e::Main(argc, argv); }
