// The name of a peer that nobody knows for a while. This program answers the look-ups itself.

#include <dlfcn.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netdb.h>

#include <atomic>
#include <cstring>
#include <functional>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "tests/peer/node.h"
#include "tests/server/log_lines.h"

namespace {

constexpr char kName[] = "late.raftkv.test";
std::atomic<int> look_ups{0};
std::atomic<bool> known{false};

}  // namespace

// Used by this program instead of libc's.
extern "C" int getaddrinfo(const char* node, const char* service, const addrinfo* hints,
                           addrinfo** found) {
  using Function = int (*)(const char*, const char*, const addrinfo*, addrinfo**);
  static const auto real = reinterpret_cast<Function>(dlsym(RTLD_NEXT, "getaddrinfo"));
  if (node == nullptr || std::strcmp(node, kName) != 0 || (hints->ai_flags & AI_NUMERICHOST) != 0) {
    return real(node, service, hints, found);
  }
  ++look_ups;
  return known ? real("127.0.0.1", service, hints, found) : EAI_NONAME;
}

namespace raftkv {
namespace {

TEST(LateName, IsLookedUpEverySecondUntilItIsKnown) {
  LogLines lines;
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
  known = true;
  EXPECT_TRUE(run_until([&] { return other.CountMessages<raft::Message>() > 0; }));
  EXPECT_THAT(lines.text(),
              testing::HasSubstr(": its name is not found; check its URL and the name server"));
}

}  // namespace
}  // namespace raftkv
