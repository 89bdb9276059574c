#ifndef RAFTKV_PROTO_PARSE_COMMAND_H_
#define RAFTKV_PROTO_PARSE_COMMAND_H_

// All code that reads a command that is in the log, or is to be proposed, calls this function.
// protobuf rejects messages that nest deeper than a limit. If a committed command exceeded the
// limit, the member's process would end at every start. A command has at least one level more than
// the request in it. So the limit of commands is twice the limit that the API applies to requests.

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
