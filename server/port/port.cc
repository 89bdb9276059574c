#include "server/port/port.h"

#include <malloc.h>
#include <netdb.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "server/clock.h"
#include "server/port/http1_connection.h"

namespace raftkv::port {

namespace {

constexpr int kEventsMax = 256;  // sockets served in one round
constexpr int kAcceptsMax = 64;  // connections accepted in one round
constexpr int kBacklog = 4096;
constexpr size_t kTrimAbove = 64 << 20;
constexpr absl::Duration kTrimInterval = absl::Seconds(10);

std::string AddressOf(const sockaddr* address, socklen_t size) {
  std::array<char, NI_MAXHOST> host;
  std::array<char, NI_MAXSERV> port;
  if (getnameinfo(address, size, host.data(), host.size(), port.data(), port.size(),
                  NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
    return "unknown";
  }
  const bool v6 = address->sa_family == AF_INET6;
  return absl::StrCat(v6 ? "[" : "", host.data(), v6 ? "]:" : ":", port.data());
}

absl::Status Failed(const std::string& host_port) {
  return absl::FailedPreconditionError(
      absl::StrCat("cannot listen on ", host_port, ": ", strerror(errno)));
}

// Binds one address; `*port` is set if it was 0.
absl::StatusOr<int> Bind(const addrinfo& address, int* port, const std::string& host_port) {
  const int fd = socket(address.ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return Failed(host_port);
  absl::Cleanup close_fd = [fd] { close(fd); };
  const int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  // The wildcard of IPv6 accepts IPv4 too.
  const auto* v6 = reinterpret_cast<const sockaddr_in6*>(address.ai_addr);
  const int only_v6 = address.ai_family == AF_INET6 && !IN6_IS_ADDR_UNSPECIFIED(&v6->sin6_addr);
  if (address.ai_family == AF_INET6) {
    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only_v6, sizeof(only_v6));
  }
  if (bind(fd, address.ai_addr, address.ai_addrlen) != 0 || listen(fd, kBacklog) != 0) {
    return Failed(host_port);
  }
  sockaddr_storage bound = {};
  socklen_t size = sizeof(bound);
  getsockname(fd, reinterpret_cast<sockaddr*>(&bound), &size);
  *port = ntohs(bound.ss_family == AF_INET6 ? reinterpret_cast<sockaddr_in6*>(&bound)->sin6_port
                                            : reinterpret_cast<sockaddr_in*>(&bound)->sin_port);
  std::move(close_fd).Cancel();
  return fd;
}

}  // namespace

Port::~Port() {
  Close(absl::ZeroDuration());
  absl::MutexLock lock(&serving_);
  StopListening();
}

void Port::Serve(Methods methods, EventQueue* events, Admission admission) {
  Group* const group = groups_.emplace_back(std::make_unique<Group>()).get();
  group->methods = std::move(methods);
  group->events = events;
  group->admission = std::move(admission);
  group->command_queue = &command_queue_;
  for (const UnaryMethod& method : group->methods.unary) {
    rows_[method.name] = {.group = group, .unary = &method};
  }
  for (const StreamMethod& method : group->methods.streams) {
    rows_[method.name] = {.group = group, .stream = &method};
  }
}

absl::Status Port::Listen(const std::string& host_port, Face face) {
  const size_t colon = host_port.rfind(':');
  CHECK_NE(colon, std::string::npos) << host_port;
  std::string host = host_port.substr(0, colon);
  if (host.size() > 2 && host[0] == '[') host = host.substr(1, host.size() - 2);
  addrinfo hints = {};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const int error = getaddrinfo(host.c_str(), host_port.c_str() + colon + 1, &hints, &found);
  if (error != 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("cannot listen on ", host_port, ": ", gai_strerror(error)));
  }
  const absl::Cleanup free_found = [found] { freeaddrinfo(found); };
  // As with gRPC, one of the addresses of a name is enough: the machine may have no IPv6.
  absl::Status status = absl::NotFoundError("no address");
  bool bound = false;
  for (const addrinfo* address = found; address != nullptr; address = address->ai_next) {
    const absl::StatusOr<int> listener = Bind(*address, &port_, host_port);
    if (listener.ok()) {
      listeners_[*listener] = face;
      bound = true;
    } else {
      status = listener.status();
    }
  }
  return bound ? absl::OkStatus() : status;
}

void Port::Start() {
  absl::MutexLock lock(&serving_);
  epoll_ = epoll_create1(EPOLL_CLOEXEC);
  PCHECK(epoll_ >= 0) << "epoll_create1";
  std::vector<int> sources = {command_queue_.wake_fd()};
  for (const auto& [fd, face] : listeners_) sources.push_back(fd);
  for (const int fd : sources) {
    epoll_event event = {.events = EPOLLIN, .data = {.fd = fd}};
    PCHECK(epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event) == 0) << "epoll_ctl";
  }
  thread_ = std::thread([this] { Run(); });
}

