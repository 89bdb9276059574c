#ifndef RAFTKV_SERVER_API_LEASE_ID_H_
#define RAFTKV_SERVER_API_LEASE_ID_H_

#include <cstdint>
#include <random>

namespace raftkv::api {

// A random positive number of 63 bits. If there were such a lease already, the grant would fail.
// Used on the loop's thread only.
inline int64_t NewLeaseId() {
  static std::mt19937_64 random{std::random_device{}()};
  return static_cast<int64_t>(random() >> 1) | 1;
}

}  // namespace raftkv::api

#endif  // RAFTKV_SERVER_API_LEASE_ID_H_
