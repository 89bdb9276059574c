#include "client/cli/txn_input.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "client/cli/kv_arguments.h"
#include "client/cli/quote.h"
#include "client/cli/usage.h"

namespace raftkv::client {
namespace {

using Target = Compare::Target;
using Relation = Compare::Relation;

constexpr struct {
  std::string_view name;
  Target target;
} kTargets[] = {{"value", Target::kValue},
                {"val", Target::kValue},
                {"mod", Target::kModRevision},
                {"m", Target::kModRevision},
                {"create", Target::kCreateRevision},
                {"c", Target::kCreateRevision},
                {"version", Target::kVersion},
                {"ver", Target::kVersion},
                {"lease", Target::kLease}};

constexpr struct {
  std::string_view name;
  Relation relation;
} kRelations[] = {{"=", Relation::kEqual},
                  {"!=", Relation::kNotEqual},
                  {"<", Relation::kLess},
                  {">", Relation::kGreater}};

absl::Status Invalid(absl::string_view what) { return absl::InvalidArgumentError(what); }

void SkipSpace(std::string_view* text) {
  while (!text->empty() && absl::ascii_isspace(static_cast<unsigned char>(text->front()))) {
    text->remove_prefix(1);
  }
}

// Removes leading space, the characters for which `is` is true, and the space after them from
// `text`. Returns the characters.
std::string_view TakeWhile(bool (*is)(char), std::string_view* text) {
  SkipSpace(text);
  size_t size = 0;
  while (size < text->size() && is((*text)[size])) ++size;
  const std::string_view taken = text->substr(0, size);
  text->remove_prefix(size);
  SkipSpace(text);
  return taken;
}

bool IsLetter(char c) { return absl::ascii_isalpha(static_cast<unsigned char>(c)); }
bool IsOperator(char c) { return c == '=' || c == '!' || c == '<' || c == '>'; }
bool IsBracket(char c) { return c == '(' || c == ')'; }
bool IsWord(char c) { return !absl::ascii_isspace(static_cast<unsigned char>(c)); }

absl::Status SetOperand(std::string operand, Compare* compare) {
  if (compare->target == Target::kValue) {
    compare->value = std::move(operand);
    return absl::OkStatus();
  }
  const bool lease = compare->target == Target::kLease;
  if (lease ? absl::SimpleHexAtoi(operand, &compare->number)
            : absl::SimpleAtoi(operand, &compare->number)) {
    return absl::OkStatus();
  }
  return Invalid(absl::StrCat("\"", operand, "\" is not ",
                              lease ? "a lease ID in hexadecimal" : "a whole number"));
}

// Parses a line such as value("KEY") = "VALUE". Space is allowed between the parts. Numbers need no
// quotes.
absl::StatusOr<Compare> ParseCompare(std::string_view line) {
  const std::string_view name = TakeWhile(IsLetter, &line);
  if (name == "put" || name == "get" || name == "del") {
    return Invalid(
        "this is a request, not a condition; end the conditions with an empty line first");
  }
  if (TakeWhile(IsBracket, &line) != "(") {
    return Invalid("a condition looks like mod(\"KEY\") = \"5\"");
  }
  Compare compare;
  bool known = false;
  for (const auto& target : kTargets) {
    if (target.name != name) continue;
    compare.target = target.target;
    known = true;
  }
  if (!known) {
    return Invalid(absl::StrCat("unknown condition \"", std::string(name),
                                "\", use value, mod, create, version or lease"));
  }
  auto key = TakeQuoted(&line);
  if (!key.ok()) return Invalid(absl::StrCat("the key: ", key.status().message()));
  compare.keys = *std::move(key);
  if (TakeWhile(IsBracket, &line) != ")") return Invalid("a ) is missing after the key");
  const std::string_view relation_name = TakeWhile(IsOperator, &line);
  known = false;
  for (const auto& relation : kRelations) {
    if (relation.name != relation_name) continue;
    compare.relation = relation.relation;
    known = true;
  }
  if (!known) {
    return Invalid(
        absl::StrCat("unknown operator \"", std::string(relation_name), "\", use = != < or >"));
  }
  const bool bare = compare.target != Target::kValue && !line.empty() && line[0] != '"';
  auto operand = bare ? std::string(TakeWhile(IsWord, &line)) : TakeQuoted(&line);
  if (!operand.ok()) return Invalid(absl::StrCat("the right side: ", operand.status().message()));
  SkipSpace(&line);
  if (!line.empty()) return Invalid(absl::StrCat("unexpected \"", std::string(line), "\""));
  const absl::Status status = SetOperand(*std::move(operand), &compare);
  if (!status.ok()) return status;
  return compare;
}

// Parses the words after the verb.
template <typename Arguments>
absl::Status Parse(std::vector<std::string> words, Arguments* arguments) {
  CLI::App app("", words[0]);
  app.set_help_flag();
  app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  arguments->AddTo(app);
  words.erase(words.begin());
  std::reverse(words.begin(), words.end());  // CLI11 parses from the back
  try {
    app.parse(std::move(words));
  } catch (const CLI::ParseError& error) {
    return Invalid(Explain(app, error));
  }
  return absl::OkStatus();
}

absl::StatusOr<Op> ParsePut(const std::vector<std::string>& words) {
  PutArguments put;
  absl::Status status = Parse(words, &put);
  if (status.ok()) status = put.Validate();
  if (status.ok() && !put.value.has_value() && !put.options.ignore_value) {
    status = Invalid("put needs a key and a value");
  }
  if (!status.ok()) return status;
  return Op::Put(put.key, put.value.value_or(""), put.options);
}

absl::StatusOr<Op> ParseGet(const std::vector<std::string>& words) {
  GetArguments get;
  absl::Status status = Parse(words, &get);
  if (status.ok()) status = get.Validate();
  if (!status.ok()) return status;
  auto keys = get.keys.ToKeys();
  if (!keys.ok()) return keys.status();
  return Op::Get(*std::move(keys), get.read);
}

absl::StatusOr<Op> ParseDelete(const std::vector<std::string>& words) {
  DeleteArguments del;
  const absl::Status status = Parse(words, &del);
  if (!status.ok()) return status;
  auto keys = del.keys.ToKeys();
  if (!keys.ok()) return keys.status();
  return Op::Delete(*std::move(keys), del.options);
}

absl::StatusOr<Op> ParseRequest(std::string_view line) {
  const auto words = SplitWords(line);
  if (!words.ok()) return words.status();
  const std::string& verb = words->front();
  if (verb == "put") return ParsePut(*words);
  if (verb == "get") return ParseGet(*words);
  if (verb == "del") return ParseDelete(*words);
  return Invalid(absl::StrCat("unknown request \"", verb, "\", use put, get or del"));
}

class Reader {
 public:
  Reader(std::istream& in, std::ostream* prompts, bool hint)
      : in_(in), prompts_(prompts), hint_(hint) {}

