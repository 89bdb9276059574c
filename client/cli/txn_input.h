// Reads a transaction as etcdctl writes it: conditions, then requests for when they hold, then
// requests for when they do not, one a line, each part ended by an empty line. Input that ends
// before the last empty line is an error, so that half a transaction is never sent.
#ifndef RAFTKV_CLIENT_CLI_TXN_INPUT_H_
#define RAFTKV_CLIENT_CLI_TXN_INPUT_H_

#include <istream>
#include <ostream>

#include "absl/status/statusor.h"
#include "client/raftkv.h"

namespace raftkv::client {

inline constexpr char kTxnSyntax[] = R"(Standard input, three parts, each ended by an empty line:
  conditions:  value("KEY") = "VALUE", also mod, create, version, lease; = != < >
  requests for when all hold:  put, get and del lines, as on the command line
  requests for when one does not
Example:
  raftkv txn <<'EOF'
  mod("colour") = "5"

  put colour "dark blue"

  get colour

  EOF
)";

// `prompts`: says there which part is next; null: does not. `hint`: and once how a part ends, for
// who types it. InvalidArgument names the line.
absl::StatusOr<Transaction> ReadTransaction(std::istream& in, std::ostream* prompts, bool hint);

}  // namespace raftkv::client

#endif  // RAFTKV_CLIENT_CLI_TXN_INPUT_H_
