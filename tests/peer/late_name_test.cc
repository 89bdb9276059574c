// The name of a peer that nobody knows for a while. gRPC looks it up with c-ares, whose files this
// program replaces by its own: they say that only the file of hosts is used.

#include <dlfcn.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <functional>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "tests/peer/node.h"

namespace {

std::string hosts_file, dns_file;  // empty: those of the machine
std::atomic<int> look_ups{0};

}  // namespace

// c-ares opens its files with this function.
extern "C" FILE* fopen(const char* path, const char* mode) {
  using Fopen = FILE* (*)(const char*, const char*);
  static const Fopen real = reinterpret_cast<Fopen>(dlsym(RTLD_NEXT, "fopen"));
  if (std::strcmp(path, "/etc/hosts") == 0 && !hosts_file.empty()) {
    ++look_ups;
    return real(hosts_file.c_str(), mode);
  }
  if (std::strcmp(path, "/etc/resolv.conf") == 0 && !dns_file.empty()) {
    return real(dns_file.c_str(), mode);
  }
  return real(path, mode);
}

namespace raftkv {
namespace {

constexpr char kName[] = "late.raftkv.test";

// gRPC alone waits longer after each look-up: the eighth one comes after half a minute, and later
// ones every two minutes.
TEST(LateName, IsLookedUpEverySecondUntilItIsKnown) {
  const TempDir dir;
  std::ofstream(dir / "resolv.conf") << "lookup file\nnameserver 127.0.0.1\n";
  std::ofstream(dir / "hosts") << "127.0.0.1 localhost\n";
  dns_file = dir / "resolv.conf";
  hosts_file = dir / "hosts";
  Node other(2, {1, "n1", "127.0.0.1:1"});
  Node node(1, {2, "n2", absl::StrCat(kName, ":", other.port.port())});
  absl::Time next_second = absl::Now();
  const auto run_until = [&](const std::function<bool()>& condition) {
    return Eventually({&node, &other}, [&] {
      if (absl::Now() >= next_second) {
        next_second += absl::Seconds(1);
        node.peers.EverySecond();
        node.peers.Send(Heartbeat());
      }
      return condition();
    });
  };
  for (int i = 0; i < 10; ++i) {
    const int before = look_ups;
    ASSERT_TRUE(run_until([&] { return look_ups > before; })) << "look-up " << i;
  }
  EXPECT_EQ(other.inputs.size(), 0u);
  std::ofstream(dir / "hosts", std::ios::app) << "127.0.0.1 " << kName << "\n";
  EXPECT_TRUE(run_until([&] { return other.CountMessages<raft::Message>() > 0; }));
}

}  // namespace
}  // namespace raftkv
