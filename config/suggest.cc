#include "config/suggest.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

namespace raftkv {

namespace {

// Edit distance of `a` and `b`: small for a typing mistake.
size_t Distance(absl::string_view a, absl::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i);
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = std::exchange(row[j], std::min({row[j] + 1, row[j - 1] + 1, replaced}));
    }
  }
  return row[b.size()];
}

}  // namespace

std::string Suggest(absl::string_view given, const std::vector<std::string>& known) {
  const auto cost = [&](const std::string& name) {
    return absl::StartsWith(name, given) || absl::StartsWith(given, name) ? 1
                                                                          : Distance(given, name);
  };
  const auto nearest = std::min_element(
      known.begin(), known.end(),
      [&](const std::string& a, const std::string& b) { return cost(a) < cost(b); });
  if (!given.empty() && cost(*nearest) <= std::max<size_t>(2, given.size() / 4)) {
    return absl::StrFormat("did you mean \"%s\"?", *nearest);
  }
  return absl::StrCat("the keys here are ", absl::StrJoin(known, ", "));
}

}  // namespace raftkv
