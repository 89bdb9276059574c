// The arguments of put, get and del: of the command line's verbs and of a transaction's lines
// alike. Each registers itself with a parser, and after parsing is understood: checked and turned
// into what the library takes. The parser may be gone by then; until then arguments do not move.
// Errors (InvalidArgument) say what to change.
#ifndef RAFTKV_CLIENT_CLI_KV_ARGUMENTS_H_
#define RAFTKV_CLIENT_CLI_KV_ARGUMENTS_H_

#include <CLI/CLI.hpp>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/raftkv.h"

namespace raftkv::client {

// The keys of a verb, as positional arguments and flags name them.
class KeyArguments {
 public:
  void AddTo(CLI::App& verb);
  absl::StatusOr<Keys> Understand() const;

 private:
  std::string key_;
  std::optional<std::string> range_end_;
  bool prefix_ = false;
  bool from_key_ = false;
};

struct GetArguments {
  void AddTo(CLI::App& verb);
  absl::Status Understand();  // fills in `read`

  KeyArguments keys;
  ReadOptions read;
  bool value_only = false;  // says how to print, so it means nothing in a transaction
  std::string consistency = "l";
  std::string order;
  std::string sort_by;
};

struct PutArguments {
  void AddTo(CLI::App& verb);
  absl::Status Understand();  // fills in `options.lease`; a missing value is the caller's to judge

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
