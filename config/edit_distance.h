#ifndef RAFTKV_CONFIG_EDIT_DISTANCE_H_
#define RAFTKV_CONFIG_EDIT_DISTANCE_H_

// For "did you mean": the command line and the reader of the config file look for the known name
// that is nearest to an unknown one.

#include <algorithm>
#include <cstddef>
#include <numeric>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"

namespace raftkv {

// How many letters to add, remove or change to turn `a` into `b`.
inline size_t EditDistance(absl::string_view a, absl::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 0; i < a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i + 1);
    for (size_t j = 0; j < b.size(); ++j) {
      const size_t changed = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({changed, row[j] + 1, diagonal + 1});
    }
  }
  return row.back();
}

}  // namespace raftkv

#endif  // RAFTKV_CONFIG_EDIT_DISTANCE_H_
