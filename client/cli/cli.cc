#include "client/cli/cli.h"

#include <glog/logging.h>

#include <algorithm>
#include <cstdlib>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "client/cli/cause.h"
#include "client/cli/completion.h"
#include "client/cli/usage.h"
#include "config/version.h"

namespace raftkv::client {
namespace {

constexpr char kFooter[] = R"(Examples:
  raftkv put colour blue
  raftkv get colour
  raftkv get --prefix col --keys-only
  raftkv --endpoints 127.0.0.1:2379,127.0.0.1:22379 endpoint status -w table

Exit codes:
    0  done (reading a key that does not exist is no error)
    1  the request failed, an endpoint is unhealthy, members differ, or a lock was lost
    2  no endpoint could be reached; nothing was sent
    3  standard input is not a transaction; nothing was sent
    4  the verb does not support this output format
    5  the service ended the watch, for example because its revision is compacted
    6  reading standard input or writing standard output failed
    7  outcome unknown: the write may or may not have happened
  128  invalid arguments
)";

// The global flags as given, before they are parsed.
struct Flags {
  std::string endpoints = "127.0.0.1:2379";
  std::string command_timeout = "10s";  // above the server's 7s, whose error says more
  std::string dial_timeout = "2s";
  std::string format = "simple";
};

void AddGlobalFlags(CLI::App& app, Flags& flags, Context& context) {
  if (const char* etcdctl = std::getenv("ETCDCTL_ENDPOINTS"); etcdctl != nullptr && *etcdctl != 0) {
    flags.endpoints = etcdctl;
  }
  app.add_option("--endpoints", flags.endpoints, "host:port; separate several by commas")
      ->envname("RAFTKV_ENDPOINTS")
      ->capture_default_str();
  app.add_option("--command-timeout", flags.command_timeout, "time limit for a whole command")
      ->capture_default_str();
  app.add_option("--dial-timeout", flags.dial_timeout, "time limit for connecting to one endpoint")
      ->capture_default_str();
  app.add_option("-w,--write-out", flags.format, "output format: simple, json, fields or table")
      ->capture_default_str();
  app.add_flag("--exactly-once", context.exactly_once,
               "repeat put, del and txn until their outcome is known; each takes effect once");
  app.add_flag("--hex", context.hex, "print keys and values as \\xNN");
}

absl::Status ParseTimeout(const char* flag, const std::string& text, absl::Duration* timeout) {
  if (!absl::ParseDuration(text, timeout)) {
    return absl::InvalidArgumentError(
        absl::StrCat(flag, " \"", text, "\" is not a duration such as 5s or 500ms"));
  }
  if (*timeout <= absl::ZeroDuration()) {
    return absl::InvalidArgumentError(
        absl::StrCat(flag, " must be above 0, for instance 5s or 500ms"));
  }
  return absl::OkStatus();
}

absl::Status ApplyFlags(const Flags& flags, Context& context) {
  for (absl::string_view endpoint : absl::StrSplit(flags.endpoints, ',', absl::SkipWhitespace())) {
    context.endpoints.emplace_back(absl::StripAsciiWhitespace(endpoint));
  }
  if (context.endpoints.empty()) {
    return absl::InvalidArgumentError(
        "no endpoints given; --endpoints and RAFTKV_ENDPOINTS take host:port, separate several by "
        "commas");
  }
  absl::Status status =
      ParseTimeout("--command-timeout", flags.command_timeout, &context.command_timeout);
  status.Update(ParseTimeout("--dial-timeout", flags.dial_timeout, &context.dial_timeout));
  status.Update(Client::Connect(context.ClientOptions()).status());
  return status;
}

bool ParseFormat(const std::string& text, Format* format) {
  if (text == "simple") return *format = Format::kSimple, true;
  if (text == "json") return *format = Format::kJson, true;
  if (text == "fields") return *format = Format::kFields, true;
  if (text == "table") return *format = Format::kTable, true;
  return false;
}

// `help VERB` is `VERB --help`.
int Help(const CLI::App& app, const std::vector<std::string>& words, const Context& context) {
  const CLI::App* verb = &app;
  std::string path = app.get_name();
  for (const std::string& word : words) {
    const auto named =
        verb->get_subcommands([&word](const CLI::App* each) { return each->get_name() == word; });
    if (named.empty()) {
      return context.BadArguments(
          absl::StrCat("help: unknown verb \"", word, "\"; see raftkv --help"));
    }
    verb = named.front();
    absl::StrAppend(&path, " ", word);
  }
  context.streams.out << verb->get_formatter()->make_help(verb, path, CLI::AppFormatMode::Normal);
  return kExitOk;
}

// Verbs that need no server. They run even if the global flags are invalid.
void AddLocalVerbs(CLI::App& app, Context& context, std::function<int()>* run) {
  app.add_subcommand("version", "Prints the version of raftkv")->callback([&context, run] {
    *run = [&context] {
      context.streams.out << VersionLines("raftkv") << "\n";
      return kExitOk;
    };
  });
  CLI::App* help = app.add_subcommand("help", "Explains a verb");
  auto words = std::make_shared<std::vector<std::string>>();
  help->add_option("verb", *words, "the verb");
  help->callback([&app, &context, run, words] {
    *run = [&app, &context, words] { return Help(app, *words, context); };
  });
}

// Whether "--" begins a command. For other verbs, it ends the flags.
bool RunsCommands(const CLI::App& app, const std::vector<std::string>& words) {
  const auto is_verb = [&app](const std::string& word) {
    return !app.get_subcommands([&word](const CLI::App* verb) { return verb->get_name() == word; })
                .empty();
  };
  const auto verb = std::find_if(words.begin(), words.end(), is_verb);
  return verb != words.end() && (*verb == "watch" || *verb == "lock");
}

// completion bash|zsh
void AddCompletionVerb(CLI::App& app, Context& context, std::function<int()>* run) {
  CLI::App* completion = app.add_subcommand(
      "completion", "Prints a script with which a shell completes raftkv's words");
  completion->require_subcommand(0, 1);
  const auto add = [&](const char* shell, const char* what,
                       std::string (*script)(const CLI::App&)) {
    completion->add_subcommand(shell, what)->callback([&app, &context, run, script] {
      *run = [&app, &context, script] {
        context.streams.out << script(app);
        return kExitOk;
      };
    });
  };
  add("bash", "For ~/.bashrc: source <(raftkv completion bash)", BashCompletion);
  add("zsh", "For ~/.zshrc, after compinit: source <(raftkv completion zsh)", ZshCompletion);
}

// Prints help when no verb is given. That is an error only after a group (`raftkv endpoint`).
int PrintHelp(const CLI::App& app, const Streams& streams) {
  const auto groups = app.get_subcommands();
  if (groups.empty()) {
    streams.out << app.help();
    return kExitOk;
  }
  streams.err << groups.front()->help("raftkv");
  return kExitBadArguments;
}

}  // namespace

