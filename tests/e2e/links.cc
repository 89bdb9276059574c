#include "tests/e2e/links.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <glog/logging.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "absl/time/clock.h"

namespace raftkv::e2e {

namespace {

// How many bytes of one connection are moved before the next connection is served.
constexpr size_t kSlice = 1024;

sockaddr_in Address(int port) {
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

int Listen(int port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  const int yes = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
  const sockaddr_in address = Address(port);
  PCHECK(bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0);
  PCHECK(listen(fd, 64) == 0);
  return fd;
}

bool HasSocket(pid_t pid, const std::string& name) {
  const std::string path = absl::StrCat("/proc/", pid, "/fd");
  DIR* dir = pid > 0 ? opendir(path.c_str()) : nullptr;
  if (dir == nullptr) return false;
  bool found = false;
  while (const dirent* entry = readdir(dir)) {
    char target[64] = {};
    if (readlink(absl::StrCat(path, "/", entry->d_name).c_str(), target, sizeof(target) - 1) > 0) {
      found |= name == target;
    }
  }
  closedir(dir);
  return found;
}

}  // namespace

Links::Links(Cluster* cluster)
    : cluster_(cluster),
      size_(cluster->size()),
      targets_(FreePorts(size_)),
      pids_(size_),
      arrived_(size_ * size_),
      now_(absl::Now()) {
  std::string config = ReadFile(cluster->config_path());
  for (int i = 0; i < size_; ++i) {
    listeners_.push_back(Listen(cluster->ports()[2 * i + 1]));
    const std::string line = absl::StrCat("data_dir = \"", cluster->name(i), "\"\n");
    const std::string listen =
        absl::StrCat("listen_peer_url = \"http://127.0.0.1:", targets_[i], "\"\n");
    config = absl::StrReplaceAll(config, {{line, absl::StrCat(line, listen)}});
  }
  WriteFile(cluster->config_path(), config);
  thread_ = std::thread([this] { Run(); });
}

Links::~Links() {
  stop_ = true;
  thread_.join();
  for (const int fd : listeners_) close(fd);
  for (const Link& link : links_) CloseBoth(link);
}

void Links::StartAll() {
  for (int i = 0; i < size_; ++i) {
    cluster_->Start(i);
    pids_[i] = cluster_->process(i).pid();
  }
}

void Links::Cut(int from, int to) {
  absl::MutexLock lock(&mutex_);
  cuts_.insert({from, to});
}

void Links::HealAll() {
  absl::MutexLock lock(&mutex_);
  cuts_.clear();
}

void Links::Slow(int from, int to, int bytes_per_second) {
  absl::MutexLock lock(&mutex_);
  rates_[{from, to}] = {bytes_per_second, 0};
}

void Links::CloseBoth(const Link& link) {
  for (const int fd : link.ends) {
    if (fd >= 0) close(fd);
  }
}

void Links::Run() {
  while (!stop_) {
    AddTime();
    for (int i = 0; i < size_; ++i) Accept(i);
    for (auto link = links_.begin(); link != links_.end();) {
      if (link->members[0] < 0) Identify(&*link);
      link = Carry(&*link) ? std::next(link) : Close(link);
    }
    if (!links_.empty()) links_.splice(links_.end(), links_, links_.begin());
    // A slow connection gets one slice in each pass. With a wait after each pass, it would be
    // slower than its rate whenever this thread has to wait for a processor.
    if (!std::exchange(moved_, false)) Wait();
  }
}

std::list<Links::Link>::iterator Links::Close(std::list<Link>::iterator link) {
  CloseBoth(*link);
  return links_.erase(link);
}

void Links::Accept(int to) {
  const int fd = accept4(listeners_[to], nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (fd < 0) return;
  Link& link = links_.emplace_back();
  link.ends[0] = fd;
  link.members[1] = to;
  link.ends[1] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const sockaddr_in address = Address(targets_[to]);
  if (connect(link.ends[1], reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    close(std::exchange(link.ends[1], -1));
    return;
  }
  for (const int end : link.ends) {
    const int yes = 1;
    setsockopt(end, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
  }
}

// Finds the process that opened the connection, by the inode of its socket.
void Links::Identify(Link* link) const {
  sockaddr_in peer = {};
  socklen_t size = sizeof(peer);
  if (getpeername(link->ends[0], reinterpret_cast<sockaddr*>(&peer), &size) != 0) return;
  // gRPC may use IPv6 sockets for IPv4 addresses.
  std::string line, inode;
  const std::string local = absl::StrFormat("0100007F:%04X", ntohs(peer.sin_port));
  for (const char* table : {"/proc/net/tcp", "/proc/net/tcp6"}) {
    std::ifstream sockets(table);
    while (std::getline(sockets, line)) {
      std::istringstream fields(line);
      std::string number, address, skip;
      fields >> number >> address;
      for (int i = 0; i < 7; ++i) fields >> skip;
      if (address.ends_with(local)) fields >> inode;
    }
  }
  for (int i = 0; i < size_ && !inode.empty() && inode != "0"; ++i) {
    if (HasSocket(pids_[i], absl::StrCat("socket:[", inode, "]"))) link->members[0] = i;
  }
}

bool Links::IsCut(const Link& link, int way) const {
  absl::MutexLock lock(&mutex_);
  return link.members[0] < 0 || cuts_.contains({link.members[way], link.members[1 - way]});
}

size_t Links::MaySend(const Link& link, int way) {
  absl::MutexLock lock(&mutex_);
  const auto rate = rates_.find({link.members[way], link.members[1 - way]});
  if (rate == rates_.end()) return kBufferBytes;
  return rate->second.bytes < kSlice ? 0 : kSlice;
}

void Links::OnSent(const Link& link, int way, size_t bytes) {
  moved_ = true;
  const int from = link.members[way], to = link.members[1 - way];
  arrived_[from * size_ + to] += bytes;
  absl::MutexLock lock(&mutex_);
  const auto rate = rates_.find({from, to});
  if (rate != rates_.end()) rate->second.bytes -= static_cast<double>(bytes);
}

// Moves bytes. False: the connection has ended.
bool Links::Carry(Link* link) {
  if (link->ends[1] < 0) return false;
  for (int i = 0; i < 2; ++i) {
    Way& way = link->ways[i];
    if (IsCut(*link, i)) continue;
    if (way.buffer.size() < kBufferBytes && !way.ended) {
      char data[kBufferBytes];
      const ssize_t got = recv(link->ends[i], data, sizeof(data), MSG_DONTWAIT);
      if (got > 0) way.buffer.append(data, static_cast<size_t>(got));
      if (got == 0 || (got < 0 && errno != EAGAIN)) way.ended = true;
    }
    const size_t may_send = std::min(way.buffer.size(), MaySend(*link, i));
    if (may_send > 0) {
      const ssize_t sent =
          send(link->ends[1 - i], way.buffer.data(), may_send, MSG_DONTWAIT | MSG_NOSIGNAL);
      if (sent < 0 && errno != EAGAIN) return false;
      if (sent > 0) {
        way.buffer.erase(0, static_cast<size_t>(sent));
        OnSent(*link, i, static_cast<size_t>(sent));
      }
    }
    // Members close a connection as a whole.
    if (way.ended && way.buffer.empty()) return false;
  }
  return true;
}

void Links::AddTime() {
  const absl::Time before = std::exchange(now_, absl::Now());
  absl::MutexLock lock(&mutex_);
  for (auto& [ends, rate] : rates_) {
    const double more = absl::ToDoubleSeconds(now_ - before) * rate.bytes_per_second;
    rate.bytes = std::min(rate.bytes + more, 64.0 * kSlice);
  }
}

void Links::Wait() const {
  std::vector<pollfd> fds;
  bool slow = false;
  {
    absl::MutexLock lock(&mutex_);
    slow = !rates_.empty();
  }
  for (const int fd : listeners_) fds.push_back({fd, POLLIN, 0});
  for (const Link& link : links_) {
    for (int i = 0; i < 2 && !slow; ++i) {
      if (!IsCut(link, i) && !link.ways[i].ended) fds.push_back({link.ends[i], POLLIN, 0});
      if (!IsCut(link, i) && !link.ways[i].buffer.empty()) {
        fds.push_back({link.ends[1 - i], POLLOUT, 0});
      }
    }
  }
  poll(fds.data(), fds.size(), /*timeout=*/slow ? 1 : 10);
}

}  // namespace raftkv::e2e
