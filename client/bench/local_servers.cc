#include "client/bench/local_servers.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>
#include <system_error>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "client/endpoint.h"

namespace raftkv::client {
namespace {

namespace fs = std::filesystem;

// The ports of the endpoints on loopback addresses.
std::set<int> LoopbackPorts(const std::vector<std::string>& endpoints) {
  std::set<int> ports;
  for (const std::string& endpoint : endpoints) {
    const auto address = ParseEndpoint(endpoint);
    if (!address.ok()) continue;
    const size_t colon = address->rfind(':');
    const std::string host = address->substr(0, colon);
    int port = 0;
    if (!absl::SimpleAtoi(address->substr(colon + 1), &port)) continue;
    if (absl::StartsWith(host, "127.") || host == "localhost" || host == "[::1]")
      ports.insert(port);
  }
  return ports;
}

// The inodes of the sockets that listen on these ports, as the links in /proc/PID/fd name them.
std::set<std::string> ListeningSockets(const std::set<int>& ports) {
  constexpr char kListen[] = "0A";
  std::set<std::string> sockets;
  for (const char* table : {"/proc/net/tcp", "/proc/net/tcp6"}) {
    std::ifstream file(table);
    std::string line;
    std::getline(file, line);  // the header
    while (std::getline(file, line)) {
      std::istringstream words(line);
      std::string slot, local, remote, state, queues, timer, retransmits, uid, timeout, inode;
      words >> slot >> local >> remote >> state >> queues >> timer >> retransmits >> uid >>
          timeout >> inode;
      if (state != kListen) continue;
      const int port = std::stoi(local.substr(local.rfind(':') + 1), nullptr, 16);
      if (ports.count(port) > 0) sockets.insert(absl::StrCat("socket:[", inode, "]"));
    }
  }
  return sockets;
}

bool HasOneOf(const std::set<std::string>& sockets, const fs::path& process) {
  std::error_code error;
  for (const auto& descriptor : fs::directory_iterator(process / "fd", error)) {
    const fs::path target = fs::read_symlink(descriptor.path(), error);
    if (!error && sockets.count(target.string()) > 0) return true;
  }
  return false;
}

}  // namespace

LocalServers::LocalServers(const std::vector<std::string>& endpoints) {
  const std::set<int> ports = LoopbackPorts(endpoints);
  if (ports.empty()) return;
  const std::set<std::string> sockets = ListeningSockets(ports);
  std::error_code error;
  for (const auto& entry : fs::directory_iterator("/proc", error)) {
    pid_t pid = 0;
    if (!absl::SimpleAtoi(entry.path().filename().string(), &pid)) continue;
    if (HasOneOf(sockets, entry.path())) pids_.push_back(pid);
  }
}

double LocalServers::CpuSeconds() const {
  int64_t ticks = 0;
  for (const pid_t pid : pids_) {
    std::ifstream file(absl::StrCat("/proc/", pid, "/stat"));
    std::string text;
    std::getline(file, text);
    // The name of the program stands in parentheses and may have spaces. utime and stime are the
    // 12th and the 13th field after it.
    const std::vector<std::string> fields =
        absl::StrSplit(text.substr(std::min(text.rfind(')') + 1, text.size())), ' ');
    int64_t user = 0, system = 0;
    if (fields.size() < 14 || !absl::SimpleAtoi(fields[12], &user) ||
        !absl::SimpleAtoi(fields[13], &system)) {
      continue;  // the process has ended
    }
    ticks += user + system;
  }
  return static_cast<double>(ticks) / static_cast<double>(sysconf(_SC_CLK_TCK));
}

int64_t LocalServers::LargestResidentBytes() const {
  int64_t largest = 0;
  for (const pid_t pid : pids_) {
    std::ifstream file(absl::StrCat("/proc/", pid, "/statm"));
    int64_t total = 0, resident = 0;
    file >> total >> resident;
    largest = std::max(largest, resident * sysconf(_SC_PAGESIZE));
  }
  return largest;
}

}  // namespace raftkv::client
