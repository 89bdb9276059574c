#include "server/port/connection.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

namespace raftkv::port {

namespace {

// If a client accepts no data for this time, its connection is closed.
constexpr absl::Duration kStalledMax = absl::Seconds(60);
// A client must read an answer within kStalledMax, plus one second for this many bytes.
constexpr int64_t kSlowestBytesPerSecond = 1 << 20;
// How long a connection whose session has ended waits for the client to close it.
constexpr absl::Duration kLingerMax = absl::Seconds(1);

void SetSocketOptions(int fd, absl::Duration vanished) {
  const auto set = [fd](int level, int option, int value) {
    setsockopt(fd, level, option, &value, sizeof(value));
  };
  set(IPPROTO_TCP, TCP_NODELAY, 1);
  const int seconds = static_cast<int>(absl::ToInt64Seconds(vanished));
  set(SOL_SOCKET, SO_KEEPALIVE, 1);
  set(IPPROTO_TCP, TCP_KEEPIDLE, seconds / 2);
  set(IPPROTO_TCP, TCP_KEEPINTVL, seconds / 8);
  set(IPPROTO_TCP, TCP_KEEPCNT, 4);
  set(IPPROTO_TCP, TCP_USER_TIMEOUT, 1000 * seconds);  // while bytes are not acknowledged
}

}  // namespace

Connection::Connection(int fd, std::string client_address, const ConnectionLimits& limits,
                       Router* router, MonotonicTime now)
    : client_address_(std::move(client_address)),
      limits_(limits),
      router_(router),
      now_(now),
      opened_(now),
      fd_(fd),
      taken_at_(now) {
  SetSocketOptions(fd, limits.vanished);
}

Connection::~Connection() {
  if (fd_ >= 0) close(fd_);
}

int Connection::ReleaseSocket() { return std::exchange(fd_, -1); }

bool Connection::Write(MonotonicTime now) {
  now_ = now;
  for (size_t sent = 0; sent < kWriteBytes;) {
    const bool empty = out_.empty();
    if (!draining_ && !Fill()) return false;
    if (out_.empty()) break;
    if (empty) taken_at_ = now;
    const ssize_t taken = send(fd_, out_.data(), out_.size(), MSG_NOSIGNAL);
    if (taken < 0) {
      socket_full_ = errno == EAGAIN || errno == EWOULDBLOCK;
      return socket_full_ || errno == EINTR;
    }
    sent += static_cast<size_t>(taken);
    taken_at_ = now;
    if (static_cast<size_t>(taken) == out_.size()) {
      out_.clear();
    } else {
      out_.erase(0, static_cast<size_t>(taken));
    }
  }
  socket_full_ = false;
  if (!unwritten() && IsOver()) StartDraining();
  // The client closes the connection then. If it were closed here, answers on their way to the
  // client might be lost.
  if (draining_ && out_.empty()) shutdown(fd_, SHUT_WR);
  return true;
}

void Connection::StartDraining() {
  if (!std::exchange(draining_, true)) draining_since_ = now_;
}

bool Connection::Stalls(MonotonicTime now) const {
  if (draining_ && now - draining_since_ > kLingerMax) return true;
  return !out_.empty() && now - taken_at_ > kStalledMax;
}

MonotonicTime Connection::SentBy(size_t bytes) const {
  return now_ + kStalledMax + absl::Seconds(static_cast<int64_t>(bytes) / kSlowestBytesPerSecond);
}

}  // namespace raftkv::port
