#include "server/rpc/gzip.h"

#include <zlib.h>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"

namespace raftkv::wire {

namespace {

constexpr int kGzipOnly = 16 + MAX_WBITS;  // for inflateInit2

absl::Status Damaged() { return absl::InternalError("the compressed message is damaged"); }

}  // namespace

absl::Status Gunzip(std::string_view bytes, size_t bytes_max, std::string* plain) {
  z_stream stream = {};
  if (inflateInit2(&stream, kGzipOnly) != Z_OK) return Damaged();
  const absl::Cleanup end = [&stream] { inflateEnd(&stream); };
  plain->clear();
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  stream.avail_in = static_cast<uInt>(bytes.size());
  int result = Z_OK;
  while (stream.avail_in > 0 && result == Z_OK) {
    char piece[16 << 10];
    do {
      stream.next_out = reinterpret_cast<Bytef*>(piece);
      stream.avail_out = sizeof(piece);
      result = inflate(&stream, Z_NO_FLUSH);
      plain->append(piece, sizeof(piece) - stream.avail_out);
      if (plain->size() > bytes_max) {
        return absl::ResourceExhaustedError(
            absl::StrCat("grpc: received message after decompression larger than max ", bytes_max));
      }
    } while (result == Z_OK && stream.avail_out == 0);
  }
  if (result != Z_STREAM_END || stream.avail_in > 0) return Damaged();
  return absl::OkStatus();
}

}  // namespace raftkv::wire
