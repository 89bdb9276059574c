// The verb watch: prints events as they happen, and runs a command for each.
#include <algorithm>
#include <list>
#include <memory>
#include <sstream>
#include <thread>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/synchronization/mutex.h"
#include "client/cli/cli.h"
#include "client/cli/command.h"
#include "client/cli/kv_arguments.h"
#include "client/cli/quote.h"
#include "client/cli/usage.h"

namespace raftkv::client {
namespace {

struct WatchArguments {
  void AddTo(CLI::App& verb) {
    keys.AddTo(verb);
    AddFlags(verb);
  }
  void AddFlags(CLI::App& verb) {
    AddNumber(verb, "--rev", options.start_revision, "start with this revision (0: the next one)");
    verb.add_flag("--prev-kv", options.prev_kv, "print the previous key and value, too");
    verb.add_flag("--progress-notify", options.progress_notify,
                  "print the revision at intervals while there are no events");
  }

  KeyArguments keys;
  WatchOptions options;
};

// Prints batches and runs commands. Several threads may use it.
class Printer {
 public:
  Printer(const Context& context, std::vector<std::string> command)
      : context_(context), command_(std::move(command)) {}

  // False: the command could not be run, or failed.
  bool Print(const WatchBatch& batch) {
    absl::MutexLock lock(&mutex);
    context_.MakeOutput().Watch(batch);
    context_.streams.out.flush();
    if (!context_.streams.out) return false;
    for (const Event& event : batch.events) {
      if (!command_.empty() && !Run(batch, event)) return false;
    }
    return true;
  }

 private:
  bool Run(const WatchBatch& batch, const Event& event) {
    const bool put = event.type == Event::Type::kPut;
    const std::vector<std::string> environment = {
        absl::StrCat("ETCD_WATCH_REVISION=", batch.header.revision),
        absl::StrCat("ETCD_WATCH_EVENT_TYPE=", Quote(put ? "PUT" : "DELETE")),
        absl::StrCat("ETCD_WATCH_KEY=", Quote(event.kv.key)),
        absl::StrCat("ETCD_WATCH_VALUE=", Quote(event.kv.value))};
    Command command({.argv = command_, .environment = environment});
    const absl::StatusOr<int> code = command.Run();
    if (code.ok() && *code == 0) return true;
    context_.Fail(kExitFailed, absl::StrCat("the command \"", absl::StrJoin(command_, " "),
                                            "\" failed for an event of ", Quote(event.kv.key), ": ",
                                            code.ok() ? absl::StrCat("exit code ", *code)
                                                      : std::string(code.status().message())));
    return false;
  }

  // Of all watches of this process, because they write to the same streams.
  ABSL_CONST_INIT static absl::Mutex mutex;

