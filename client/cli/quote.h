// Reads and writes strings in Go's notation, which etcdctl prints in its `fields` format and reads
// in transactions: "..." with escapes (\n \" \x00 \u00e9 ...) and `...` without. Any byte string
// survives quoting and unquoting unchanged.
#ifndef RAFTKV_CLIENT_CLI_QUOTE_H_
#define RAFTKV_CLIENT_CLI_QUOTE_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace raftkv::client {

// Returns `bytes` in double quotes. Everything that is not printable UTF-8 becomes an escape.
std::string Quote(std::string_view bytes);

// Removes a quoted string, "..." or `...`, from the front of `text` and returns it unquoted.
// InvalidArgument if there is none.
absl::StatusOr<std::string> TakeQuoted(std::string_view* text);

// Splits a line at spaces. A word may be bare, in "..." with escapes, or in '...' without.
// InvalidArgument if a quote is not closed, or if no space follows a quoted word.
absl::StatusOr<std::vector<std::string>> SplitWords(std::string_view line);

}  // namespace raftkv::client

#endif  // RAFTKV_CLIENT_CLI_QUOTE_H_
