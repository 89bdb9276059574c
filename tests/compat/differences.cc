#include "tests/compat/differences.h"

#include <gtest/gtest.h>
#include <toml++/toml.h>

namespace raftkv::e2e {

Differences::Differences(const std::string& text) {
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
    entries_.push_back({value("id"), value("because"), std::regex(value("request")),
                        std::regex(value("etcd")), std::regex(value("raftkv"))});
  }
}

bool Differences::Allow(const std::string& request, const std::string& etcd,
                        const std::string& raftkv) {
  for (Entry& entry : entries_) {
    if (std::regex_search(request, entry.request) && std::regex_match(etcd, entry.etcd) &&
        std::regex_match(raftkv, entry.raftkv)) {
      ++entry.met;
      return true;
    }
  }
  return false;
}

}  // namespace raftkv::e2e
