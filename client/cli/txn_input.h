// Reads a transaction in etcdctl's notation. It has three parts: conditions, requests to run if all
// of them hold, requests to run otherwise. Each condition or request is a line; an empty line ends
// each part. Input that ends before the last empty line is an error, so that an incomplete
// transaction is never sent.
#ifndef RAFTKV_CLIENT_CLI_TXN_INPUT_H_
#define RAFTKV_CLIENT_CLI_TXN_INPUT_H_

#include <istream>
#include <ostream>

#include "absl/status/statusor.h"
#include "client/raftkv.h"

namespace raftkv::client {

inline constexpr char kTxnSyntax[] =
    R"(Reads three parts from standard input. End each with an empty line:
  conditions:  value("KEY") = "VALUE", also mod, create, version, lease; = != < >
  requests to run if all conditions hold:  put, get and del, as on the command line
  requests to run otherwise
Example:
  raftkv txn <<'EOF'
  mod("colour") = "5"

  put colour "dark blue"

  get colour

  EOF
)";

// Writes to `prompts`, unless it is null, which part comes next and, if `hint` is set, once how to
// end a part. InvalidArgument names the line.
absl::StatusOr<Transaction> ReadTransaction(std::istream& in, std::ostream* prompts, bool hint);

}  // namespace raftkv::client

#endif  // RAFTKV_CLIENT_CLI_TXN_INPUT_H_
