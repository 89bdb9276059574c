// The samples of a page of metrics in Prometheus' text format.
#ifndef RAFTKV_CLIENT_CLI_SAMPLES_H_
#define RAFTKV_CLIENT_CLI_SAMPLES_H_

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace raftkv::client {

class Samples {
 public:
  // Which samples of a family count, by their labels: {method="Put",code="OK"}.
  using Filter = std::function<bool(std::string_view labels)>;

  // Lines that are not samples are skipped.
  explicit Samples(std::string_view page);

  // The sum of the samples with this name that pass the filter. nullopt: the page has no such name.
  std::optional<double> Sum(std::string_view name, const Filter& filter) const;
  std::optional<double> Value(std::string_view name) const;

  // The quantile `fraction` of a histogram's observations since `before`: the upper limit of the
  // bucket that contains it. nullopt: nothing was observed. Infinity: above the last bucket.
  std::optional<double> QuantileSince(const Samples& before, std::string_view name,
                                      const Filter& filter, double fraction) const;

 private:
  // Counts by upper limit, as Prometheus': each one includes those before.
  std::map<double, double> Buckets(std::string_view name, const Filter& filter) const;

  std::map<std::string, double, std::less<>> values_;  // by name and labels: NAME{LABELS}
};

}  // namespace raftkv::client

#endif  // RAFTKV_CLIENT_CLI_SAMPLES_H_
