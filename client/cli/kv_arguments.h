// The arguments of put, get and del, on the command line and on the lines of a transaction. AddTo()
// registers them with a parser, which keeps pointers to them: do not move them before it has
// parsed. Afterwards Validate() and ToKeys() check them and convert them to what the library takes;
// the parser is no longer needed then. Errors (InvalidArgument) say what to change.
#ifndef RAFTKV_CLIENT_CLI_KV_ARGUMENTS_H_
#define RAFTKV_CLIENT_CLI_KV_ARGUMENTS_H_

#include <CLI/CLI.hpp>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/raftkv.h"

namespace raftkv::client {

// Which keys a verb is about: positional arguments and flags.
class KeyArguments {
 public:
  void AddTo(CLI::App& verb);
  bool given() const { return key_.has_value(); }
  absl::StatusOr<Keys> ToKeys() const;

 private:
  std::optional<std::string> key_;
  std::optional<std::string> range_end_;
  bool prefix_ = false;
  bool from_key_ = false;
};

struct GetArguments {
  void AddTo(CLI::App& verb);
  absl::Status Validate();  // also fills in `read`

  KeyArguments keys;
  ReadOptions read;
  bool value_only = false;  // affects the output only; ignored in a transaction
  std::string consistency = "l";
  std::string order;
  std::string sort_by;
};

struct PutArguments {
  void AddTo(CLI::App& verb);
  absl::Status Validate();  // also fills in `options.lease`; the caller handles a missing value

  std::string key;
  std::optional<std::string> value;
  std::string lease;
  PutOptions options;
};

struct DeleteArguments {
  void AddTo(CLI::App& verb);

  KeyArguments keys;
  DeleteOptions options;
};

}  // namespace raftkv::client

#endif  // RAFTKV_CLIENT_CLI_KV_ARGUMENTS_H_
