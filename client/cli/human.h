// Formats values as etcdctl does: sizes ("20 kB"), durations ("4.187034ms"), bytes in hexadecimal.
#ifndef RAFTKV_CLIENT_CLI_HUMAN_H_
#define RAFTKV_CLIENT_CLI_HUMAN_H_

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "client/raftkv.h"

namespace raftkv::client {

std::string HumanBytes(int64_t bytes);            // units of 1000; one decimal below 10
std::string HumanDuration(absl::Duration value);  // Go's notation: "1.5s", "250µs", "1m0.5s"
std::string HexBytes(absl::string_view bytes);    // "\x61\x62"

// "PUT" or "DELETE".
inline const char* TypeName(const Event& event) {
  return event.type == Event::Type::kPut ? "PUT" : "DELETE";
}

}  // namespace raftkv::client

#endif  // RAFTKV_CLIENT_CLI_HUMAN_H_
