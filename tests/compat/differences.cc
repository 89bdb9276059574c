#include "tests/compat/differences.h"

#include <gtest/gtest.h>
#include <toml++/toml.h>

#include <string>

#include "absl/strings/match.h"

namespace raftkv::e2e {

void Differences::Read(const std::string& text, const std::string& etcd_version) {
  const toml::parse_result parsed = toml::parse(text);
  if (!parsed) {
    ADD_FAILURE() << "line " << parsed.error().source().begin.line << ": "
                  << parsed.error().description();
    return;
  }
  const toml::array* entries = parsed.table()["difference"].as_array();
  if (entries == nullptr) return;  // no difference is allowed
  for (const toml::node& node : *entries) {
    const toml::table& table = *node.as_table();
    const auto value = [&table](const char* key) {
      const std::string text = table[key].value_or(std::string());
      EXPECT_NE(text, "") << key << " is missing at line " << table.source().begin.line;
      return text;
    };
    const auto versions = table["etcd_version"].value<std::string>();
    if (versions && !absl::StartsWith(etcd_version, *versions)) continue;
    Entry entry{value("id"), value("because"), std::regex(value("request")), {}, {}, {}};
    if (const auto ignore = table["ignore"].value<std::string>()) {
      entry.ignore = std::regex(*ignore);
    } else {
      entry.etcd = std::regex(value("etcd"));
      entry.raftkv = std::regex(value("raftkv"));
    }
    entries_.push_back(std::move(entry));
  }
}

bool Differences::Allow(const std::string& request, const std::string& etcd,
                        const std::string& raftkv) {
  for (Entry& entry : entries_) {
    if (!std::regex_search(request, entry.request)) continue;
    const bool allowed =
        entry.ignore.has_value()
            ? std::regex_replace(etcd, *entry.ignore, "") ==
                  std::regex_replace(raftkv, *entry.ignore, "")
            : std::regex_match(etcd, entry.etcd) && std::regex_match(raftkv, entry.raftkv);
    if (allowed) {
      ++entry.met;
      return true;
    }
  }
  return false;
}

}  // namespace raftkv::e2e