void Port::Decline() {
  if (!thread_.joinable()) return;
  step_ = Step::kDecline;
  command_queue_.Wake();
  declined_.WaitForNotification();
}

void Port::Close(absl::Duration flush) {
  if (!thread_.joinable()) return;
  flush_us_ = absl::ToInt64Microseconds(flush);
  step_ = Step::kClose;
  command_queue_.Wake();
  thread_.join();
  if (json_ != nullptr) json_->Stop();
}

void Port::FinishStreams(const EventQueue* events, const absl::Status& status) {
  for (const std::unique_ptr<Group>& group : groups_) {
    if (group->events == events) port::FinishStreams(group.get(), status);
  }
}

void Port::SendAnswers() {
  constexpr int kFew = 4;
  // With many calls, more answers follow soon, and the port's thread sends them together.
  const bool busy = !options_.connection.for_peers && running() > kFew;
  if (!command_queue_.SendHeld(busy ? 0 : kFew)) return;
  if (serving_.TryLock()) {
    // What is left to be written may be much, of many connections. It must not delay this thread.
    if (touched_.empty()) {
      now_ = MonotonicNow();
      ServeCommands();
      if (!touched_.empty()) command_queue_.Wake();
    }
    serving_.Unlock();
  }
  command_queue_.SendHeld();  // unless they were served here
}

// --- the port's thread

void Port::Run() {
  absl::MutexLock lock(&serving_);
  now_ = MonotonicNow();
  next_second_ = now_ + absl::Seconds(1);
  while (step_ != Step::kClose) {
    RunOnce(next_second_);
    if (now_ < next_second_) continue;
    next_second_ = now_ + absl::Seconds(1);
    EndLate();
    PushEvents();
    TrimMemory();
    WatchListeners(true);
  }
  RunClose();
  close(std::exchange(epoll_, -1));
}

void Port::RunOnce(MonotonicTime until) {
  if (step_ == Step::kDecline && !declined_.HasBeenNotified()) {
    StopListening();
    for (auto& [fd, connection] : connections_) {
      if (!connection->introduced()) continue;
      connection->AnnounceGoaway();
      touched_.insert(fd);
    }
    WriteTouched();
    PushEvents();
    declined_.Notify();
  }
  std::array<epoll_event, kEventsMax> events;
  const absl::Duration wait = touched_.empty() ? until - now_ : absl::ZeroDuration();
  const int timeout_ms = static_cast<int>(
      std::clamp<int64_t>(absl::ToInt64Milliseconds(wait) + (touched_.empty() ? 1 : 0), 0, 1000));
  const int epoll = epoll_;
  serving_.Unlock();
  const int count = epoll_wait(epoll, events.data(), kEventsMax, timeout_ms);
  serving_.Lock();
  now_ = MonotonicNow();
  for (int i = 0; i < count; ++i) {
    const int fd = events[i].data.fd;
    if (const auto it = connections_.find(fd); it != connections_.end()) {
      ServeSocket(it->second.get(), events[i].events);
    } else if (const auto at = listeners_.find(fd); at != listeners_.end()) {
      Accept(fd, at->second);
    } else if (fd == command_queue_.wake_fd()) {
      command_queue_.ClearWake();
    }
  }
  ServeCommands();
}

