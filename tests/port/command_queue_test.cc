// The commands that handlers give to a port's thread, and when that thread is woken.

#include <gtest/gtest.h>
#include <poll.h>

#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "server/port/calls.h"

namespace raftkv::port {
namespace {

class CommandQueueTest : public testing::Test {
 protected:
  static std::shared_ptr<GrpcStream> Stream(int32_t id) {
    return std::make_shared<GrpcStream>(id, /*of=*/nullptr, /*message_bytes_max=*/1);
  }
  void Post() { queue_.Post({.stream = Stream(1)}); }
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

// With other commands, the thread that takes them may have to parse requests.
TEST_F(CommandQueueTest, OnlyResponsesOverHttp2AreLeftToTheCaller) {
  for (StreamCommand& command : std::vector<StreamCommand>{
           {.stream = Stream(1), .deliver = true},
           {.stream = Stream(1), .request = std::string("{}")},
           {.stream = Stream(0)},  // over HTTP/1
       }) {
    queue_.SendHeld();
    Post();
    EXPECT_TRUE(queue_.SendHeld(2));
    queue_.Post(std::move(command));
    EXPECT_FALSE(queue_.SendHeld(2));
    EXPECT_TRUE(woken());
    EXPECT_EQ(Take(), 2u);
  }
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
