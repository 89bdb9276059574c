#ifndef RAFTKV_CONFIG_SUGGEST_H_
#define RAFTKV_CONFIG_SUGGEST_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace raftkv {

// The remedy for an unknown name in the config file: the name that was probably meant, or else all
// known names.
std::string Suggest(absl::string_view given, const std::vector<std::string>& known);

}  // namespace raftkv

#endif  // RAFTKV_CONFIG_SUGGEST_H_
