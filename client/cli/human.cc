#include "client/cli/human.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace raftkv::client {
namespace {

// Formats `value` / 10^digits, without trailing zeros.
std::string Decimal(int64_t value, int digits) {
  int64_t unit = 1;
  for (int i = 0; i < digits; ++i) unit *= 10;
  std::string fraction = absl::StrFormat("%0*d", digits, value % unit);
  while (!fraction.empty() && fraction.back() == '0') fraction.pop_back();
  return absl::StrCat(value / unit, fraction.empty() ? "" : ".", fraction);
}

}  // namespace

std::string HumanBytes(int64_t bytes) {
  static constexpr const char* kUnits[] = {"B", "kB", "MB", "GB", "TB", "PB", "EB"};
  if (bytes < 10) return absl::StrCat(bytes, " B");
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 1000) {
    value /= 1000;
    ++unit;
  }
  value = std::floor(value * 10 + 0.5) / 10;
  return value < 10 ? absl::StrFormat("%.1f %s", value, kUnits[unit])
                    : absl::StrFormat("%.0f %s", value, kUnits[unit]);
}

std::string HumanDuration(absl::Duration value) {
  const int64_t nanoseconds = absl::ToInt64Nanoseconds(value);
  if (nanoseconds < 0) return absl::StrCat("-", HumanDuration(-value));
  if (nanoseconds == 0) return "0s";
  if (nanoseconds < 1000) return absl::StrCat(nanoseconds, "ns");
  if (nanoseconds < 1000 * 1000) return absl::StrCat(Decimal(nanoseconds, 3), "µs");
  if (nanoseconds < 1000 * 1000 * 1000) return absl::StrCat(Decimal(nanoseconds, 6), "ms");
  constexpr int64_t kMinute = 60 * int64_t{1000000000};
  const std::string seconds = absl::StrCat(Decimal(nanoseconds % kMinute, 9), "s");
  const int64_t minutes = nanoseconds / kMinute;
  if (minutes == 0) return seconds;
  if (minutes < 60) return absl::StrCat(minutes, "m", seconds);
  return absl::StrCat(minutes / 60, "h", minutes % 60, "m", seconds);
}

std::string HexBytes(absl::string_view bytes) {
  std::string hex;
  for (unsigned char byte : bytes) absl::StrAppendFormat(&hex, "\\x%02x", byte);
  return hex;
}

}  // namespace raftkv::client
