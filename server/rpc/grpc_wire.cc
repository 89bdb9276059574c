#include "server/rpc/grpc_wire.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream.h>
#include <google/protobuf/wire_format_lite.h>

#include <algorithm>
#include <cstdint>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "server/rpc/gzip.h"

namespace raftkv::wire {

namespace {

constexpr size_t kPieceBytes = 256 << 10;

std::string Prefix(size_t length) {
  std::string prefix(kPrefixBytes, '\0');
  for (int i = 0; i < 4; ++i) prefix[4 - i] = static_cast<char>(length >> (8 * i));
  return prefix;
}

// Takes the fields in `bytes`, an encoding of `type`, from `*left`. `type`: null if it is not
// known. False: there are more. Stops where `bytes` is malformed, which the parser will find, too.
bool TakeFields(const google::protobuf::Descriptor* type, std::string_view bytes, int depth,
                size_t* left) {
  using google::protobuf::FieldDescriptor;
  using google::protobuf::internal::WireFormatLite;
  google::protobuf::io::CodedInputStream in(reinterpret_cast<const uint8_t*>(bytes.data()),
                                            static_cast<int>(bytes.size()));
  while (const uint32_t tag = in.ReadTag()) {
    if ((*left)-- == 0) return false;
    uint64_t number = 0;
    uint32_t length = 0;
    switch (WireFormatLite::GetTagWireType(tag)) {
      case WireFormatLite::WIRETYPE_VARINT:
        if (!in.ReadVarint64(&number)) return true;
        break;
      case WireFormatLite::WIRETYPE_FIXED64:
        if (!in.Skip(sizeof(uint64_t))) return true;
        break;
      case WireFormatLite::WIRETYPE_FIXED32:
        if (!in.Skip(sizeof(uint32_t))) return true;
        break;
      case WireFormatLite::WIRETYPE_LENGTH_DELIMITED: {
        if (!in.ReadVarint32(&length)) return true;
        const size_t from = static_cast<size_t>(in.CurrentPosition());
        if (length > bytes.size() - from) return true;
        const FieldDescriptor* field =
            type == nullptr ? nullptr
                            : type->FindFieldByNumber(WireFormatLite::GetTagFieldNumber(tag));
        if (field != nullptr && field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE &&
            depth > 0 &&
            !TakeFields(field->message_type(), bytes.substr(from, length), depth - 1, left)) {
          return false;
        }
        in.Skip(static_cast<int>(length));
        break;
      }
      case WireFormatLite::WIRETYPE_START_GROUP:
      case WireFormatLite::WIRETYPE_END_GROUP:
        break;
    }
  }
  return true;
}

// Lets a message be serialized into pieces.
class PieceStream final : public google::protobuf::io::ZeroCopyOutputStream {
 public:
  PieceStream(Pieces* pieces, size_t bytes) : pieces_(pieces), left_(bytes) {}
  bool Next(void** data, int* size) override {
    const size_t bytes = std::min(left_, kPieceBytes);
    if (bytes == 0) return false;
    std::string& piece = pieces_->emplace_back(bytes, '\0');
    *data = piece.data();
    *size = static_cast<int>(bytes);
    left_ -= bytes;
    count_ += *size;
    return true;
  }
  void BackUp(int count) override {
    pieces_->back().resize(pieces_->back().size() - static_cast<size_t>(count));
    left_ += static_cast<size_t>(count);
    count_ -= count;
  }
  int64_t ByteCount() const override { return count_; }

