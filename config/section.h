#ifndef RAFTKV_CONFIG_SECTION_H_
#define RAFTKV_CONFIG_SECTION_H_

// Reads one section of the configuration's file: a TOML table whose keys are known.

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "config/toml.h"

namespace raftkv {

using Line = toml::source_index;

// The type and bounds of a key's value, and where the value is stored. A section is a list of Keys:
// the only place that states a key's name, type and bounds. All error messages are made from it.
struct Text {
  std::string* to;
};
struct Url {
  std::string* to;
  int example_port;  // in errors
};
struct Urls {
  std::vector<std::string>* to;  // an array
  int example_port;
};
struct Choice {
  std::string* to;
  std::vector<std::string> values;
};
struct Number {
  int64_t* to;
  int64_t min, max;
};
struct Duration {
  absl::Duration* to;
  absl::Duration min, max;
};
struct Key {
  std::string name;
  std::variant<Text, Url, Urls, Choice, Number, Duration> value;
  bool required = false;
};

// Of the `known` names, which are in lower case, the one that was probably meant by the unknown
// `name`. Null: it is like none of them.
const std::string* Nearest(absl::string_view name, const std::vector<std::string>& known);

class SectionReader {
 public:
  // `path`: of the file, for errors. `sections_with` names the sections that have a key of this
  // name, for example "[cluster] or [[member]]". Empty: none has it.
  SectionReader(std::string path, std::function<std::string(const std::string& key)> sections_with)
      : path_(std::move(path)), sections_with_(std::move(sections_with)) {}

  // Stores the values of the keys of `table`, which begins in line `begin`. Returns the line on
  // which each key was set.
  std::map<std::string, Line> Read(const std::string& title, const toml::table& table, Line begin,
                                   const std::vector<Key>& keys);

  // If the file has several mistakes, the first one is reported.
  void Fail(Line line, absl::string_view what, absl::string_view remedy);
  const absl::Status& status() const { return status_; }

 private:
  void ReadValue(const std::string& name, const toml::node& node, Line line, const Text& text);
  void ReadValue(const std::string& name, const toml::node& node, Line line, const Url& url);
  void ReadValue(const std::string& name, const toml::node& node, Line line, const Urls& urls);
  void ReadValue(const std::string& name, const toml::node& node, Line line, const Choice& choice);
  void ReadValue(const std::string& name, const toml::node& node, Line line, const Number& number);
  void ReadValue(const std::string& name, const toml::node& node, Line line,
                 const Duration& duration);

  // What to do about a key that the section does not have.
  std::string RemedyOfKey(const std::string& name, const std::vector<Key>& keys) const;

  const std::string path_;
  const std::function<std::string(const std::string&)> sections_with_;
  absl::Status status_;
  Line fail_line_ = 0;
};

}  // namespace raftkv

#endif  // RAFTKV_CONFIG_SECTION_H_