Options Context::ClientOptions() const {
  return {.endpoints = endpoints,
          .dial_timeout = dial_timeout,
          .request_timeout = command_timeout,
          .exactly_once = exactly_once};
}

std::unique_ptr<Client> Context::Connect() const {
  auto client = Client::Connect(ClientOptions());
  CHECK(client.ok()) << client.status();
  return *std::move(client);
}

int Context::Fail(int code, absl::string_view message) const {
  const bool colour = streams.err_is_terminal && std::getenv("NO_COLOR") == nullptr;
  streams.err << (colour ? "\033[31mError:\033[0m " : "Error: ")
              << absl::StrReplaceAll(message, {{"\n", " "}}) << "\n";
  return code;
}

int Context::Fail(const absl::Status& error) const {
  if (NeverSent(error)) return Unreachable(endpoints);
  const int code = OutcomeUnknown(error) ? kExitOutcomeUnknown : kExitFailed;
  const bool late = absl::IsUnavailable(error) || absl::IsDeadlineExceeded(error);
  const std::string cause = late ? WhyNoLeader(ClientOptions()) : "";
  return Fail(code, absl::StrCat(error.message(), cause.empty() ? "" : "; ", cause));
}

int Context::Unreachable(const std::vector<std::string>& asked) const {
  return Fail(kExitUnreachable, absl::StrCat(CannotConnect(asked, ProbeLimit()),
                                             "; set a server's address with --endpoints"));
}

absl::Status Context::WithCause(const absl::Status& error, const std::string& asked) const {
  if (!NeverSent(error)) return error;
  return absl::Status(error.code(), CannotConnect({asked}, ProbeLimit()));
}

int Context::NoTable() const {
  return Fail(kExitBadFormat, "table not supported as output format");
}

int RunCli(int argc, const char* const* argv, Streams streams) {
  Context context(streams);
  Flags flags;
  CLI::App app("Reads and writes a raftkv (or etcd v3) cluster.", "raftkv");
  app.footer("Global flags and exit codes: raftkv --help\n");  // printed by every verb
  app.get_formatter()->column_width(28);
  app.set_version_flag("--version", VersionLines("raftkv"));
  app.require_subcommand(0, 1);
  app.fallthrough();
  app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  AddGlobalFlags(app, flags, context);
  AddKvVerbs(app, context);
  AddEndpointVerbs(app, context);
  AddLeaseVerbs(app, context);
  AddAlarmVerbs(app, context);
  AddMemberVerbs(app, context);
  AddBenchVerbs(app, context);
  AddSnapshotVerbs(app, context);
  AddWatchVerb(app, context);
  AddLockVerbs(app, context);
  AddCheckVerbs(app, context);
  AddTopVerb(app, context);
  std::function<int()> local_verb;
  AddLocalVerbs(app, context, &local_verb);
  AddCompletionVerb(app, context, &local_verb);
  app.footer(kFooter);

  try {
    std::vector<std::string> words(argv + 1, argv + argc);
    if (RunsCommands(app, words)) context.command = TakeCommand(&words);
    std::reverse(words.begin(), words.end());  // as CLI11 takes them
    app.parse(std::move(words));
  } catch (const CLI::CallForHelp& help) {
    return app.exit(help, streams.out, streams.err);
  } catch (const CLI::CallForVersion& version) {
    return app.exit(version, streams.out, streams.err);
  } catch (const CLI::ParseError& error) {
    return context.BadArguments(Explain(app, error));
  }
  if (local_verb) return local_verb();
  if (!context.verb) return PrintHelp(app, streams);
  const absl::Status applied = ApplyFlags(flags, context);
  if (!applied.ok()) return context.BadArguments(applied.message());
  if (!ParseFormat(flags.format, &context.format)) {
    return context.Fail(kExitBadFormat, absl::StrCat("unsupported output format \"", flags.format,
                                                     "\", use simple, json, fields or table"));
  }
  const int code = context.verb();
  streams.out.flush();
  if (!streams.out) return context.Fail(kExitIo, "cannot write standard output");
  return code;
}

}  // namespace raftkv::client