  // Reads lines up to an empty one. Calls `parse` for each and appends the result to `list`.
  template <typename Item, typename Parse>
  absl::Status ReadPart(const char* part, Parse parse, std::vector<Item>* list) {
    if (prompts_ != nullptr) *prompts_ << part << ":" << std::endl;
    if (prompts_ != nullptr && std::exchange(hint_, false)) {
      *prompts_ << "(an empty line ends each of the three parts)" << std::endl;
    }
    std::string line;
    while (std::getline(in_, line)) {
      ++number_;
      const absl::string_view text = absl::StripAsciiWhitespace(line);
      if (text.empty()) return absl::OkStatus();
      auto item = parse(std::string_view(text.data(), text.size()));
      if (!item.ok()) {
        return Invalid(absl::StrCat("line ", number_, ": ", item.status().message(), ": ", text));
      }
      list->push_back(*std::move(item));
    }
    return Invalid(absl::StrCat("standard input ends after line ", number_,
                                ", before the empty line that ends the ", part,
                                "; end each of the three parts with one, see raftkv txn --help"));
  }

  // Nothing but empty lines may follow: it would be ignored. With prompts, nothing more is read,
  // because a terminal's input does not end.
  absl::Status ReadEnd() {
    std::string line;
    while (prompts_ == nullptr && std::getline(in_, line)) {
      ++number_;
      const absl::string_view text = absl::StripAsciiWhitespace(line);
      if (text.empty()) continue;
      return Invalid(absl::StrCat("line ", number_, ": unexpected text after the third part: ",
                                  text, "; an empty line ends each part"));
    }
    return absl::OkStatus();
  }

 private:
  std::istream& in_;
  std::ostream* prompts_;
  bool hint_;
  int64_t number_ = 0;  // of the last line read
};

}  // namespace

absl::StatusOr<Transaction> ReadTransaction(std::istream& in, std::ostream* prompts, bool hint) {
  Transaction txn;
  Reader reader(in, prompts, hint);
  absl::Status status = reader.ReadPart("compares", ParseCompare, &txn.when);
  if (status.ok()) {
    status = reader.ReadPart("success requests (get, put, del)", ParseRequest, &txn.then);
  }
  if (status.ok()) {
    status = reader.ReadPart("failure requests (get, put, del)", ParseRequest, &txn.otherwise);
  }
  if (status.ok()) status = reader.ReadEnd();
  if (!status.ok()) return status;
  return txn;
}

}  // namespace raftkv::client
