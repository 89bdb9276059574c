#include "server/member/origin.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>

namespace raftkv {

namespace {
using google::protobuf::internal::WireFormatLite;
constexpr uint32_t kOriginTag = WireFormatLite::MakeTag(proto::Command::kOriginFieldNumber,
                                                        WireFormatLite::WIRETYPE_LENGTH_DELIMITED);
}  // namespace

std::string WithOrigin(uint64_t member_id, uint64_t boot_id, uint64_t number,
                       std::string_view command) {
  proto::Command mark;
  mark.mutable_origin()->set_member_id(member_id);
  mark.mutable_origin()->set_boot_id(boot_id);
  mark.mutable_origin()->set_number(number);
  std::string bytes;
  bytes.reserve(mark.ByteSizeLong() + command.size());
  mark.AppendToString(&bytes);
  bytes.append(command);
  return bytes;
}

proto::Origin OriginOf(std::string_view payload) {
  google::protobuf::io::CodedInputStream in(reinterpret_cast<const uint8_t*>(payload.data()),
                                            static_cast<int>(payload.size()));
  proto::Origin origin;
  uint32_t length = 0;
  if (in.ReadTag() != kOriginTag || !in.ReadVarint32(&length)) return {};
  const int position = in.CurrentPosition();
  if (length > payload.size() - position ||
      !origin.ParseFromArray(payload.data() + position, static_cast<int>(length))) {
    return {};
  }
  return origin;
}

}  // namespace raftkv
