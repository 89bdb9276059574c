#ifndef RAFTKV_PROTO_PARSE_COMMAND_H_
#define RAFTKV_PROTO_PARSE_COMMAND_H_

// The one way to read a command that is, or is to be, in the log. protobuf rejects what nests
// deeper than a limit, and what one member rejected after it was committed would end it at every
// start. So commands have twice the limit that requests have at the edge: a command is a request
// and one level more.

#include <google/protobuf/io/coded_stream.h>

#include <cstdint>
#include <string_view>

#include "proto/command.pb.h"

namespace raftkv {

// False: `bytes` are no encoded Command.
inline bool ParseCommand(std::string_view bytes, proto::Command* command) {
  google::protobuf::io::CodedInputStream in(reinterpret_cast<const uint8_t*>(bytes.data()),
                                            static_cast<int>(bytes.size()));
  in.SetRecursionLimit(2 * google::protobuf::io::CodedInputStream::GetDefaultRecursionLimit());
  return command->ParseFromCodedStream(&in) && in.ConsumedEntireMessage();
}

}  // namespace raftkv

#endif  // RAFTKV_PROTO_PARSE_COMMAND_H_
