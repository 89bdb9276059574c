#include "server/ports.h"

#include <dirent.h>
#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <memory>
#include <sstream>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "config/url.h"

namespace raftkv {

namespace {

constexpr char kListening[] = "0A";  // TCP_LISTEN in /proc/net/tcp

// "socket:[INODE]" of the socket that listens on `port`, or empty.
std::string ListenerOf(int port) {
  const std::string wanted = absl::StrFormat(":%04X", port);
  for (const char* table : {"/proc/net/tcp", "/proc/net/tcp6"}) {
    std::ifstream file(table);
    for (std::string line; std::getline(file, line);) {
      std::istringstream words(line);
      std::vector<std::string> word(10);
      for (std::string& w : word) words >> w;
      const bool same_port =
          word[1].size() > wanted.size() &&
          word[1].compare(word[1].size() - wanted.size(), wanted.size(), wanted) == 0;
      if (same_port && word[3] == kListening) return absl::StrCat("socket:[", word[9], "]");
    }
  }
  return "";
}

std::vector<std::string> NamesIn(const std::string& dir) {
  std::vector<std::string> names;
  const std::unique_ptr<DIR, int (*)(DIR*)> open(opendir(dir.c_str()), closedir);
  if (open == nullptr) return names;
  while (const dirent* entry = readdir(open.get())) names.push_back(entry->d_name);
  return names;
}

// Who listens on `port`, for the error, and what to do.
std::string InUse(int port) {
  const std::string socket = ListenerOf(port);
  for (const std::string& pid : socket.empty() ? std::vector<std::string>() : NamesIn("/proc")) {
    int number = 0;
    if (!absl::SimpleAtoi(pid, &number)) continue;  // "self" for example
    const std::string fds = absl::StrCat("/proc/", pid, "/fd");
    for (const std::string& fd : NamesIn(fds)) {
      char target[64] = {};
      const std::string link = absl::StrCat(fds, "/", fd);
      if (readlink(link.c_str(), target, sizeof(target) - 1) < 0 || socket != target) continue;
      if (number == getpid()) {
        return absl::StrCat("port ", port, " is that of another URL of this member",
                            "; change one of the two URLs to another port");
      }
      std::string name;
      std::getline(std::ifstream(absl::StrCat("/proc/", pid, "/comm")), name);
      return absl::StrCat("port ", port, " is in use by process ", pid, " (", name,
                          "); stop it, or change the URL to another port");
    }
  }
  return absl::StrCat("port ", port, " is in use by a process of another user",
                      "; stop it, or change the URL to another port");
}

struct Addresses {
  ~Addresses() {
    if (list != nullptr) freeaddrinfo(list);
  }
  addrinfo* list = nullptr;
};

// The listening sockets of the check. They stay open until all ports are checked, so that two URLs
// of one member cannot have the same port.
class Listeners {
 public:
  Listeners() = default;
  ~Listeners() {
    for (const int fd : fds_) close(fd);
  }
  Listeners(const Listeners&) = delete;
  Listeners& operator=(const Listeners&) = delete;

  // Returns 0 if the process can listen on `address`, else the errno.
  int Listen(const addrinfo& address) {
    const int fd = socket(address.ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return errno;
    fds_.push_back(fd);
    const int on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));  // as port::Port does
    const bool listens = bind(fd, address.ai_addr, address.ai_addrlen) == 0 && listen(fd, 1) == 0;
    return listens ? 0 : errno;
  }

 private:
  std::vector<int> fds_;
};

absl::Status CheckPort(const ListenUrl& wanted, Listeners* listeners) {
  const std::string address = HostPort(wanted.url);
  const size_t colon = address.rfind(':');
  const std::string port_text = address.substr(colon + 1);
  const std::string host = absl::StrReplaceAll(address.substr(0, colon), {{"[", ""}, {"]", ""}});
  int port = 0;
  (void)absl::SimpleAtoi(port_text, &port);
  const std::string cannot = absl::StrCat("cannot listen on ", address, " (", wanted.key, "): ");

  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  Addresses found;
  if (const int error = getaddrinfo(host.c_str(), port_text.c_str(), &hints, &found.list)) {
    return absl::FailedPreconditionError(
        absl::StrCat(cannot, "the host \"", host, "\" cannot be resolved (", gai_strerror(error),
                     "); write an address of this machine, or correct the name"));
  }
  // Like gRPC, succeed if one of the addresses of the host can be used.
  int error = 0;
  for (const addrinfo* one = found.list; one != nullptr; one = one->ai_next) {
    error = listeners->Listen(*one);
    if (error == 0) return absl::OkStatus();
    if (error == EADDRINUSE) break;
  }
  switch (error) {
    case EADDRINUSE:
      return absl::FailedPreconditionError(absl::StrCat(cannot, InUse(port)));
    case EADDRNOTAVAIL:
      return absl::FailedPreconditionError(absl::StrCat(
          cannot, "this machine has no address ", host,
          "; set the listen URL to an address of its own, or to 0.0.0.0 for all of them"));
    case EACCES:
    case EPERM:
      return absl::PermissionDeniedError(
          absl::StrCat(cannot, "the system does not let this user take port ", port,
                       "; change the URL to a port from 1024 on"));
    default:
      return absl::FailedPreconditionError(
          absl::StrCat(cannot, std::strerror(error), "; change the URL"));
  }
}

}  // namespace

absl::Status CheckPorts(const std::vector<ListenUrl>& urls) {
  Listeners listeners;
  for (const ListenUrl& url : urls) {
    if (absl::Status s = CheckPort(url, &listeners); !s.ok()) return s;
  }
  return absl::OkStatus();
}

}  // namespace raftkv
