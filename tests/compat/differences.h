#ifndef RAFTKV_TESTS_COMPAT_DIFFERENCES_H_
#define RAFTKV_TESTS_COMPAT_DIFFERENCES_H_

// The allowed differences from etcd (tests/compat/differences.toml), and how often each one
// occurred.

#include <cstdint>
#include <optional>
#include <regex>
#include <string>
#include <vector>

namespace raftkv::e2e {

class Differences {
 public:
  // Parses TOML in the format that the head of differences.toml describes. Fails the test if it is
  // invalid. `etcd_version`: of the etcd that is compared with, such as "3.4.23".
  void Read(const std::string& text, const std::string& etcd_version);

  // Whether the two answers to `request` may differ in this way. All three are text.
  bool Allow(const std::string& request, const std::string& etcd, const std::string& raftkv);

  struct Entry {
    std::string id;
    std::string because;
    std::regex request;
    std::regex etcd, raftkv;           // the answers; not used if there is `ignore`
    std::optional<std::regex> ignore;  // what is removed from both answers before they are compared
    int64_t met = 0;
  };
  const std::vector<Entry>& entries() const { return entries_; }

 private:
  std::vector<Entry> entries_;
};

}  // namespace raftkv::e2e

#endif  // RAFTKV_TESTS_COMPAT_DIFFERENCES_H_
