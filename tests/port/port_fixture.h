#ifndef RAFTKV_TESTS_PORT_PORT_FIXTURE_H_
#define RAFTKV_TESTS_PORT_PORT_FIXTURE_H_

// One connection of a port, whose client is the test, and the router behind it. Everything runs on
// the thread of the test, at the time now_.

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <utility>

#include "absl/time/time.h"
#include "server/port/calls.h"
#include "server/port/http2_connection.h"
#include "server/rpc/event_queue.h"

namespace raftkv::port {

class PortFixture : public testing::Test, protected Router {
 protected:
  // Call it once the methods are in group_.
  void Connect() {
    group_.events = &events_;
    group_.command_queue = &command_queue_;
    int ends[2];
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
    client_ = ends[0];
    const int small = 16 << 10;  // so that a client that does not read is soon noticed
    setsockopt(ends[1], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
    Router* const router = this;
    connection_ = std::make_unique<Http2Connection>(ends[1], "client", limits_, router, now_);
  }

  // With what limits_ has now.
  void Reconnect() {
    connection_.reset();
    close(client_);
    Connect();
  }

  void TearDown() override {
    connection_.reset();
    RunEvents();
    if (call_ != nullptr) call_->Finish(absl::OkStatus());
    for (StreamCommand& command : command_queue_.Take()) {
      EXPECT_EQ(command.stream->connection, nullptr);
      OnSent(UnsentBytes(command));
    }
    EXPECT_EQ(command_queue_.running, 0);
    EXPECT_EQ(command_queue_.unsent_bytes, 0u);
    EXPECT_EQ(streams_, 0);
    close(client_);
  }

  void RunEvents() {
    events_.Push(std::exchange(group_.new_events, {}));
    while (events_.RunNext()) {
    }
  }

  // The handler of the unary method ends its call, whose response it has filled in.
  void FinishCall() {
    std::exchange(call_, nullptr)->Finish(absl::OkStatus());
    for (StreamCommand& command : command_queue_.Take()) connection_->Execute(&command);
  }

  // Returns the bytes that the connection sends now. The client reads them.
  std::string Sent() {
    EXPECT_TRUE(connection_->Write(now_));
    std::string all;
    char bytes[4096];
    for (ssize_t count = 0; (count = recv(client_, bytes, sizeof(bytes), 0)) > 0;) {
      all.append(bytes, static_cast<size_t>(count));
    }
    return all;
  }

  // Router:
  absl::Status Open(const std::shared_ptr<GrpcStream>& stream) override {
    for (const UnaryMethod& method : group_.methods.unary) {
      if (method.name == stream->method) stream->owner = NewUnaryOwner(&group_, &method, stream);
    }
    for (const StreamMethod& method : group_.methods.streams) {
      if (method.name == stream->method) stream->owner = NewStreamOwner(&group_, &method, stream);
    }
    return stream->owner != nullptr ? absl::OkStatus() : absl::UnimplementedError("not here");
  }
  bool AdmitStream(bool /*of_stranger*/) override { return admits_ && ++streams_ > 0; }
  void OnStreamClosed() override { --streams_; }
  bool ChangeRequestBytes(int64_t, int64_t, int64_t, bool) override { return true; }
  void OnSent(size_t bytes) override { command_queue_.unsent_bytes -= bytes; }
  bool HasPage(const std::string&) const override { return false; }
  JsonGateway* json() override { return nullptr; }

  ConnectionLimits limits_;
  bool admits_ = true;
  int streams_ = 0;
  EventQueue events_{[] {}};
  CommandQueue command_queue_{256 << 20, 2 << 20};
  Group group_;
  UnaryCall* call_ = nullptr;  // the handler has not answered it yet
  const MonotonicTime start_ = MonotonicTime() + absl::Hours(1);
  MonotonicTime now_ = start_;
  int client_ = -1;
  std::unique_ptr<Connection> connection_;
};

}  // namespace raftkv::port

#endif  // RAFTKV_TESTS_PORT_PORT_FIXTURE_H_