void Port::ServeCommands() {
  RunCommands();
  PushEvents();
  WriteTouched();
  PushEvents();
}

void Port::Accept(int listener, Face face) {
  for (int i = 0; i < kAcceptsMax; ++i) {
    sockaddr_storage address = {};
    socklen_t size = sizeof(address);
    const int fd = accept4(listener, reinterpret_cast<sockaddr*>(&address), &size,
                           SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
      if (errno == EMFILE || errno == ENFILE) WatchListeners(false);  // until the next second
      return;
    }
    const bool full = connections_.size() >= options_.connections_max;
    if (full && !DropStranger()) {
      ++too_many_;
      close(fd);
      continue;
    }
    Router* const router = this;
    const std::string client_address = AddressOf(reinterpret_cast<sockaddr*>(&address), size);
    std::unique_ptr<Connection> connection;
    if (face == Face::kPages) {
      connection =
          std::make_unique<Http1Connection>(fd, client_address, options_.connection, router, now_,
                                            /*pages_only=*/true);
    } else {
      connection =
          std::make_unique<Http2Connection>(fd, client_address, options_.connection, router, now_);
    }
    epoll_event event = {.events = EPOLLIN, .data = {.fd = fd}};
    PCHECK(epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event) == 0) << "epoll_ctl";
    connection->watched_events = event.events;
    connections_[fd] = std::move(connection);
    connection_count_ = connections_.size();
  }
}

bool Port::DropStranger() {
  const auto rank = [](const Connection& c) { return std::pair(c.has_calls(), c.opened()); };
  Connection* first = nullptr;
  for (const auto& [fd, connection] : connections_) {
    if (!connection->stranger()) continue;
    if (first == nullptr || rank(*connection) < rank(*first)) first = connection.get();
  }
  if (first == nullptr) return false;
  Drop(first);
  return true;
}

void Port::ServeSocket(Connection* connection, uint32_t events) {
  const int fd = connection->fd();
  touched_.insert(fd);
  if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) == 0 || connection->Read(now_)) return;
  std::unique_ptr<Connection> successor = connection->Successor();
  if (successor == nullptr) return Drop(connection);
  successor->watched_events = connection->watched_events;
  connections_[fd] = std::move(successor);
}

void Port::RunCommands() {
  for (StreamCommand& command : command_queue_.Take()) {
    Connection* const connection = command.stream->connection;
    if (connection == nullptr) {
      OnSent(UnsentBytes(command));
      continue;
    }
    connection->Execute(&command);
    touched_.insert(connection->fd());
  }
}

void Port::WriteTouched() {
  for (const int fd : std::exchange(touched_, {})) {
    const auto it = connections_.find(fd);
    if (it == connections_.end()) continue;
    Connection* const connection = it->second.get();
    if (!connection->Write(now_)) {
      Drop(connection);
      continue;
    }
    Watch(connection);
    if (connection->unwritten() && !connection->socket_full()) touched_.insert(fd);
  }
}

void Port::Watch(Connection* connection) {
  uint32_t events = 0;
  if (connection->wants_read()) events |= EPOLLIN;
  if (connection->socket_full()) events |= EPOLLOUT;
  if (std::exchange(connection->watched_events, events) == events) return;
  epoll_event event = {.events = events, .data = {.fd = connection->fd()}};
  PCHECK(epoll_ctl(epoll_, EPOLL_CTL_MOD, connection->fd(), &event) == 0) << "epoll_ctl";
}

void Port::Drop(Connection* connection) {
  touched_.erase(connection->fd());
  connections_.erase(connection->fd());
  connection_count_ = connections_.size();
}

void Port::PushEvents() {
  for (const std::unique_ptr<Group>& group : groups_) {
    group->events->Push(group->new_events);
    group->new_events.clear();
  }
}

