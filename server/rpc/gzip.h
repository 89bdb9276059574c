#ifndef RAFTKV_SERVER_RPC_GZIP_H_
#define RAFTKV_SERVER_RPC_GZIP_H_

#include <cstddef>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace raftkv::wire {

// Decompresses `bytes`, which are in gzip's format. A compressed MiB may contain a GiB, so
// decompression stops at the limit. ResourceExhausted: there are more than `bytes_max` bytes.
// Internal: `bytes` are damaged.
absl::Status Gunzip(std::string_view bytes, size_t bytes_max, std::string* plain);

}  // namespace raftkv::wire

#endif  // RAFTKV_SERVER_RPC_GZIP_H_
