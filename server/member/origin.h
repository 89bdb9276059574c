#ifndef RAFTKV_SERVER_MEMBER_ORIGIN_H_
#define RAFTKV_SERVER_MEMBER_ORIGIN_H_

// Adds to an encoded command who proposed it, without decoding the command. Concatenated encodings
// of protobuf messages decode as one merged message, so an encoded Command that holds only `origin`
// is put in front of the bytes that the API encoded.

#include <cstdint>
#include <string>
#include <string_view>

#include "proto/command.pb.h"

namespace raftkv {

std::string WithOrigin(uint64_t member_id, uint64_t boot_id, uint64_t number,
                       std::string_view command);

// The origin at the front of `payload`; all fields are 0 if there is none.
proto::Origin OriginOf(std::string_view payload);

}  // namespace raftkv

#endif  // RAFTKV_SERVER_MEMBER_ORIGIN_H_
