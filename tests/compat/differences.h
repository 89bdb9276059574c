#ifndef RAFTKV_TESTS_COMPAT_DIFFERENCES_H_
#define RAFTKV_TESTS_COMPAT_DIFFERENCES_H_

// The allowed differences from etcd (tests/compat/differences.toml), and how often each one
// occurred.

#include <cstdint>
#include <regex>
#include <string>
#include <vector>

namespace raftkv::e2e {

class Differences {
 public:
  // Parses TOML in the format that the head of differences.toml describes. Fails the test if it is
  // invalid.
  explicit Differences(const std::string& text);

  // Whether the two answers to `request` may differ in this way. All three are text.
  bool Allow(const std::string& request, const std::string& etcd, const std::string& raftkv);

  struct Entry {
    std::string id;
    std::string because;
    std::regex request, etcd, raftkv;
    int64_t met = 0;
  };
  const std::vector<Entry>& entries() const { return entries_; }

 private:
  std::vector<Entry> entries_;
};

}  // namespace raftkv::e2e

#endif  // RAFTKV_TESTS_COMPAT_DIFFERENCES_H_
