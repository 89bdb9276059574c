#ifndef RAFTKV_SERVER_RPC_GZIP_H_
#define RAFTKV_SERVER_RPC_GZIP_H_

// Messages that clients compress with gzip, as etcd's server accepts them. If gRPC decompressed a
// message, it would check the size only after decompressing all of it, and a compressed MiB may
// contain a GiB. So gRPC is configured not to decompress messages. Gunzip decompresses them, and
// stops at the limit.
//
// gRPC does not say which messages are compressed. But no message in Protocol Buffers starts with
// gzip's first byte, 0x1f: that would be a field with the wire type 7, which does not exist.

#include <grpcpp/grpcpp.h>

#include <cstddef>

#include "absl/status/status.h"

namespace raftkv {

// Configures gRPC to pass messages in gzip on without decompressing them. It then answers other
// encodings with UNIMPLEMENTED.
void LeaveGzipToUs(grpc::ServerBuilder* builder);

// Decompresses `message` if it is in gzip's format. ResourceExhausted: the decompressed message
// would have more than `bytes_max` bytes. Internal: the message is damaged. `message` is unchanged
// if the result is not OK.
absl::Status Gunzip(grpc::ByteBuffer* message, size_t bytes_max);

}  // namespace raftkv

#endif  // RAFTKV_SERVER_RPC_GZIP_H_
