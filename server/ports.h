#ifndef RAFTKV_SERVER_PORTS_H_
#define RAFTKV_SERVER_PORTS_H_

// Checks whether the server can listen on its ports, before a first start creates any file. The
// error names the process that has a port already.

#include <string>
#include <vector>

#include "absl/status/status.h"

namespace raftkv {

// A URL to listen on.
struct ListenUrl {
  std::string url;  // a validated "http://host:port"
  std::string key;  // its name in the config file
};

// Whether one process can listen on all of them at once. An error is FailedPrecondition or
// PermissionDenied, with one line for the operator.
absl::Status CheckPorts(const std::vector<ListenUrl>& urls);

}  // namespace raftkv

#endif  // RAFTKV_SERVER_PORTS_H_
