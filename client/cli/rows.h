// Results of the verbs that ask each endpoint separately. One row is about one endpoint.
#ifndef RAFTKV_CLIENT_CLI_ROWS_H_
#define RAFTKV_CLIENT_CLI_ROWS_H_

#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "client/raftkv.h"

namespace raftkv::client {

struct EndpointStatus {
  std::string endpoint;
  StatusResult status;
};

struct EndpointHealth {
  std::string endpoint;
  absl::Duration took;
  absl::Status error;  // OK: healthy
};

struct EndpointHash {
  std::string endpoint;
  HashKvResult hash;
};

struct EndpointDefrag {
  std::string endpoint;
  absl::Status error;  // OK: started (raftkv) or done (etcd)
};

}  // namespace raftkv::client

#endif  // RAFTKV_CLIENT_CLI_ROWS_H_
