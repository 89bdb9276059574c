// The wall clock jumps during a call. Its deadline does not.

#include <gtest/gtest.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <atomic>

#include "client/raftkv.h"
#include "tests/client/fake_server.h"

namespace {

std::atomic<time_t> wall_clock_ahead{0};  // seconds

}  // namespace

// Replaces libc's function in the whole program.
extern "C" int clock_gettime(clockid_t clock, timespec* time) noexcept {
  const long result = syscall(SYS_clock_gettime, clock, time);
  if (result == 0 && clock == CLOCK_REALTIME) time->tv_sec += wall_clock_ahead;
  return static_cast<int>(result);
}

namespace raftkv::client {
namespace {

TEST(WallClock, AJumpForwardEndsNoCall) {
  FakeServer broken, good;
  broken.before = [](grpc::ServerContext*) {
    wall_clock_ahead = 3600;
    return grpc::Status(grpc::StatusCode::UNAVAILABLE, "etcdserver: no leader");
  };
  const auto client = Client::Connect({.endpoints = {broken.address(), good.address()},
                                       .dial_timeout = absl::Seconds(20),
                                       .request_timeout = absl::Seconds(20)});
  ASSERT_TRUE(client.ok());
  const auto got = (*client)->Get("k");
  wall_clock_ahead = 0;
  EXPECT_TRUE(got.ok()) << got.status();
  EXPECT_EQ(good.calls, 1);
}

}  // namespace
}  // namespace raftkv::client
