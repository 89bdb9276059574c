#ifndef RAFTKV_SERVER_RPC_GZIP_H_
#define RAFTKV_SERVER_RPC_GZIP_H_

// Messages that clients compress with gzip, as etcd's server accepts them. gRPC itself would
// decompress a message as a whole before it checks the size, and 1 MiB may hold a GiB. So it leaves
// messages as they are, and Gunzip stops at the limit.
//
// gRPC does not tell which messages are compressed. But no message in Protocol Buffers starts with
// gzip's first byte, 0x1f: that would be a field with the wire type 7, which does not exist.

#include <grpcpp/grpcpp.h>

#include <cstddef>

#include "absl/status/status.h"

namespace raftkv {

// gRPC then answers other encodings with UNIMPLEMENTED.
void LeaveGzipToUs(grpc::ServerBuilder* builder);

// Decompresses `message` if it is in gzip's format. ResourceExhausted: it would have more than
// `bytes_max` bytes. Internal: it is damaged. `message` is unchanged if the result is not OK.
absl::Status Gunzip(grpc::ByteBuffer* message, size_t bytes_max);

}  // namespace raftkv

#endif  // RAFTKV_SERVER_RPC_GZIP_H_