 private:
  Pieces* const pieces_;
  size_t left_;
  int64_t count_ = 0;
};

}  // namespace

std::optional<absl::Duration> ParseTimeout(std::string_view value) {
  constexpr size_t kDigitsMax = 8;
  uint32_t number = 0;
  if (value.size() < 2 || value.size() > kDigitsMax + 1 ||
      !std::all_of(value.begin(), value.end() - 1, [](char c) { return c >= '0' && c <= '9'; }) ||
      !absl::SimpleAtoi(std::string(value.substr(0, value.size() - 1)), &number)) {
    return std::nullopt;
  }
  switch (value.back()) {
    case 'H':
      return absl::Hours(number);
    case 'M':
      return absl::Minutes(number);
    case 'S':
      return absl::Seconds(number);
    case 'm':
      return absl::Milliseconds(number);
    case 'u':
      return absl::Microseconds(number);
    case 'n':
      return absl::Nanoseconds(number);
    default:
      return std::nullopt;
  }
}

std::string PercentEncode(std::string_view text) {
  static constexpr char kHex[] = "0123456789ABCDEF";
  std::string encoded;
  encoded.reserve(text.size());
  for (const char c : text) {
    if (c >= ' ' && c <= '~' && c != '%') {
      encoded += c;
    } else {
      const auto byte = static_cast<uint8_t>(c);
      encoded += {'%', kHex[byte >> 4], kHex[byte & 15]};
    }
  }
  return encoded;
}

std::string PercentDecode(std::string_view text) {
  std::string decoded;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size() && absl::ascii_isxdigit(text[i + 1]) &&
        absl::ascii_isxdigit(text[i + 2])) {
      decoded += absl::HexStringToBytes(std::string(text.substr(i + 1, 2)));
      i += 2;
    } else {
      decoded += text[i];
    }
  }
  return decoded;
}

Pieces Frame(const google::protobuf::Message& message) {
  const size_t bytes = message.ByteSizeLong();
  if (bytes > INT32_MAX) return {};
  Pieces pieces = {Prefix(bytes)};
  if (bytes <= kPieceBytes) {
    if (!message.AppendToString(&pieces[0])) return {};
    return pieces;
  }
  PieceStream stream(&pieces, bytes);
  if (!message.SerializeToZeroCopyStream(&stream)) return {};
  return pieces;
}

bool MessageReader::SetEncoding(std::string_view encoding, bool gzip_allowed) {
  gzip_ = gzip_allowed && encoding == "gzip";
  return gzip_ || encoding == "identity";
}

absl::StatusOr<bool> MessageReader::Next(std::string* message) {
  const std::string_view left = std::string_view(bytes_).substr(used_);
  if (left.size() < kPrefixBytes) return false;
  const auto flag = static_cast<uint8_t>(left[0]);
  if (flag > 1) return absl::InternalError(absl::StrCat("grpc: invalid message flag ", flag));
  if (flag == 1 && !gzip_) {
    return absl::InternalError("grpc: compressed flag set with identity or empty encoding");
  }
  size_t length = 0;
  for (size_t i = 1; i < kPrefixBytes; ++i) length = length << 8 | static_cast<uint8_t>(left[i]);
  if (length > bytes_max_) {
    return absl::ResourceExhaustedError(
        absl::StrCat("grpc: received message larger than max (", length, " vs. ", bytes_max_, ")"));
  }
  if (left.size() < kPrefixBytes + length) {
    if (used_ > 0) bytes_.erase(0, std::exchange(used_, 0));
    return false;
  }
  const std::string_view body = left.substr(kPrefixBytes, length);
  if (flag == 1) {
    if (absl::Status status = Gunzip(body, bytes_max_, message); !status.ok()) return status;
  } else if (used_ == 0 && left.size() == kPrefixBytes + length) {
    bytes_.erase(0, kPrefixBytes);
    *message = std::exchange(bytes_, {});
    return true;
  } else {
    message->assign(body);
  }
  used_ += kPrefixBytes + length;
  if (used_ == bytes_.size()) {
    bytes_.clear();
    used_ = 0;
  }
  return true;
}

bool Parse(const std::string& bytes, size_t fields_max, google::protobuf::Message* message) {
  constexpr int kDepthMax = 100;  // the parser's own limit
  size_t left = fields_max;
  if (fields_max < SIZE_MAX && !TakeFields(message->GetDescriptor(), bytes, kDepthMax, &left)) {
    return false;
  }
  return message->ParseFromString(bytes);
}

}  // namespace raftkv::wire
