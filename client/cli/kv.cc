// The verbs put, get, del, txn and compaction.
#include "client/cli/cli.h"
#include "client/cli/kv_arguments.h"
#include "client/cli/txn_input.h"
#include "client/cli/usage.h"

namespace raftkv::client {
namespace {

int Get(GetArguments& arguments, const Context& context) {
  const absl::Status valid = arguments.Validate();
  if (!valid.ok()) return context.BadArguments(valid.message());
  const auto keys = arguments.keys.ToKeys();
  if (!keys.ok()) return context.BadArguments(keys.status().message());
  if (arguments.value_only && context.format != Format::kSimple) {
    return context.BadArguments("print-value-only is only for `--write-out=simple`");
  }
  if (context.format == Format::kTable) return context.NoTable();
  const auto result = context.Connect()->Range(*keys, arguments.read);
  if (!result.ok()) return context.Fail(result.status());
  context.MakeOutput().Get(*result, arguments.value_only, arguments.read.count_only);
  return kExitOk;
}

bool ReadAll(std::istream& in, std::string* text) {
  // read() catches exceptions of the stream buffer (input is a directory) and sets bad(). Stream
  // iterators would not.
  text->clear();
  for (char buffer[4096]; in.good();) {
    in.read(buffer, sizeof(buffer));
    text->append(buffer, static_cast<size_t>(in.gcount()));
  }
  return !in.bad();
}

int Put(PutArguments& arguments, const Context& context) {
  const absl::Status valid = arguments.Validate();
  if (!valid.ok()) return context.BadArguments(valid.message());
  if (context.format == Format::kTable) return context.NoTable();
  const bool absent = !arguments.value.has_value() && !arguments.options.ignore_value;
  if (absent && context.streams.in_is_terminal) {
    return context.BadArguments("put needs a value, as an argument or from standard input");
  }
  std::string value = arguments.value.value_or("");
  if ((absent || value == "-") && !ReadAll(context.streams.in, &value)) {
    return context.Fail(kExitIo, "cannot read standard input");
  }
  const auto result = context.Connect()->Put(arguments.key, value, arguments.options);
  if (!result.ok()) return context.Fail(result.status());
  context.MakeOutput().Put(*result);
  return kExitOk;
}

int Delete(DeleteArguments& arguments, const Context& context) {
  const auto keys = arguments.keys.ToKeys();
  if (!keys.ok()) return context.BadArguments(keys.status().message());
  if (context.format == Format::kTable) return context.NoTable();
  const auto result = context.Connect()->Delete(*keys, arguments.options);
  if (!result.ok()) return context.Fail(result.status());
  context.MakeOutput().Delete(*result);
  return kExitOk;
}

struct TxnArguments {
  void AddTo(CLI::App& verb) {
    verb.footer(kTxnSyntax);
    verb.add_flag("-i,--interactive", interactive,
                  "print prompts even if standard input is not a terminal");
  }
  bool interactive = false;
};

int Txn(TxnArguments& arguments, const Context& context) {
  if (context.format == Format::kTable) return context.NoTable();
  // Prompts go to stderr, so that standard output holds only the result.
  const bool prompt = arguments.interactive || context.streams.in_is_terminal;
  const auto txn = ReadTransaction(context.streams.in, prompt ? &context.streams.err : nullptr,
                                   context.streams.in_is_terminal);
  if (!txn.ok()) return context.Fail(kExitBadInput, txn.status().message());
  const auto result = context.Connect()->Txn(*txn);
  if (!result.ok()) return context.Fail(result.status());
  context.MakeOutput().Txn(*result);
  return kExitOk;
}

struct CompactArguments {
  void AddTo(CLI::App& verb) {
    AddNumber(verb, "revision", revision, "discard the history before this revision")->required();
    verb.add_flag("--physical", physical, "wait until the old versions have been removed");
  }
  int64_t revision = 0;
  bool physical = false;
};

int Compact(CompactArguments& arguments, const Context& context) {
  if (context.format == Format::kTable) return context.NoTable();
  const auto result = context.Connect()->Compact(arguments.revision, arguments.physical);
  if (!result.ok()) return context.Fail(result.status());
  context.MakeOutput().Compact(*result, arguments.revision);
  return kExitOk;
}

// Adds a verb. Its callback owns the arguments.
template <typename Arguments>
void AddVerb(CLI::App& app, const char* name, const char* what, Context& context,
             int (*run)(Arguments&, const Context&)) {
  CLI::App* verb = app.add_subcommand(name, what);
  auto arguments = std::make_shared<Arguments>();
  arguments->AddTo(*verb);
  context.OnVerb(verb, [arguments, run, &context] { return run(*arguments, context); });
}

}  // namespace

void AddKvVerbs(CLI::App& app, Context& context) {
  AddVerb<PutArguments>(app, "put", "Writes a key", context, Put);
  AddVerb<GetArguments>(app, "get", "Reads a key, or a range of keys", context, Get);
  AddVerb<DeleteArguments>(app, "del", "Deletes a key, or a range of keys", context, Delete);
  AddVerb<TxnArguments>(app, "txn",
                        "Runs a transaction: conditions, then one of two lists of requests",
                        context, Txn);
  AddVerb<CompactArguments>(app, "compaction",
                            "Discards the history before a revision; older reads then fail",
                            context, Compact);
}

}  // namespace raftkv::client
