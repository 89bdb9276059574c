// The results of the lease calls of raftkv.h. Times are in seconds.
//
// A key is attached to the lease that its latest Put named; when the lease ends, the key is
// deleted. A lease ends when it is revoked, or when nobody has kept it alive for its time to live.
#ifndef RAFTKV_CLIENT_RAFTKV_LEASE_H_
#define RAFTKV_CLIENT_RAFTKV_LEASE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "kv.h"  // relative, because the installed headers have no folder client/

namespace raftkv::client {

struct LeaseGrantResult {
  Header header;
  int64_t id = 0;
  int64_t ttl = 0;  // the TTL that was granted; the service raises one that is too short
};
struct LeaseRevokeResult {
  Header header;
};
struct LeaseKeepAliveResult {
  Header header;
  int64_t id = 0;
  int64_t ttl = 0;  // remaining time after the renewal; 0: there is no such lease
};
struct LeaseTimeToLiveResult {
  Header header;
  int64_t id = 0;
  int64_t ttl = 0;  // remaining time; -1: there is no such lease
  int64_t granted_ttl = 0;
  std::vector<std::string> keys;  // the attached keys, if they were requested
};
struct LeaseListResult {
  Header header;
  std::vector<int64_t> ids;
};

}  // namespace raftkv::client

#endif  // RAFTKV_CLIENT_RAFTKV_LEASE_H_
