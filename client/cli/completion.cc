#include "client/cli/completion.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"

namespace raftkv::client {
namespace {

// The values of flags that take one of a few. The parser does not know them.
const std::map<std::string, std::string>& ValuesOfFlags() {
  static const auto& values =
      *new std::map<std::string, std::string>{{"--consistency", "l s"},
                                              {"--load", "s m l xl"},
                                              {"--order", "ASCEND DESCEND"},
                                              {"--sort-by", "CREATE KEY MODIFY VALUE VERSION"},
                                              {"--write-out", "simple json fields table"}};
  return values;
}

// A word that may be completed, and what it means.
struct Word {
  std::string text;
  std::string meaning;
};

// A verb, a group of verbs, or (with an empty path) the program itself.
struct Node {
  std::string path;  // "endpoint/status"
  std::vector<Word> words;
  std::vector<Word> flags;
};

struct Vocabulary {
  std::vector<Node> nodes;                     // the program first
  std::map<std::string, std::string> choices;  // flags, as a pattern "-w|--write-out", and values
  std::set<std::string> valued;                // names of flags that take any other value
};

void AddFlags(const CLI::App& app, Node* node, Vocabulary* vocabulary) {
  for (const CLI::Option* option : app.get_options()) {
    std::vector<std::string> names;
    for (const std::string& name : option->get_snames()) names.push_back("-" + name);
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
    if (names.empty()) continue;                                        // a positional argument
    if (option == app.get_help_ptr() && !node->path.empty()) continue;  // a global flag
    for (const std::string& name : names) {
      const bool inherited = std::any_of(node->flags.begin(), node->flags.end(),
                                         [&name](const Word& flag) { return flag.text == name; });
      if (!inherited) node->flags.push_back({name, option->get_description()});
    }
    if (option->get_items_expected_max() == 0) continue;
    const auto values = ValuesOfFlags().find(names.back());
    if (values == ValuesOfFlags().end()) {
      vocabulary->valued.insert(names.begin(), names.end());
    } else {
      vocabulary->choices[absl::StrJoin(names, "|")] = values->second;
    }
  }
}

// A verb also takes the flags of its group, `inherited`.
void AddNode(const CLI::App& app, const std::string& path, const std::vector<Word>& inherited,
             Vocabulary* vocabulary) {
  Node node{.path = path, .words = {}, .flags = inherited};
  const auto verbs = app.get_subcommands([](const CLI::App*) { return true; });
  for (const CLI::App* verb : verbs) {
    node.words.push_back({verb->get_name(), verb->get_description()});
  }
  AddFlags(app, &node, vocabulary);
  if (path == "help") node.words = vocabulary->nodes[0].words;
  const std::vector<Word> flags = path.empty() ? std::vector<Word>() : node.flags;
  vocabulary->nodes.push_back(std::move(node));
  for (const CLI::App* verb : verbs) {
    AddNode(*verb, path.empty() ? verb->get_name() : path + "/" + verb->get_name(), flags,
            vocabulary);
  }
}

Vocabulary VocabularyOf(const CLI::App& app) {
  Vocabulary vocabulary;
  AddNode(app, "", {}, &vocabulary);
  return vocabulary;
}

// A pattern for $at/$word of every verb: "/put|/get|endpoint/status".
std::string VerbPattern(const Vocabulary& vocabulary) {
  std::vector<std::string> patterns;
  for (const Node& node : vocabulary.nodes) {
    if (node.path.empty()) continue;
    const bool top = node.path.find('/') == node.path.npos;
    patterns.push_back(top ? "/" + node.path : node.path);
  }
  return absl::StrJoin(patterns, "|");
}

std::string Quoted(const std::string& text) {
  return absl::StrCat("'", absl::StrReplaceAll(text, {{"'", "'\\''"}}), "'");
}

// For bash: the words alone.
std::string List(const std::vector<Word>& words) {
  const auto text = [](std::string* out, const Word& word) { absl::StrAppend(out, word.text); };
  return Quoted(absl::StrJoin(words, " ", text));
}

// For zsh's _describe: 'word:meaning'.
std::string Array(const std::vector<Word>& words) {
  const auto item = [](std::string* out, const Word& word) {
    absl::StrAppend(out, Quoted(absl::StrCat(word.text, ":", word.meaning)));
  };
  return absl::StrCat("(", absl::StrJoin(words, " ", item), ")");
}

}  // namespace

std::string BashCompletion(const CLI::App& app) {
  const Vocabulary vocabulary = VocabularyOf(app);
  std::string script = R"(# Completion of raftkv for bash. Load it in ~/.bashrc:
#   source <(raftkv completion bash)
_raftkv() {
  local cur=${COMP_WORDS[COMP_CWORD]} flag=${COMP_WORDS[COMP_CWORD-1]} at= word words= flags=
  # bash splits --flag=value into three words.
  if [[ $cur == = ]]; then
    cur=
  elif [[ $flag == = ]]; then
    flag=${COMP_WORDS[COMP_CWORD-2]}
  fi
  case $flag in
)";
  for (const auto& [names, values] : vocabulary.choices) {
    absl::StrAppend(&script, "    ", names, ") words=", Quoted(values), " ;;\n");
  }
  absl::StrAppend(&script, "    ", absl::StrJoin(vocabulary.valued, "|"), R"() return ;;
    *)
      for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
        case $at/$word in
          )",
                  VerbPattern(vocabulary), R"() at=${at:+$at/}$word ;;
          */--) return ;;
        esac
      done
      case $at in
)");
  for (const Node& node : vocabulary.nodes) {
    absl::StrAppend(&script, "        ", Quoted(node.path), ") words=", List(node.words),
                    " flags=", List(node.flags), " ;;\n");
  }
  absl::StrAppend(&script, R"(      esac
      [[ $cur == -* ]] && words="$flags )",
                  "\"", List(vocabulary.nodes[0].flags), R"(
      ;;
  esac
  COMPREPLY=($(compgen -W "$words" -- "$cur"))
}
complete -o default -F _raftkv raftkv
)");
  return script;
}

