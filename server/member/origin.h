#ifndef RAFTKV_SERVER_MEMBER_ORIGIN_H_
#define RAFTKV_SERVER_MEMBER_ORIGIN_H_

// Marks a command with who asked for it, without decoding the command: protobuf messages
// concatenate, so an encoded Command that holds only `origin` is put in front of the bytes the edge
// encoded.

#include <cstdint>
#include <string>
#include <string_view>

#include "proto/command.pb.h"

namespace raftkv {

std::string WithOrigin(uint64_t member_id, uint64_t boot_id, uint64_t number,
                       std::string_view command);

// The origin in front of `payload`; all zero when there is none.
proto::Origin OriginOf(std::string_view payload);

}  // namespace raftkv

#endif  // RAFTKV_SERVER_MEMBER_ORIGIN_H_
