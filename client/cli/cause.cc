#include "client/cli/cause.h"

#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <optional>
#include <thread>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "absl/synchronization/mutex.h"
#include "client/clock.h"

namespace raftkv::client {
namespace {

constexpr char kTls[] = "it expects TLS, which is not supported yet";
constexpr absl::Duration kStatusLimit = absl::Seconds(1);

class Socket {
 public:
  explicit Socket(int fd) : fd_(fd) {}
  Socket(Socket&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  ~Socket() {
    if (fd_ >= 0) close(fd_);
  }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  int fd() const { return fd_; }

  // Waits until the socket is ready for `events`. False: not before the deadline.
  bool Await(short events, MonotonicTime deadline) const {
    pollfd one = {.fd = fd_, .events = events, .revents = 0};
    const absl::Duration left = std::max(deadline - Now(), absl::ZeroDuration());
    return poll(&one, 1, static_cast<int>(absl::ToInt64Milliseconds(left))) > 0;
  }

 private:
  int fd_;
};

// Connects. Returns 0 or the errno.
int Connect(const addrinfo& to, const Socket& socket, MonotonicTime deadline) {
  if (connect(socket.fd(), to.ai_addr, to.ai_addrlen) == 0) return 0;
  if (errno != EINPROGRESS) return errno;
  if (!socket.Await(POLLOUT, deadline)) return ETIMEDOUT;
  int error = 0;
  socklen_t size = sizeof(error);
  getsockopt(socket.fd(), SOL_SOCKET, SO_ERROR, &error, &size);
  return error;
}

// Sends the greeting. Returns the first bytes of the answer; empty: the connection was closed.
// nullopt: no answer.
std::optional<std::string> Greet(const addrinfo& to, absl::string_view greeting,
                                 MonotonicTime deadline) {
  const Socket socket(::socket(to.ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (Connect(to, socket, deadline) != 0) return "";
  (void)!send(socket.fd(), greeting.data(), greeting.size(), MSG_NOSIGNAL);
  if (!socket.Await(POLLIN, deadline)) return std::nullopt;
  char bytes[64];
  const ssize_t size = recv(socket.fd(), bytes, sizeof(bytes), 0);
  return std::string(bytes, static_cast<size_t>(std::max<ssize_t>(size, 0)));
}

// The first record of a TLS connection, with the fewest fields. A TLS server answers it with its
// own hello or with an alert, both of which are TLS records.
std::string TlsHello() {
  const std::string random(32, 'r');
  const std::string suites("\x00\x08\x13\x01\xc0\x2f\x00\x9c\x00\x2f", 10);
  const std::string hello =
      absl::StrCat(absl::string_view("\x03\x03", 2), random, absl::string_view("\0", 1), suites,
                   absl::string_view("\x01\x00", 2));
  const auto length = [](size_t size) { return std::string{'\0', static_cast<char>(size)}; };
  const std::string handshake =
      absl::StrCat(absl::string_view("\x01\x00", 2), length(hello.size()), hello);
  return absl::StrCat(absl::string_view("\x16\x03\x01", 3), length(handshake.size()), handshake);
}

bool IsTlsRecord(absl::string_view bytes) {
  return bytes.size() >= 2 && (bytes[0] == 0x15 || bytes[0] == 0x16) && bytes[1] == 3;
}

// Why there is no HTTP/2 connection with a server that accepts TCP connections.
std::string WhyNoGreeting(const addrinfo& to, MonotonicTime deadline) {
  // RFC 9113, section 3.4: the client's preface, and an empty SETTINGS frame.
  constexpr absl::string_view kPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
  constexpr absl::string_view kSettings("\0\0\0\x04\0\0\0\0\0", 9);
  const auto answer = Greet(to, absl::StrCat(kPreface, kSettings), deadline);
  if (!answer) {
    return "it accepts connections, but does not answer: the process may be stopped or overloaded";
  }
  if (IsTlsRecord(*answer)) return kTls;
  if (answer->empty()) {
    const auto tls = Greet(to, TlsHello(), deadline);
    if (tls && IsTlsRecord(*tls)) return kTls;
    return "it closes the connection: it is no gRPC server, or has too many connections";
  }
  const bool http2 = answer->size() > 3 && (*answer)[3] == 4 && !absl::StartsWith(*answer, "HTTP");
  return http2 ? "it answers now: try again, or raise --dial-timeout and --command-timeout"
               : "it is not a gRPC server";
}

std::string Probe(const std::string& address, MonotonicTime deadline) {
  const size_t colon = address.rfind(':');
  absl::string_view host(address.data(), colon);
  if (absl::ConsumePrefix(&host, "[")) absl::ConsumeSuffix(&host, "]");
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* list = nullptr;
  const int unknown =
      getaddrinfo(std::string(host).c_str(), address.c_str() + colon + 1, &hints, &list);
  if (unknown != 0) {
    return absl::StrCat("the name ", host, " is not found: ", gai_strerror(unknown));
  }
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> found(list, freeaddrinfo);
  int error = 0;
  const addrinfo* to = list;
  for (; to != nullptr; to = to->ai_next) {
    const Socket socket(::socket(to->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    error = socket.fd() < 0 ? errno : Connect(*to, socket, deadline);
    if (error == 0) break;
  }
  if (to != nullptr) return WhyNoGreeting(*to, deadline);
  switch (error) {
    case ECONNREFUSED:
      return "connection refused: no server listens there";
    case ETIMEDOUT:
      return "no answer: the host is down, or a firewall drops the connection";
    default:
      return std::strerror(error);
  }
}

}  // namespace

// Runs in a thread of its own, because looking up a name cannot be ended. If the time is over, the
// thread goes on without effect.
std::string WhyUnreachable(const std::string& address, absl::Duration limit) {
  struct Result {
    absl::Mutex mutex;
    std::string text;
  };
  const auto result = std::make_shared<Result>();
  const MonotonicTime deadline = Now() + limit;
  std::thread([result, address, deadline] {
    std::string text = Probe(address, deadline);
    const absl::MutexLock lock(&result->mutex);
    result->text = std::move(text);
  }).detach();
  const absl::MutexLock lock(&result->mutex);
  const auto done = [](Result* r) { return !r->text.empty(); };
  if (!result->mutex.AwaitWithTimeout(absl::Condition(+done, result.get()),
                                      limit + absl::Milliseconds(100))) {
    return "its name cannot be looked up: no name server answers";
  }
  return result->text;
}

std::string CannotConnect(const std::vector<std::string>& endpoints, absl::Duration limit) {
  std::vector<std::string> parts(endpoints.size());
  std::vector<std::thread> threads;
  for (size_t i = 0; i < endpoints.size(); ++i) {
    threads.emplace_back([&, i] {
      const std::string address(absl::StripPrefix(endpoints[i], "http://"));
      parts[i] = absl::StrCat(address, " (", WhyUnreachable(address, limit), ")");
    });
  }
  for (std::thread& thread : threads) thread.join();
  return absl::StrCat("cannot connect to ", absl::StrJoin(parts, ", "));
}

bool HasHalted(const std::vector<std::string>& errors) {
  return std::any_of(errors.begin(), errors.end(),
                     [](const std::string& error) { return absl::StartsWith(error, "halted:"); });
}

std::string WhyNoLeader(const Options& options) {
  const std::vector<std::string>& endpoints = options.endpoints;
  std::vector<absl::StatusOr<StatusResult>> answers(endpoints.size(), absl::UnknownError(""));
  std::vector<std::thread> threads;
  for (size_t i = 0; i < endpoints.size(); ++i) {
    threads.emplace_back([&, i] {
      auto client = Client::Connect({.endpoints = {endpoints[i]},
                                     .dial_timeout = std::min(options.dial_timeout, kStatusLimit),
                                     .request_timeout = kStatusLimit});
      if (client.ok()) answers[i] = (*client)->Status();
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::vector<std::string> without, silent;
  size_t halted = 0;  // of `without`
  for (size_t i = 0; i < endpoints.size(); ++i) {
    if (!answers[i].ok()) {
      silent.push_back(endpoints[i]);
    } else if (answers[i]->leader == 0) {
      std::vector<std::string>& errors = answers[i]->errors;
      std::erase(errors, "etcdserver: no leader");
      if (HasHalted(errors)) ++halted;
      without.push_back(errors.empty()
                            ? endpoints[i]
                            : absl::StrCat(endpoints[i], " (", absl::StrJoin(errors, ", "), ")"));
    } else {
      return "";
    }
  }
  if (without.empty()) return "";
  if (halted == without.size()) {  // it hears no leader, but the others may have one
    return absl::StrCat(absl::StrJoin(without, ", "), "; name another member with --endpoints");
  }
  std::string text = absl::StrCat("the cluster has no leader: ", absl::StrJoin(without, ", "),
                                  without.size() == 1 ? " knows none" : " know none");
  if (!silent.empty()) absl::StrAppend(&text, "; no answer from ", absl::StrJoin(silent, ", "));
  return absl::StrCat(text,
                      "; check with raftkv endpoint status and in the members' logs that a "
                      "majority of the members run and reach each other");
}

}  // namespace raftkv::client