std::string ZshCompletion(const CLI::App& app) {
  const Vocabulary vocabulary = VocabularyOf(app);
  std::string script = R"(#compdef raftkv
# Completion of raftkv for zsh. Load it in ~/.zshrc, after compinit:
#   source <(raftkv completion zsh)
_raftkv() {
  local flag=${words[CURRENT-1]} at= word
  local -a verbs flags
  if [[ $PREFIX == --*=* ]]; then
    flag=${PREFIX%%=*}
    compset -P '*='
  fi
  case $flag in
)";
  for (const auto& [names, values] : vocabulary.choices) {
    absl::StrAppend(&script, "    (", names, ") compadd ", values, "; return ;;\n");
  }
  absl::StrAppend(&script, "    (", absl::StrJoin(vocabulary.valued, "|"), R"() _files; return ;;
  esac
  for word in ${words[2,CURRENT-1]}; do
    case $at/$word in
      ()",
                  VerbPattern(vocabulary), R"() at=${at:+$at/}$word ;;
      (*/--) _files; return ;;
    esac
  done
  case $at in
)");
  for (const Node& node : vocabulary.nodes) {
    absl::StrAppend(&script, "    (", Quoted(node.path), ") verbs=", Array(node.words),
                    " flags=", Array(node.flags), " ;;\n");
  }
  absl::StrAppend(&script, R"(  esac
  if [[ $PREFIX == -* ]]; then
    [[ -n $at ]] && flags+=)",
                  Array(vocabulary.nodes[0].flags), R"(
    _describe -o flag flags
  elif (( $#verbs )); then
    _describe verb verbs
  else
    _files
  fi
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
  _raftkv "$@"
else
  compdef _raftkv raftkv
fi
)");
  return script;
}

}  // namespace raftkv::client