// glibc's allocator, in a program that embeds a member, keeps the memory of large answers after
// they were sent. This tells it to give the memory back to the system. raftkv-server's does so by
// itself.
void Port::TrimMemory() {
  const size_t unsent = command_queue_.unsent_bytes;
  peak_unsent_ = std::max(peak_unsent_, unsent);
  if (peak_unsent_ < kTrimAbove || unsent > peak_unsent_ / 4 || now_ < next_trim_) return;
  peak_unsent_ = unsent;
  next_trim_ = now_ + kTrimInterval;  // the allocator's other users wait meanwhile
  malloc_trim(0);
}

void Port::EndLate() {
  std::vector<Connection*> late;
  for (auto& [fd, connection] : connections_) {
    if (!connection->EndLate(now_)) {
      late.push_back(connection.get());
    } else if (connection->unwritten() && !connection->socket_full()) {
      // Some clients of HTTP/2 wait for our settings before they speak.
      touched_.insert(fd);
    }
  }
  for (Connection* connection : late) Drop(connection);
  if (too_many_ > 0) {
    LOG(WARNING) << "closed " << std::exchange(too_many_, 0) << " new connections of "
                 << (options_.connection.for_peers ? "peers" : "clients")
                 << " at once: " << options_.connections_max << " are open, which is the maximum";
  }
}

void Port::WatchListeners(bool watch) {
  if (std::exchange(accepting_, watch) == watch) return;
  for (const auto& [fd, face] : listeners_) {
    epoll_event event = {.events = watch ? uint32_t{EPOLLIN} : 0, .data = {.fd = fd}};
    epoll_ctl(epoll_, EPOLL_CTL_MOD, fd, &event);
  }
}

void Port::StopListening() {
  for (const auto& [fd, face] : std::exchange(listeners_, {})) close(fd);
}

void Port::RunClose() {
  const MonotonicTime until = now_ + absl::Microseconds(flush_us_.load());
  StopListening();
  RunCommands();
  for (auto& [fd, connection] : connections_) {
    connection->Goaway();
    touched_.insert(fd);
  }
  WriteTouched();
  // A client closes its connection after the last answer.
  while (!connections_.empty() && now_ < until) RunOnce(until);
  connections_.clear();
  PushEvents();
}

// --- Router

// These are called by connections, so by the thread that holds serving_.

absl::Status Port::Open(const std::shared_ptr<GrpcStream>& stream) {
  const auto it = rows_.find(stream->method);
  if (it == rows_.end()) {
    return absl::UnimplementedError(
        options_.connection.for_peers
            ? absl::StrCat("the peer port does not serve ", stream->method)
            : absl::StrCat("etcdserver: raftkv does not serve ", stream->method, " yet"));
  }
  const Row& row = it->second;
  stream->owner = row.unary != nullptr ? NewUnaryOwner(row.group, row.unary, stream)
                                       : NewStreamOwner(row.group, row.stream, stream);
  return absl::OkStatus();
}

std::vector<std::string> Port::Served() const {
  std::vector<std::string> names;
  for (const auto& [name, row] : rows_) {
    if (name.rfind(kPage, 0) != 0) names.push_back(name);
  }
  return names;
}

bool Port::HasPage(const std::string& path) const {
  return rows_.contains(absl::StrCat(kPage, path));
}

void Port::OnStreamClosed() {
  serving_.AssertHeld();
  --streams_;
}

bool Port::AdmitStream(bool of_stranger) {
  serving_.AssertHeld();
  // OnStreamClosed is not called for a stream that is not admitted, so do not count it. Calls are
  // limited, too, because a call may still wait for its handler after its stream was closed.
  const size_t calls_max = of_stranger ? options_.calls_max / 2 : options_.calls_max;
  if (streams_ >= options_.streams_max || command_queue_.running >= static_cast<int>(calls_max)) {
    return false;
  }
  ++streams_;
  return true;
}

int Port::running(const EventQueue* events) const {
  int running = 0;
  for (const std::unique_ptr<Group>& group : groups_) {
    if (group->events == events) running += group->running;
  }
  return running;
}

}  // namespace raftkv::port
