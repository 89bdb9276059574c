#include "client/cli/usage.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "config/edit_distance.h"

namespace raftkv::client {
namespace {

template <typename Number>
CLI::Option* AddWhole(CLI::App& app, const char* name, Number& number, const char* what) {
  return app.add_option(name, number, what)
      ->check(CLI::Validator(
          [](const std::string& text) -> std::string {
            Number parsed = 0;
            if (!absl::SimpleAtoi(text, &parsed)) {
              if (!text.empty() && text.find_first_not_of("0123456789") == text.npos) {
                return absl::StrCat(text, " is too large");
              }
              return absl::StrCat("\"", text, "\" is not a whole number");
            }
            return parsed < 0 ? absl::StrCat(text, " is negative") : "";
          },
          ""));
}

std::vector<const CLI::App*> VerbsOf(const CLI::App& app) {
  return app.get_subcommands([](const CLI::App*) { return true; });
}

// Whether `word` has more letters in common with `name` than others. "foo" and "top" differ in two
// letters only, and nobody means one by the other.
bool MostLettersAreIn(const std::string& name, const std::string& word) {
  std::string left = name;
  size_t common = 0;
  for (const char letter : word) {
    const size_t at = left.find(letter);
    if (at == std::string::npos) continue;
    left.erase(at, 1);
    ++common;
  }
  return 2 * common > word.size();
}

// The verb or flag that was probably meant.
struct Guess {
  size_t distance = 3;  // only what is nearer than this is suggested
  std::string name;
};

// Looks for the verb nearest to `word` in `app`. `path` is what to type before the verbs of `app`.
void GuessAmong(const CLI::App& app, const std::string& path, const std::string& word,
                Guess* best) {
  for (const CLI::App* verb : VerbsOf(app)) {
    const std::string& name = verb->get_name();
    const bool begins =
        word.size() >= 3 && (absl::StartsWith(name, word) || absl::StartsWith(word, name));
    const size_t distance = begins ? 1 : EditDistance(word, name);
    if (distance < std::min(best->distance, word.size()) && MostLettersAreIn(name, word)) {
      *best = {distance, path + name};
    }
    GuessAmong(*verb, path + name + " ", word, best);
  }
}

// What other tools call the verbs of groups such as `member`. Empty: `group` has no such verb.
std::string VerbOfGroup(const CLI::App& group, std::string_view word) {
  constexpr std::pair<std::string_view, const char*> kVerbs[] = {
      {"ls", "list"},    {"rm", "remove"},    {"delete", "remove"}, {"rm", "revoke"},
      {"del", "revoke"}, {"create", "grant"}, {"create", "add"},    {"create", "save"}};
  for (const auto& [other, ours] : kVerbs) {
    for (const CLI::App* verb : VerbsOf(group)) {
      if (other == word && verb->get_name() == ours) return ours;
    }
  }
  return "";
}

// What other stores call our verbs. Empty: nothing is known.
std::string VerbOfOtherStores(std::string_view word) {
  constexpr std::pair<std::string_view, const char*> kVerbs[] = {{"set", "put"},
                                                                 {"write", "put"},
                                                                 {"read", "get"},
                                                                 {"range", "get"},
                                                                 {"scan", "get"},
                                                                 {"ls", "get --prefix"},
                                                                 {"rm", "del"},
                                                                 {"remove", "del"},
                                                                 {"unset", "del"},
                                                                 {"status", "endpoint status"},
                                                                 {"members", "member list"}};
  for (const auto& [other, ours] : kVerbs) {
    if (other == word) return ours;
  }
  return "";
}

// The verb or group that was given. Appends its full name to `path`.
const CLI::App& Deepest(const CLI::App& root, std::string* path) {
  const CLI::App* app = &root;
  while (!app->get_subcommands().empty()) {
    app = app->get_subcommands().front();
    absl::StrAppend(path, path->empty() ? "" : " ", app->get_name());
  }
  return *app;
}

// The parser's message, or a clearer one where we have it.
std::string MessageOf(const CLI::ParseError& error) {
  const absl::string_view what = error.what();
  if (dynamic_cast<const CLI::ArgumentMismatch*>(&error) != nullptr &&
      absl::EndsWith(what, " missing")) {
    return absl::StrCat(what.substr(0, what.find(':')), " needs a value");
  }
  absl::string_view flag = what;
  const size_t equals = what.find(" = ");
  if (absl::ConsumePrefix(&flag, "Could not convert: ") && equals != absl::string_view::npos) {
    return absl::StrCat(flag.substr(0, flag.find(' ')), " takes true, false or no value, not \"",
                        what.substr(equals + 3), "\"");
  }
  return std::string(what);
}

// etcdctl's verbs that raftkv does not have yet.
bool IsNotSupportedYet(std::string_view verb) {
  constexpr std::string_view kVerbs[] = {"auth", "make-mirror", "role", "user"};
  return std::find(std::begin(kVerbs), std::end(kVerbs), verb) != std::end(kVerbs);
}

// What to do instead of using such a verb.
std::string InsteadOf(absl::string_view verb) {
  const bool users = verb == "auth" || verb == "role" || verb == "user";
  return users ? "users are not supported yet" : absl::StrCat("use etcdctl ", verb);
}

// Whether the verb has this flag. Then it was written before the verb, or after "--".
bool Has(const CLI::App& app, absl::string_view flag) {
  const std::vector<const CLI::Option*> options = app.get_options();
  return std::any_of(options.begin(), options.end(), [&](const CLI::Option* option) {
    return absl::StartsWith(flag, "--") &&
           option->check_lname(std::string(absl::StripPrefix(flag, "--")));
  });
}

// What to do instead of using an unknown flag. Empty: nothing is known. `app` is the verb.
std::string InsteadOfFlag(const CLI::App& root, const CLI::App& app, const std::string& path,
                          absl::string_view flag) {
  constexpr absl::string_view kSecurity[] = {"--user",
                                             "--password",
                                             "--cacert",
                                             "--cert",
                                             "--key",
                                             "--insecure-transport",
                                             "--insecure-skip-tls-verify"};
  if (std::find(std::begin(kSecurity), std::end(kSecurity), flag) != std::end(kSecurity)) {
    return "users and TLS are not supported yet";
  }
  if (path == "snapshot restore" &&
      (flag == "--data-dir" || flag == "--name" || absl::StartsWith(flag, "--initial-"))) {
    return "the file of -c says it, for member -n: name, data_dir, peer_url";
  }
  Guess guess;
  for (const CLI::App* each : {&app, &root}) {
    for (const CLI::Option* option : each->get_options()) {
      for (const std::string& name : option->get_lnames()) {
        const size_t distance = EditDistance(absl::StripPrefix(flag, "--"), name);
        if (absl::StartsWith(flag, "--") && distance < std::min(guess.distance, name.size())) {
          guess = {distance, "--" + name};
        }
      }
    }
  }
  return guess.name.empty() ? "" : absl::StrCat("did you mean ", guess.name, "?");
}

}  // namespace

CLI::Option* AddNumber(CLI::App& app, const char* name, int64_t& number, const char* what) {
  return AddWhole(app, name, number, what);
}

CLI::Option* AddNumber(CLI::App& app, const char* name, int& number, const char* what) {
  return AddWhole(app, name, number, what);
}

CLI::Option* AddNumber(CLI::App& app, const char* name, double& number, const char* what) {
  return app.add_option(name, number, what)
      ->check(CLI::Validator(
          [](const std::string& text) -> std::string {
            double parsed = 0;
            if (absl::SimpleAtod(text, &parsed) && std::isfinite(parsed)) return "";
            return absl::StrCat("\"", text, "\" is not a number");
          },
          ""));
}

std::string Explain(const CLI::App& root, const CLI::ParseError& error) {
  std::string path;
  const CLI::App& app = Deepest(root, &path);
  const std::string prefix = path.empty() ? "" : path + ": ";
  const std::string help =
      root.get_help_ptr() == nullptr
          ? ""
          : absl::StrCat("; see ", root.get_name(), " ", path, path.empty() ? "" : " ", "--help");
  const std::vector<std::string> left = root.remaining(/*recurse=*/true);
  // An unknown flag comes first: what else is wrong may follow from it.
  const auto flag = std::find_if(left.begin(), left.end(), [](const std::string& word) {
    return word.size() > 1 && word[0] == '-' && word != "--";
  });
  if (flag != left.end()) {
    const std::string name = flag->substr(0, flag->find('='));
    if (Has(app, name)) {
      return absl::StrCat(prefix, "unexpected argument \"", *flag,
                          "\": as a flag, write it after the verb and before \"--\"");
    }
    const std::string instead = InsteadOfFlag(root, app, path, name);
    return absl::StrCat(prefix, "unknown flag ", name, instead.empty() ? help : "; " + instead);
  }
  if (dynamic_cast<const CLI::ExtrasError*>(&error) == nullptr || left.empty()) {
    return absl::StrCat(prefix, MessageOf(error), help);
  }
  const std::string& word = left.front();
  if (VerbsOf(app).empty()) {
    return absl::StrCat(prefix, "unexpected argument \"", word, "\"", help);
  }
  if (path.empty() && IsNotSupportedYet(word)) {
    return absl::StrCat("\"", word, "\" is a verb of etcdctl that raftkv does not have yet; ",
                        InsteadOf(word));
  }
  // In a group, its own verbs come first.
  Guess guess;
  if (path.empty()) {
    guess.name = VerbOfOtherStores(word);
  } else if (const std::string verb = VerbOfGroup(app, word); !verb.empty()) {
    guess.name = absl::StrCat(path, " ", verb);
  } else {
    GuessAmong(app, path + " ", word, &guess);
  }
  if (guess.name.empty()) GuessAmong(root, "", word, &guess);
  return absl::StrCat(prefix, "unknown verb \"", word, "\"",
                      guess.name.empty() ? help : "; did you mean \"" + guess.name + "\"?");
}

}  // namespace raftkv::client
