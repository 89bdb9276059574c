// Finds the processes on this machine that serve given addresses, and what they use. So a benchmark
// of a cluster on one machine can print the servers' CPU time for each operation. Linux only
// (/proc); it sees the processes of its own user, and with enough rights those of others.
#ifndef RAFTKV_CLIENT_BENCH_LOCAL_SERVERS_H_
#define RAFTKV_CLIENT_BENCH_LOCAL_SERVERS_H_

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

namespace raftkv::client {

class LocalServers {
 public:
  // The processes that listen on the ports of these endpoints. An endpoint that is not on a
  // loopback address is left out.
  explicit LocalServers(const std::vector<std::string>& endpoints);

  const std::vector<pid_t>& pids() const { return pids_; }
  // User and system time of all of them so far.
  double CpuSeconds() const;
  // The resident memory of the largest of them, in bytes.
  int64_t LargestResidentBytes() const;

 private:
  std::vector<pid_t> pids_;
};

}  // namespace raftkv::client

#endif  // RAFTKV_CLIENT_BENCH_LOCAL_SERVERS_H_
