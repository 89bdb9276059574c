#include "server/process_usage.h"

#include <sys/resource.h>
#include <unistd.h>

#include <fstream>
#include <sstream>
#include <string>

#include "storage/base/files.h"

namespace raftkv {

namespace {

// The time at which the machine was started, in seconds since 1970.
double BootSeconds() {
  std::ifstream stat("/proc/stat");
  for (std::string word; stat >> word;) {
    double seconds = 0;
    if (word == "btime" && stat >> seconds) return seconds;
  }
  return 0;
}

}  // namespace

ProcessUsage ReadProcessUsage() {
  ProcessUsage usage;
  std::ifstream file("/proc/self/stat");
  std::string line;
  std::getline(file, line);
  const auto ticks_per_second = static_cast<double>(sysconf(_SC_CLK_TCK));
  // The fields after the program's name, which is in parentheses (proc(5)): state is field 3.
  std::istringstream fields(line.substr(std::min(line.size(), line.rfind(')') + 1)));
  std::string skipped;
  for (int field = 3; field < 14; ++field) fields >> skipped;
  uint64_t user = 0, system = 0, start = 0, resident_pages = 0;
  fields >> user >> system;
  for (int field = 16; field < 22; ++field) fields >> skipped;
  fields >> start >> usage.virtual_bytes >> resident_pages;
  usage.cpu_seconds = static_cast<double>(user + system) / ticks_per_second;
  usage.start_seconds = BootSeconds() + static_cast<double>(start) / ticks_per_second;
  usage.resident_bytes = resident_pages * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  if (const auto files = NamesIn("/proc/self/fd"); files.ok()) usage.open_files = files->size();
  rlimit limit = {};
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0) usage.files_max = limit.rlim_cur;
  return usage;
}

}  // namespace raftkv