  const Context& context_;
  const std::vector<std::string> command_;
};

absl::Mutex Printer::mutex(absl::kConstInit);

// Prints until the watch ends. Returns why it ended.
absl::Status PrintAll(Watcher* watcher, Printer* printer) {
  for (;;) {
    absl::StatusOr<WatchBatch> batch = watcher->Next();
    if (!batch.ok()) return batch.status();
    if (!printer->Print(*batch)) return absl::CancelledError();
  }
}

int Watch(WatchArguments& arguments, const Context& context) {
  if (!arguments.keys.given()) {
    return context.BadArguments("watch: key is required; see raftkv watch --help");
  }
  const auto keys = arguments.keys.ToKeys();
  if (!keys.ok()) return context.BadArguments(keys.status().message());
  if (context.format == Format::kTable) return context.NoTable();
  const auto client = context.Connect();
  auto watcher = client->Watch(*keys, arguments.options);
  if (!watcher.ok()) return context.Fail(watcher.status());
  Printer printer(context, context.command);
  const absl::Status why = PrintAll(watcher->get(), &printer);
  if (absl::IsCancelled(why)) return kExitFailed;  // reported already
  const int64_t compacted = (*watcher)->compact_revision();
  return context.Fail(
      kExitWatchEnded,
      absl::StrCat(why.message(),
                   compacted == 0 ? "" : absl::StrCat("; the oldest revision is ", compacted)));
}

// One line of the interactive mode: "watch" and its arguments.
absl::StatusOr<std::unique_ptr<Watcher>> StartLine(Client* client, const std::string& line,
                                                   std::vector<std::string>* command) {
  absl::StatusOr<std::vector<std::string>> words = SplitWords(line);
  if (!words.ok()) return words.status();
  if (words->empty() || words->front() != "watch") {
    return absl::InvalidArgumentError(
        "each line is: watch [flags] KEY [END] [-- COMMAND], or: progress");
  }
  *command = TakeCommand(&*words);
  CLI::App verb("", "watch");
  verb.set_help_flag();
  WatchArguments arguments;
  arguments.AddTo(verb);
  try {
    std::vector<std::string> reversed(words->rbegin(), words->rend() - 1);
    verb.parse(reversed);
  } catch (const CLI::ParseError& error) {
    return absl::InvalidArgumentError(Explain(verb, error));
  }
  const auto keys = arguments.keys.ToKeys();
  if (!keys.ok()) return keys.status();
  return client->Watch(*keys, arguments.options);
}

// Reads watches from standard input, line by line, and prints the events of all of them until the
// input ends. A line "progress" makes each watch print the revision up to which it has printed all
// events.
int Interactive(const Context& context) {
  struct Running {
    std::unique_ptr<Watcher> watcher;
    std::unique_ptr<Printer> printer;
    std::thread thread;
  };
  if (context.format == Format::kTable) return context.NoTable();
  const auto client = context.Connect();
  std::list<Running> all;
  int code = kExitOk;
  for (std::string line; std::getline(context.streams.in, line);) {
    if (line.empty()) continue;
    if (absl::StripAsciiWhitespace(line) == "progress") {
      for (Running& running : all) running.watcher->RequestProgress();
      continue;
    }
    std::vector<std::string> command;
    auto watcher = StartLine(client.get(), line, &command);
    if (!watcher.ok()) {
      code = context.Fail(watcher.status());
      continue;
    }
    Running& running = all.emplace_back();
    running.watcher = *std::move(watcher);
    running.printer = std::make_unique<Printer>(context, std::move(command));
    running.thread = std::thread([&running, &context] {
      const absl::Status why = PrintAll(running.watcher.get(), running.printer.get());
      if (!absl::IsCancelled(why)) context.Fail(why);
    });
  }
  for (Running& running : all) running.watcher->Cancel();
  for (Running& running : all) running.thread.join();
  return code;
}

}  // namespace

std::vector<std::string> TakeCommand(std::vector<std::string>* words) {
  const auto dashes = std::find(words->begin(), words->end(), "--");
  if (dashes == words->end()) return {};
  std::vector<std::string> command(dashes + 1, words->end());
  words->erase(dashes, words->end());
  return command;
}

void AddWatchVerb(CLI::App& app, Context& context) {
  CLI::App* verb = app.add_subcommand("watch", "Prints changes of keys as they happen");
  verb->footer(
      "After --, a command is run for each event, with ETCD_WATCH_REVISION, "
      "ETCD_WATCH_EVENT_TYPE,\n"
      "ETCD_WATCH_KEY and ETCD_WATCH_VALUE in its environment:\n"
      "  raftkv watch colour -- sh -c 'echo $ETCD_WATCH_KEY changed'\n"
      "With -i, each line of standard input is a watch, as in \"watch colour --prefix\", or the "
      "word\n"
      "progress: then each watch prints the revision up to which it has printed all events.\n");
  auto arguments = std::make_shared<WatchArguments>();
  auto interactive = std::make_shared<bool>(false);
  arguments->AddTo(*verb);
  verb->get_option("key")->required(false);
  verb->add_flag("-i,--interactive", *interactive, "read lines from standard input, see below");
  context.OnVerb(verb, [arguments, interactive, &context] {
    if (*interactive) return Interactive(context);
    return Watch(*arguments, context);
  });
}

}  // namespace raftkv::client
