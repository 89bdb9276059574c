// Partitions that cut one direction only. A proxy carries all connections between the members: a
// byte that one member sends to another waits as long as that direction is cut, and arrives when it
// is healed. Clients work all the time, and the checker examines every answer. With RAFTKV_SOAK=1
// there are more rounds.

#include <arpa/inet.h>
#include <dirent.h>
#include <glog/logging.h>
#include <gmock/gmock.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <list>
#include <random>
#include <set>
#include <sstream>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "absl/synchronization/mutex.h"
#include "tests/e2e/traffic.h"

namespace raftkv::e2e {
namespace {

using testing::IsEmpty;

constexpr int kMembers = 3;

// Carries the connections between the members. Each member is reached at a port of the proxy.
class Links {
 public:
  Links(std::vector<int> ports, std::vector<int> targets)
      : ports_(std::move(ports)), targets_(std::move(targets)) {
    for (const int port : ports_) listeners_.push_back(Listen(port));
    thread_ = std::thread([this] { Run(); });
  }
  ~Links() {
    stop_ = true;
    thread_.join();
    for (const int fd : listeners_) close(fd);
    for (const Link& link : links_) CloseBoth(link);
  }

  // The process of a member. Its connections wait until it is known.
  void SetProcess(int member, pid_t pid) { pids_[member] = pid; }

  void Cut(int from, int to) {
    absl::MutexLock lock(&mutex_);
    cuts_.insert({from, to});
  }
  void HealAll() {
    absl::MutexLock lock(&mutex_);
    cuts_.clear();
  }
  // How many bytes have arrived in this direction.
  uint64_t arrived(int from, int to) const { return arrived_[from][to]; }

 private:
  static constexpr size_t kBufferBytes = 64 << 10;

  // What one end sent and the other end has not got yet.
  struct Way {
    std::string buffer;
    bool ended = false;  // the sender has closed
  };
  struct Link {
    int ends[2] = {-1,
                   -1};  // the connection of the member that opened it, and the one to the other
    int members[2] = {-1, -1};
    Way ways[2];  // ways[i] carries what members[i] sends
  };

  static int Listen(int port) {
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    const int yes = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
    const sockaddr_in address = Address(port);
    PCHECK(bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0);
    PCHECK(listen(fd, 64) == 0);
    return fd;
  }
  static sockaddr_in Address(int port) {
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
  }
  static void CloseBoth(const Link& link) {
    for (const int fd : link.ends) {
      if (fd >= 0) close(fd);
    }
  }

  void Run() {
    while (!stop_) {
      for (size_t i = 0; i < listeners_.size(); ++i) Accept(static_cast<int>(i));
      for (auto link = links_.begin(); link != links_.end();) {
        if (link->members[0] < 0) Identify(&*link);
        link = Carry(&*link) ? std::next(link) : Close(link);
      }
      Wait();
    }
  }

  std::list<Link>::iterator Close(std::list<Link>::iterator link) {
    CloseBoth(*link);
    return links_.erase(link);
  }

  void Accept(int to) {
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
  void Identify(Link* link) {
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
    for (int i = 0; i < kMembers && !inode.empty() && inode != "0"; ++i) {
      if (HasSocket(pids_[i], absl::StrCat("socket:[", inode, "]"))) link->members[0] = i;
    }
  }
  static bool HasSocket(pid_t pid, const std::string& name) {
    const std::string path = absl::StrCat("/proc/", pid, "/fd");
    DIR* dir = pid > 0 ? opendir(path.c_str()) : nullptr;
    if (dir == nullptr) return false;
    bool found = false;
    while (const dirent* entry = readdir(dir)) {
      char target[64] = {};
      if (readlink(absl::StrCat(path, "/", entry->d_name).c_str(), target, sizeof(target) - 1) >
          0) {
        found |= name == target;
      }
    }
    closedir(dir);
    return found;
  }

  bool IsCut(const Link& link, int way) const {
    absl::MutexLock lock(&mutex_);
    return link.members[0] < 0 || cuts_.contains({link.members[way], link.members[1 - way]});
  }

  // Moves bytes. False: the connection has ended.
  bool Carry(Link* link) {
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
      if (!way.buffer.empty()) {
        const ssize_t sent = send(link->ends[1 - i], way.buffer.data(), way.buffer.size(),
                                  MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN) return false;
        if (sent > 0) {
          way.buffer.erase(0, static_cast<size_t>(sent));
          arrived_[link->members[i]][link->members[1 - i]] += static_cast<uint64_t>(sent);
        }
      }
      // Members close a connection as a whole.
      if (way.ended && way.buffer.empty()) return false;
    }
    return true;
  }

  void Wait() const {
    std::vector<pollfd> fds;
    for (const int fd : listeners_) fds.push_back({fd, POLLIN, 0});
    for (const Link& link : links_) {
      for (int i = 0; i < 2; ++i) {
        if (!IsCut(link, i) && !link.ways[i].ended) fds.push_back({link.ends[i], POLLIN, 0});
        if (!IsCut(link, i) && !link.ways[i].buffer.empty()) {
          fds.push_back({link.ends[1 - i], POLLOUT, 0});
        }
      }
    }
    poll(fds.data(), fds.size(), /*timeout=*/10);
  }

