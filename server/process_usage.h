#ifndef RAFTKV_SERVER_PROCESS_USAGE_H_
#define RAFTKV_SERVER_PROCESS_USAGE_H_

#include <cstdint>

namespace raftkv {

// What this process uses, as Linux counts it.
struct ProcessUsage {
  double cpu_seconds = 0;
  double start_seconds = 0;  // since 1970
  uint64_t resident_bytes = 0;
  uint64_t virtual_bytes = 0;
  uint64_t open_files = 0;
  uint64_t files_max = 0;
};

// Reads /proc/self. What cannot be read is 0.
ProcessUsage ReadProcessUsage();

}  // namespace raftkv

#endif  // RAFTKV_SERVER_PROCESS_USAGE_H_
