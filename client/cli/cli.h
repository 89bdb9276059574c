// The command line `raftkv`: etcdctl's verbs, flags and formats over the client library. main() and
// the tests call RunCli(); cli.cc parses the global flags, and each verb group registers its verbs.
// Every error is one line on stderr, and the exit code says what is known of the request.
#ifndef RAFTKV_CLIENT_CLI_CLI_H_
#define RAFTKV_CLIENT_CLI_CLI_H_

#include <CLI/CLI.hpp>
#include <functional>
#include <istream>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "client/cli/output.h"
#include "client/raftkv.h"

namespace raftkv::client {

// The numbers mean in etcdctl what they mean here; kOutcomeUnknown is raftkv's own.
enum ExitCode : int {
  kExitOk = 0,
  kExitFailed = 1,          // the service refused or failed the request; an endpoint is unhealthy
  kExitUnreachable = 2,     // no endpoint could be reached, nothing was sent
  kExitBadInput = 3,        // standard input is not a transaction
  kExitBadFormat = 4,       // the verb has no such output format
  kExitIo = 6,              // standard input or output failed
  kExitOutcomeUnknown = 7,  // a write was sent, and may or may not have happened
  kExitBadArguments = 128,
};

struct Streams {
  std::istream& in;
  std::ostream& out;
  std::ostream& err;
  bool in_is_terminal = false;   // then nobody meant to type a value, and txn says what it wants
  bool err_is_terminal = false;  // colours and live lines, then
};

// What the global flags say, and what verbs need. Verbs keep references to it until they have run.
class Context {
 public:
  explicit Context(Streams streams) : streams(streams) {}

  Options ClientOptions() const;
  std::unique_ptr<Client> Connect() const;  // the options are known to be good by then
  Output MakeOutput() const { return Output(streams.out, streams.err, format, hex); }
  // Prints "Error: ..." and returns the exit code for it.
  int Fail(const absl::Status& error) const;
  int Fail(int code, absl::string_view message) const;
  // For "cannot connect to ...": says what to look at.
  int Unreachable(absl::string_view message) const;
  int BadArguments(absl::string_view message) const { return Fail(kExitBadArguments, message); }
  int NoTable() const;  // for verbs whose results make no table

  Streams streams;
  std::vector<std::string> endpoints;
  absl::Duration command_timeout = absl::Seconds(5);
  absl::Duration dial_timeout = absl::Seconds(2);
  Format format = Format::kSimple;
  bool hex = false;
  std::function<int()> verb;  // what the command line asked for; none: print help
};

// Each adds its verbs to `app`; parsing one sets context.verb.
void AddKvVerbs(CLI::App& app, Context& context);
void AddEndpointVerbs(CLI::App& app, Context& context);
void AddMemberVerbs(CLI::App& app, Context& context);
void AddBenchVerbs(CLI::App& app, Context& context);

int RunCli(int argc, const char* const* argv, Streams streams);

}  // namespace raftkv::client

#endif  // RAFTKV_CLIENT_CLI_CLI_H_
