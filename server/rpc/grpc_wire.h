#ifndef RAFTKV_SERVER_RPC_GRPC_WIRE_H_
#define RAFTKV_SERVER_RPC_GRPC_WIRE_H_

// The parts of the protocol "gRPC over HTTP/2" that do not depend on a connection: the text of
// headers, and the framing of messages.

#include <google/protobuf/message.h>

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace raftkv::wire {

// The value of the header grpc-timeout, for example "100m". nullopt: it is malformed.
std::optional<absl::Duration> ParseTimeout(std::string_view value);

// Encodes the text of a status for the trailer grpc-message: bytes that are not printable ASCII,
// and '%', become %XX.
std::string PercentEncode(std::string_view text);
std::string PercentDecode(std::string_view text);

inline constexpr size_t kPrefixBytes = 5;  // before each message: a flag and the length

// A message with its prefix, in one piece or, if it is large, in pieces that are freed one by one
// as they are sent. Empty if the message cannot be serialized.
using Pieces = std::vector<std::string>;
Pieces Frame(const google::protobuf::Message& message);

// Parses the encoded message into `message`. False: it is malformed, or has more than `fields_max`
// fields, those of the messages in it included. Then it takes no memory.
bool Parse(const std::string& bytes, size_t fields_max, google::protobuf::Message* message);

// Extracts the messages from the bytes of a request stream.
class MessageReader {
 public:
  // A message may have `bytes_max` bytes, also after decompression.
  explicit MessageReader(size_t bytes_max) : bytes_max_(bytes_max) {}

  // The header grpc-encoding. False: this encoding is not supported.
  bool SetEncoding(std::string_view encoding, bool gzip_allowed = true);

  void Append(std::string_view bytes) { bytes_.append(bytes); }
  // Moves the next message into `message`. False: it is not complete. Errors are those of a gRPC
  // server; the stream must then end: ResourceExhausted if the message is too large (known from its
  // prefix, before its bytes have arrived), Internal if it is damaged.
  absl::StatusOr<bool> Next(std::string* message);
  // True: some bytes of a message have arrived, but not all.
  bool partial() const { return used_ < bytes_.size(); }
  size_t bytes() const { return bytes_.size(); }

 private:
  const size_t bytes_max_;
  bool gzip_ = false;
  std::string bytes_;
  size_t used_ = 0;  // bytes at the start of bytes_ that were returned
};

}  // namespace raftkv::wire

#endif  // RAFTKV_SERVER_RPC_GRPC_WIRE_H_
