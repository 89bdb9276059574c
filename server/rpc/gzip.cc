#include "server/rpc/gzip.h"

#include <zlib.h>

#include <algorithm>
#include <string>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"

namespace raftkv {

namespace {

constexpr uint8_t kGzipFirstByte = 0x1f;
constexpr int kGzipOnly = 16 + MAX_WBITS;  // for inflateInit2

absl::Status Damaged() { return absl::InternalError("the compressed message is damaged"); }

}  // namespace

void LeaveGzipToUs(grpc::ServerBuilder* builder) {
  builder->AddChannelArgument(GRPC_ARG_ENABLE_PER_MESSAGE_DECOMPRESSION, 0);
  builder->AddChannelArgument(GRPC_COMPRESSION_CHANNEL_ENABLED_ALGORITHMS_BITSET,
                              1 << GRPC_COMPRESS_NONE | 1 << GRPC_COMPRESS_GZIP);
}

absl::Status Gunzip(grpc::ByteBuffer* message, size_t bytes_max) {
  std::vector<grpc::Slice> slices;
  if (!message->Dump(&slices).ok()) return Damaged();
  const auto first = std::find_if(slices.begin(), slices.end(),
                                  [](const grpc::Slice& slice) { return slice.size() > 0; });
  if (first == slices.end() || *first->begin() != kGzipFirstByte) return absl::OkStatus();

  z_stream stream = {};
  if (inflateInit2(&stream, kGzipOnly) != Z_OK) return Damaged();
  const absl::Cleanup end = [&stream] { inflateEnd(&stream); };
  std::string plain;
  int result = Z_OK;
  for (const grpc::Slice& slice : slices) {
    stream.next_in = const_cast<Bytef*>(slice.begin());
    stream.avail_in = static_cast<uInt>(slice.size());
    while (stream.avail_in > 0 && result == Z_OK) {
      char piece[16 << 10];
      stream.next_out = reinterpret_cast<Bytef*>(piece);
      stream.avail_out = sizeof(piece);
      result = inflate(&stream, Z_NO_FLUSH);
      plain.append(piece, sizeof(piece) - stream.avail_out);
      if (plain.size() > bytes_max) {
        return absl::ResourceExhaustedError(absl::StrCat("Received message larger than max (over ",
                                                         bytes_max, " vs. ", bytes_max, ")"));
      }
    }
    if (stream.avail_in > 0) break;  // damaged, or bytes after the end
  }
  if (result != Z_STREAM_END || stream.avail_in > 0) return Damaged();
  const grpc::Slice slice(plain);
  *message = grpc::ByteBuffer(&slice, 1);
  return absl::OkStatus();
}

}  // namespace raftkv
