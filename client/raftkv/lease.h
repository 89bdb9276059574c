// What the calls about leases of raftkv.h return. Times are in seconds.
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
  int64_t ttl = 0;  // as granted; the service raises a short one
};
struct LeaseRevokeResult {
  Header header;
};
struct LeaseKeepAliveResult {
  Header header;
  int64_t id = 0;
  int64_t ttl = 0;  // it lives so long from now on; 0: there is no such lease
};
struct LeaseTimeToLiveResult {
  Header header;
  int64_t id = 0;
  int64_t ttl = 0;  // the time that is left; -1: there is no such lease
  int64_t granted_ttl = 0;
  std::vector<std::string> keys;  // attached to it, if asked for
};
struct LeaseListResult {
  Header header;
  std::vector<int64_t> ids;
};

}  // namespace raftkv::client

#endif  // RAFTKV_CLIENT_RAFTKV_LEASE_H_