  const std::vector<int> ports_, targets_;
  std::vector<int> listeners_;
  std::array<std::atomic<pid_t>, kMembers> pids_ = {};
  std::array<std::array<std::atomic<uint64_t>, kMembers>, kMembers> arrived_ = {};
  mutable absl::Mutex mutex_;
  std::set<std::pair<int, int>> cuts_ ABSL_GUARDED_BY(mutex_);
  std::list<Link> links_;  // used by the thread
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

enum class Kind { kToFollower, kFromFollower, kAllToLeader, kAllFromLeader, kRing, kRandom };
constexpr const char* kKindNames[] = {"leader -> follower", "follower -> leader", "all -> leader",
                                      "leader -> all",      "around the ring",    "random"};

// The directions to cut.
std::vector<std::pair<int, int>> Choose(Kind kind, int leader, std::mt19937_64* random) {
  const int a = (leader + 1) % kMembers, b = (leader + 2) % kMembers;
  switch (kind) {
    case Kind::kToFollower:
      return {{leader, a}};
    case Kind::kFromFollower:
      return {{a, leader}};
    case Kind::kAllToLeader:
      return {{a, leader}, {b, leader}};
    case Kind::kAllFromLeader:
      return {{leader, a}, {leader, b}};
    case Kind::kRing:
      return {{leader, a}, {a, b}};  // b still reaches everybody, and everybody hears somebody
    case Kind::kRandom:
      break;
  }
  std::vector<std::pair<int, int>> cuts;
  for (int from = 0; from < kMembers; ++from) {
    for (int to = 0; to < kMembers; ++to) {
      if (from != to && (*random)() % 3 == 0) cuts.push_back({from, to});
    }
  }
  return cuts;
}

// Whether two members still reach each other, and a majority can work.
bool SomePairIsWhole(const std::vector<std::pair<int, int>>& cuts) {
  int broken = 0;
  for (int a = 0; a < kMembers; ++a) {
    for (int b = a + 1; b < kMembers; ++b) {
      broken += std::any_of(cuts.begin(), cuts.end(), [a, b](const auto& cut) {
        return cut == std::pair(a, b) || cut == std::pair(b, a);
      });
    }
  }
  return broken < kMembers;
}

TEST(Partition, OneDirectionAtATimeBreaksNoPromise) {
  if (ProductUnderTest() == Product::kEtcd) GTEST_SKIP() << "about raftkv-server";
  const int rounds = std::getenv("RAFTKV_SOAK") != nullptr ? 60 : 6;
  const std::vector<int> listen = FreePorts(kMembers);
  Cluster cluster({.size = kMembers});
  std::vector<int> urls;
  std::string config = ReadFile(cluster.config_path());
  for (int i = 0; i < kMembers; ++i) {
    urls.push_back(cluster.ports()[2 * i + 1]);
    const std::string line = absl::StrCat("data_dir = \"", cluster.name(i), "\"\n");
    config = absl::StrReplaceAll(
        config,
        {{line, absl::StrCat(line, "listen_peer_url = \"http://127.0.0.1:", listen[i], "\"\n")}});
  }
  WriteFile(cluster.config_path(), config);
  Links links(urls, listen);
  for (int i = 0; i < kMembers; ++i) {
    cluster.Start(i);
    links.SetProcess(i, cluster.process(i).pid());
  }
  ASSERT_GE(cluster.WaitForLeader(), 0);
  Traffic traffic(&cluster, {});
  std::mt19937_64 random(7);
  for (int round = 0; round < rounds; ++round) {
    const int leader = cluster.WaitForLeader();
    ASSERT_GE(leader, 0) << "round " << round;
    const Kind kind = static_cast<Kind>(round % 6);
    const auto cuts = Choose(kind, leader, &random);
    for (const auto& [from, to] : cuts) links.Cut(from, to);
    std::cout << "round " << round << ": " << kKindNames[static_cast<int>(kind)] << ", "
              << cuts.size() << " directions\n";
    if (SomePairIsWhole(cuts)) {
      EXPECT_TRUE(traffic.WaitForAcknowledged(100, absl::Seconds(30))) << "round " << round;
    } else {
      Eventually(absl::Seconds(2), [] { return false; });  // nothing need happen
    }
    for (const auto& [from, to] : cuts) {
      const uint64_t arrived = links.arrived(from, to);
      traffic.WaitForAcknowledged(1, absl::Seconds(1));
      EXPECT_EQ(links.arrived(from, to), arrived) << "round " << round << ": it is not cut";
    }
    links.HealAll();
    ASSERT_TRUE(traffic.WaitForAcknowledged(200, absl::Seconds(30))) << "round " << round;
  }
  traffic.Stop();
  EXPECT_TRUE(cluster.MembersAreEqual());
  EXPECT_THAT(FindViolations(traffic.Collect()), IsEmpty());
}

}  // namespace
}  // namespace raftkv::e2e
