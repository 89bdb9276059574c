#include "client/cli/samples.h"

#include <limits>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace raftkv::client {
namespace {

bool All(std::string_view) { return true; }

// The upper limit of a bucket: le="0.001" or le="+Inf".
std::optional<double> LimitOf(std::string_view labels) {
  constexpr std::string_view kName = "le=\"";
  const size_t begin = labels.find(kName);
  if (begin == labels.npos) return std::nullopt;
  const size_t value = begin + kName.size();
  const std::string_view text = labels.substr(value, labels.find('"', value) - value);
  if (text == "+Inf") return std::numeric_limits<double>::infinity();
  double limit = 0;
  if (!absl::SimpleAtod(absl::string_view(text.data(), text.size()), &limit)) return std::nullopt;
  return limit;
}

}  // namespace

Samples::Samples(std::string_view page) {
  for (absl::string_view line : absl::StrSplit(absl::string_view(page.data(), page.size()), '\n')) {
    if (line.empty() || line[0] == '#') continue;
    // A value may be followed by a time. Labels may contain spaces.
    const size_t labels_end = line.rfind('}');
    const size_t name_end = line.find(' ', labels_end == line.npos ? 0 : labels_end);
    if (name_end == line.npos) continue;
    const std::vector<absl::string_view> numbers =
        absl::StrSplit(line.substr(name_end), ' ', absl::SkipEmpty());
    double value = 0;
    if (numbers.empty() || !absl::SimpleAtod(numbers[0], &value)) continue;
    values_[std::string(line.substr(0, name_end))] = value;
  }
}

std::optional<double> Samples::Sum(std::string_view name, const Filter& filter) const {
  std::optional<double> sum;
  for (auto it = values_.lower_bound(name); it != values_.end(); ++it) {
    std::string_view labels = it->first;
    if (!labels.starts_with(name)) break;
    labels.remove_prefix(name.size());
    if (!labels.empty() && labels[0] != '{') continue;  // a longer name
    sum = sum.value_or(0) + (filter(labels) ? it->second : 0);
  }
  return sum;
}

std::optional<double> Samples::Value(std::string_view name) const { return Sum(name, All); }

std::map<double, double> Samples::Buckets(std::string_view name, const Filter& filter) const {
  std::map<double, double> buckets;
  const std::string prefix = absl::StrCat(absl::string_view(name.data(), name.size()), "_bucket{");
  for (auto it = values_.lower_bound(prefix); it != values_.end(); ++it) {
    const std::string_view labels = it->first;
    if (!labels.starts_with(prefix)) break;
    const std::optional<double> limit = LimitOf(labels);
    if (limit && filter(labels)) buckets[*limit] += it->second;
  }
  return buckets;
}

std::optional<double> Samples::QuantileSince(const Samples& before, std::string_view name,
                                             const Filter& filter, double fraction) const {
  std::map<double, double> counts = Buckets(name, filter);
  for (const auto& [limit, count] : before.Buckets(name, filter)) counts[limit] -= count;
  if (counts.empty()) return std::nullopt;
  const double all = counts.rbegin()->second;
  if (all <= 0) return std::nullopt;
  for (const auto& [limit, count] : counts) {
    if (count >= fraction * all) return limit;
  }
  return counts.rbegin()->first;
}

}  // namespace raftkv::client
