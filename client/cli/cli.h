// The command line program `raftkv`: etcdctl's verbs, flags and output formats, on top of the
// client library. main() and the tests call RunCli(). cli.cc parses the global flags; each verb
// group registers its verbs. Every error is one line on stderr, and the exit code says what kind of
// error it is.
#ifndef RAFTKV_CLIENT_CLI_CLI_H_
#define RAFTKV_CLIENT_CLI_CLI_H_

#include <CLI/CLI.hpp>
#include <algorithm>
#include <functional>
#include <istream>
#include <memory>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "client/cli/output.h"
#include "client/raftkv.h"

namespace raftkv::client {

// etcdctl's numbers, and kExitOutcomeUnknown, which etcdctl does not have. docs/cli.md says in
// which cases etcdctl uses another number.
enum ExitCode : int {
  kExitOk = 0,
  kExitFailed = 1,          // the request failed, an endpoint is unhealthy, or members differ
  kExitUnreachable = 2,     // no endpoint could be reached; nothing was sent
  kExitBadInput = 3,        // standard input is not a transaction
  kExitBadFormat = 4,       // the verb does not support this output format
  kExitWatchEnded = 5,      // the service ended a watch
  kExitIo = 6,              // standard input or output failed
  kExitOutcomeUnknown = 7,  // a write was sent, and may or may not have happened
  kExitBadArguments = 128,
};

struct Streams {
  std::istream& in;
  std::ostream& out;
  std::ostream& err;
  bool in_is_terminal = false;   // if true: put reads no value from it, and txn prints prompts
  bool out_is_terminal = false;  // if true: top replaces what it has shown
  bool err_is_terminal = false;  // if true: errors in red; bench and snapshot show their progress
};

// The parsed global flags, and what the verbs share. Verbs keep references to it, so it must
// outlive them.
class Context {
 public:
  explicit Context(Streams streams) : streams(streams) {}

  Options ClientOptions() const;
  std::unique_ptr<Client> Connect() const;  // call it after the global flags were checked
  Output MakeOutput() const { return Output(streams.out, streams.err, format, hex); }
  // Prints "Error: ..." and returns the exit code. The error of a call gets its cause added.
  int Fail(const absl::Status& error) const;
  int Fail(int code, absl::string_view message) const;
  // None of the endpoints `asked` can be reached: says why.
  int Unreachable(const std::vector<std::string>& asked) const;
  // The error of a call to one endpoint; says why, if the endpoint cannot be reached.
  absl::Status WithCause(const absl::Status& error, const std::string& asked) const;
  int BadArguments(absl::string_view message) const { return Fail(kExitBadArguments, message); }
  int NoTable() const;  // for verbs without a table format

  // `run` is run if the user gives this verb, after all arguments were parsed.
  void OnVerb(CLI::App* given, std::function<int()> run) {
    given->callback([this, run = std::move(run)] { verb = run; });
  }

  absl::Duration ProbeLimit() const { return std::min(dial_timeout, absl::Seconds(1)); }

  Streams streams;
  std::vector<std::string> endpoints;
  absl::Duration command_timeout = absl::Seconds(5);
  absl::Duration dial_timeout = absl::Seconds(2);
  Format format = Format::kSimple;
  bool hex = false;
  bool exactly_once = false;
  std::vector<std::string> command;  // of watch and lock: the words after --
  std::function<int()> verb;         // runs the verb that was given; empty: none was given
};

// Each function adds its verbs to `app`. Parsing a verb sets context.verb.
void AddKvVerbs(CLI::App& app, Context& context);
void AddEndpointVerbs(CLI::App& app, Context& context);
void AddAlarmVerbs(CLI::App& app, Context& context);
void AddLeaseVerbs(CLI::App& app, Context& context);
void AddMemberVerbs(CLI::App& app, Context& context);
void AddBenchVerbs(CLI::App& app, Context& context);
void AddSnapshotVerbs(CLI::App& app, Context& context);
void AddWatchVerb(CLI::App& app, Context& context);
void AddLockVerbs(CLI::App& app, Context& context);
void AddCheckVerbs(CLI::App& app, Context& context);
void AddTopVerb(CLI::App& app, Context& context);
// Removes "--" and everything after it from the words. Returns what followed it.
std::vector<std::string> TakeCommand(std::vector<std::string>* words);

int RunCli(int argc, const char* const* argv, Streams streams);

}  // namespace raftkv::client

#endif  // RAFTKV_CLIENT_CLI_CLI_H_
