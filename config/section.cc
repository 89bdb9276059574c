#include "config/section.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "config/edit_distance.h"
#include "config/url.h"

namespace raftkv {

const std::string* Nearest(absl::string_view name, const std::vector<std::string>& known) {
  const std::string given = absl::AsciiStrToLower(name);
  const auto cost = [&](const std::string& name) {
    return absl::StartsWith(name, given) || absl::StartsWith(given, name)
               ? 1
               : EditDistance(given, name);
  };
  const auto nearest = std::min_element(
      known.begin(), known.end(),
      [&](const std::string& a, const std::string& b) { return cost(a) < cost(b); });
  const bool near = !given.empty() && cost(*nearest) <= std::max<size_t>(2, given.size() / 4);
  return near ? &*nearest : nullptr;
}

namespace {

// A value of the file may have line breaks and other control characters. An error is one line.
std::string OneLine(absl::string_view text) {
  std::string line;
  for (const char c : text) {
    if (absl::ascii_iscntrl(static_cast<unsigned char>(c))) {
      line += absl::CEscape(absl::string_view(&c, 1));
    } else {
      line += c;
    }
  }
  return line;
}

}  // namespace

void SectionReader::Fail(Line line, absl::string_view what, absl::string_view remedy) {
  if (!status_.ok() && fail_line_ <= line) return;
  fail_line_ = line;
  status_ = absl::InvalidArgumentError(
      absl::StrFormat("%s:%d: %s; %s", path_, line, OneLine(what), OneLine(remedy)));
}

std::map<std::string, Line> SectionReader::Read(const std::string& title, const toml::table& table,
                                                Line begin, const std::vector<Key>& keys) {
  std::map<std::string, Line> lines;
  bool unknown_key = false;
  for (const auto& [key, node] : table) {
    const std::string name(key.str());
    const Line line = key.source().begin.line;
    const auto known =
        std::find_if(keys.begin(), keys.end(), [&](const Key& k) { return k.name == name; });
    if (known != keys.end()) {
      lines[name] = line;
      std::visit([&, &node = node](const auto& value) { ReadValue(name, node, line, value); },
                 known->value);
      continue;
    }
    unknown_key = true;
    Fail(line, absl::StrFormat("unknown key \"%s\" in %s", name, title), RemedyOfKey(name, keys));
  }
  for (const Key& key : keys) {
    if (unknown_key) break;  // it may be the missing one, misspelt
    if (!key.required || lines.count(key.name) != 0) continue;
    Fail(begin, absl::StrFormat("%s has no %s", title, key.name),
         absl::StrFormat("add %s = \"...\" below this line", key.name));
  }
  return lines;
}

std::string SectionReader::RemedyOfKey(const std::string& name,
                                       const std::vector<Key>& keys) const {
  if (const std::string sections = sections_with_(name); !sections.empty()) {
    return absl::StrCat("put it under ", sections);
  }
  std::vector<std::string> names;
  for (const Key& k : keys) names.push_back(k.name);
  const std::string* const nearest = Nearest(name, names);
  return nearest != nullptr ? absl::StrFormat("did you mean \"%s\"?", *nearest)
                            : absl::StrCat("the keys here are ", absl::StrJoin(names, ", "));
}

void SectionReader::ReadValue(const std::string& name, const toml::node& node, Line line,
                              const Text& text) {
  if (!node.is_string()) {
    return Fail(line, absl::StrCat(name, " must be a string"), "put it in double quotes");
  }
  *text.to = node.as_string()->get();
  if (text.to->empty()) Fail(line, absl::StrCat(name, " is empty"), "give it a value");
}

void SectionReader::ReadValue(const std::string& name, const toml::node& node, Line line,
                              const Url& url) {
  const auto* given = node.as_string();
  if (given == nullptr) {
    return Fail(line, absl::StrCat(name, " must be a string"), "put it in double quotes");
  }
  if (const auto problem = ProblemOfUrl(given->get(), url.example_port)) {
    return Fail(line, absl::StrFormat("%s \"%s\" %s", name, given->get(), problem->what),
                problem->remedy);
  }
  *url.to = given->get();
}

void SectionReader::ReadValue(const std::string& name, const toml::node& node, Line line,
                              const Urls& urls) {
  const toml::array* const given = node.as_array();
  if (given == nullptr) {
    return Fail(line, absl::StrCat(name, " must be an array"),
                "write [\"http://HOST:PORT\"], or [] for none");
  }
  for (const toml::node& one : *given) {
    std::string url;
    ReadValue(name, one, line, Url{&url, urls.example_port});
    urls.to->push_back(std::move(url));
  }
}

void SectionReader::ReadValue(const std::string& name, const toml::node& node, Line line,
                              const Choice& choice) {
  const auto* given = node.as_string();
  const auto& values = choice.values;
  if (given == nullptr || std::find(values.begin(), values.end(), given->get()) == values.end()) {
    return Fail(line,
                given == nullptr ? absl::StrCat(name, " must be a string")
                                 : absl::StrFormat("unknown %s \"%s\"", name, given->get()),
                absl::StrFormat("write one of \"%s\"", absl::StrJoin(values, "\", \"")));
  }
  *choice.to = given->get();
}

void SectionReader::ReadValue(const std::string& name, const toml::node& node, Line line,
                              const Number& number) {
  const auto* given = node.as_integer();
  if (given == nullptr) {
    // A default of 0 is no example. Only numbers of bytes have it.
    const int64_t example = *number.to == 0 ? int64_t{2} << 30 : *number.to;
    return Fail(line, absl::StrCat(name, " must be a whole number"),
                absl::StrFormat("write it in digits without quotes or unit, such as %d", example));
  }
  if (given->get() < number.min || given->get() > number.max) {
    return Fail(line, absl::StrFormat("%s = %d is out of range", name, given->get()),
                absl::StrFormat("choose %d to %d", number.min, number.max));
  }
  *number.to = given->get();
}

void SectionReader::ReadValue(const std::string& name, const toml::node& node, Line line,
                              const Duration& duration) {
  const auto* given = node.as_string();
  if (given == nullptr) {
    return Fail(line, absl::StrCat(name, " must be a duration in quotes"),
                "write a number and ms, s, m or h, such as \"100ms\"");
  }
  absl::Duration value;
  if (!absl::ParseDuration(given->get(), &value)) {
    return Fail(line, absl::StrFormat("%s \"%s\" is not a duration", name, given->get()),
                "write a number and ms, s, m or h, such as \"100ms\"");
  }
  if (value < duration.min || value > duration.max) {
    return Fail(line, absl::StrFormat("%s \"%s\" is out of range", name, given->get()),
                absl::StrFormat("choose %s to %s", absl::FormatDuration(duration.min),
                                absl::FormatDuration(duration.max)));
  }
  *duration.to = value;
}

}  // namespace raftkv
