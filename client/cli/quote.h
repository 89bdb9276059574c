// Text in Go's notation, which etcdctl prints in its `fields` format and reads in transactions:
// "..." with escapes (\n \" \x00 \u00e9 ...) and `...` as it stands. Byte strings go through both
// ways unchanged.
#ifndef RAFTKV_CLIENT_CLI_QUOTE_H_
#define RAFTKV_CLIENT_CLI_QUOTE_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace raftkv::client {

// In double quotes; what is not printable UTF-8 becomes an escape.
std::string Quote(std::string_view bytes);

// Takes one quoted string, "..." or `...`, off the front of `text`. InvalidArgument if there is
// none.
absl::StatusOr<std::string> TakeQuoted(std::string_view* text);

// A line's words: bare, or "...", or '...' as it stands. InvalidArgument if a quote does not end,
// or has something right behind it.
absl::StatusOr<std::vector<std::string>> SplitWords(std::string_view line);

}  // namespace raftkv::client

#endif  // RAFTKV_CLIENT_CLI_QUOTE_H_
