// put, get, del.
#include <iterator>

#include "absl/strings/str_cat.h"
#include "client/cli/cli.h"

namespace raftkv::client {
namespace {

// The keys of a verb, as positional arguments and flags name them.
struct KeyArguments {
  std::string key;
  std::string range_end;
  bool prefix = false;
  bool from_key = false;
  CLI::Option* range_end_option = nullptr;

  void AddTo(CLI::App& verb) {
    verb.add_option("key", key)->required();
    range_end_option =
        verb.add_option("range_end", range_end, "keys from key up to, not including, this");
    verb.add_flag("--prefix", prefix, "all keys that begin with key");
    verb.add_flag("--from-key", from_key, "key and all keys after it");
  }

  absl::StatusOr<Keys> Understand() const {
    if (prefix && from_key) {
      return absl::InvalidArgumentError(
          "`--prefix` and `--from-key` cannot be set at the same time, choose one");
    }
    if ((prefix || from_key) && range_end_option->count() > 0) {
      return absl::InvalidArgumentError(
          "too many arguments, only accept one argument when `--prefix` or `--from-key` is set");
    }
    if (prefix) return Keys::Prefix(key);
    if (from_key) return Keys::From(key);
    return Keys::Range(key, range_end);
  }
};

struct GetArguments {
  KeyArguments keys;
  ReadOptions read;
  std::string consistency = "l";
  bool value_only = false;
};

struct PutArguments {
  std::string key;
  std::string value;
  CLI::Option* value_option = nullptr;
  PutOptions options;
};

struct DeleteArguments {
  KeyArguments keys;
  DeleteOptions options;
};

int Get(GetArguments& arguments, const Context& context) {
  const auto keys = arguments.keys.Understand();
  if (!keys.ok()) return context.BadArguments(keys.status().message());
  if (arguments.consistency != "l" && arguments.consistency != "s") {
    return context.BadArguments(
        absl::StrCat("unknown consistency flag \"", arguments.consistency, "\""));
  }
  arguments.read.serializable = arguments.consistency == "s";
  if (arguments.read.keys_only && arguments.read.count_only) {
    return context.BadArguments(
        "`--keys-only` and `--count-only` cannot be set at the same time, choose one");
  }
  if (arguments.value_only && context.format != Format::kSimple) {
    return context.BadArguments("print-value-only is only for `--write-out=simple`");
  }
  if (context.format == Format::kTable) return context.NoTable();
  const auto result = context.Connect()->Range(*keys, arguments.read);
  if (!result.ok()) return context.Fail(result.status());
  context.MakeOutput().Get(*result, arguments.value_only, arguments.read.count_only);
  return kExitOk;
}

int Put(PutArguments& arguments, const Context& context) {
  if (context.format == Format::kTable) return context.NoTable();
  const bool absent = arguments.value_option->count() == 0;
  if (absent && context.streams.in_is_terminal) {
    return context.BadArguments("put needs a value, as an argument or from standard input");
  }
  if (absent || arguments.value == "-") {
    // read() turns a stream buffer's exception (a directory as input) into bad(); iterators do not.
    std::istream& in = context.streams.in;
    arguments.value.clear();
    for (char buffer[4096]; in.good();) {
      in.read(buffer, sizeof(buffer));
      arguments.value.append(buffer, static_cast<size_t>(in.gcount()));
    }
    if (in.bad()) return context.Fail(kExitIo, "cannot read standard input");
  }
  const auto result = context.Connect()->Put(arguments.key, arguments.value, arguments.options);
  if (!result.ok()) return context.Fail(result.status());
  context.MakeOutput().Put(*result);
  return kExitOk;
}

int Delete(const DeleteArguments& arguments, const Context& context) {
  const auto keys = arguments.keys.Understand();
  if (!keys.ok()) return context.BadArguments(keys.status().message());
  if (context.format == Format::kTable) return context.NoTable();
  const auto result = context.Connect()->Delete(*keys, arguments.options);
  if (!result.ok()) return context.Fail(result.status());
  context.MakeOutput().Delete(*result);
  return kExitOk;
}

}  // namespace

void AddKvVerbs(CLI::App& app, Context& context) {
  CLI::App* put = app.add_subcommand("put", "Writes a key");
  auto put_arguments = std::make_shared<PutArguments>();
  put->add_option("key", put_arguments->key)->required();
  put_arguments->value_option = put->add_option("value", put_arguments->value,
                                                "from standard input if it is - or absent; put "
                                                "-- before one that begins with -");
  put->add_flag("--prev-kv", put_arguments->options.prev_kv, "print what it replaces");
  put->callback([put_arguments, &context] {
    context.verb = [put_arguments, &context] { return Put(*put_arguments, context); };
  });

  CLI::App* get = app.add_subcommand("get", "Reads a key, or a range of keys");
  auto get_arguments = std::make_shared<GetArguments>();
  get_arguments->keys.AddTo(*get);
  get->add_option("--limit", get_arguments->read.limit, "at most this many keys (0: all)");
  get->add_option("--rev", get_arguments->read.revision, "as of this revision (0: now)");
  get->add_flag("--keys-only", get_arguments->read.keys_only, "leave out the values");
  get->add_flag("--count-only", get_arguments->read.count_only, "only how many keys there are");
  get->add_flag("--print-value-only", get_arguments->value_only, "leave out the keys");
  get->add_option("--consistency", get_arguments->consistency,
                  "l: linearizable, never stale; s: serializable, from the endpoint's own state")
      ->capture_default_str();
  get->callback([get_arguments, &context] {
    context.verb = [get_arguments, &context] { return Get(*get_arguments, context); };
  });

  CLI::App* del = app.add_subcommand("del", "Deletes a key, or a range of keys");
  auto del_arguments = std::make_shared<DeleteArguments>();
  del_arguments->keys.AddTo(*del);
  del->add_flag("--prev-kv", del_arguments->options.prev_kv, "print what is deleted");
  del->callback([del_arguments, &context] {
    context.verb = [del_arguments, &context] { return Delete(*del_arguments, context); };
  });
}

}  // namespace raftkv::client
