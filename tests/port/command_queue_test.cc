// The commands that handlers give to a port's thread, and when that thread is woken.

#include <gtest/gtest.h>
#include <poll.h>

#include <thread>

#include "server/port/calls.h"

namespace raftkv::port {
namespace {

class CommandQueueTest : public testing::Test {
 protected:
  void Post() { queue_.Post(StreamCommand{}); }
  void PostOnAnotherThread() {
    std::thread([this] { Post(); }).join();
  }
  bool woken() const {
    pollfd fd = {.fd = queue_.wake_fd(), .events = POLLIN, .revents = 0};
    return poll(&fd, 1, 0) == 1;
  }
  // As the port's thread does.
  size_t Take() {
    queue_.ClearWake();
    return queue_.Take().size();
  }

  CommandQueue queue_{1 << 20, 1 << 20};
};

TEST_F(CommandQueueTest, ACommandWakesThePort) {
  EXPECT_FALSE(woken());
  Post();
  EXPECT_TRUE(woken());
  Post();
  EXPECT_EQ(Take(), 2u);
  EXPECT_FALSE(woken());
  Post();
  EXPECT_TRUE(woken()) << "again after Take";
}

TEST_F(CommandQueueTest, AThreadThatCallsSendHeldWakesThePortOnceForManyCommands) {
  queue_.SendHeld();
  EXPECT_FALSE(woken()) << "there is nothing to send";
  Post();
  Post();
  EXPECT_FALSE(woken());
  queue_.SendHeld();
  EXPECT_TRUE(woken());
  EXPECT_EQ(Take(), 2u);
  Post();
  EXPECT_FALSE(woken()) << "held again";
}

TEST_F(CommandQueueTest, AFewHeldCommandsAreLeftToTheCaller) {
  EXPECT_FALSE(queue_.SendHeld(2)) << "there are none";
  Post();
  Post();
  EXPECT_TRUE(queue_.SendHeld(2));
  EXPECT_FALSE(woken());
  EXPECT_FALSE(queue_.SendHeld(1));
  EXPECT_TRUE(woken()) << "there are more";
  EXPECT_FALSE(queue_.SendHeld(2)) << "the port's thread takes them";
  EXPECT_EQ(Take(), 2u);
  PostOnAnotherThread();
  EXPECT_FALSE(queue_.SendHeld(2));
}

// The caller takes them although another thread has woken the port's thread meanwhile.
TEST_F(CommandQueueTest, NoWakeIsLostIfTheCallerTakesCommands) {
  queue_.SendHeld();
  Post();
  EXPECT_TRUE(queue_.SendHeld(2));
  PostOnAnotherThread();
  EXPECT_EQ(queue_.Take().size(), 2u);
  PostOnAnotherThread();
  EXPECT_TRUE(woken());
  EXPECT_EQ(Take(), 1u);
  EXPECT_FALSE(woken());
}

TEST_F(CommandQueueTest, ManyHeldCommandsWakeThePort) {
  queue_.SendHeld();
  for (size_t i = 1; i < CommandQueue::kHeldMax; ++i) Post();
  EXPECT_FALSE(woken());
  Post();
  EXPECT_TRUE(woken());
}

TEST_F(CommandQueueTest, OtherThreadsDoNotWaitForSendHeld) {
  queue_.SendHeld();
  Post();
  PostOnAnotherThread();
  EXPECT_TRUE(woken());
  EXPECT_EQ(Take(), 2u);
  PostOnAnotherThread();
  EXPECT_TRUE(woken());
}

}  // namespace
}  // namespace raftkv::port
