#ifndef RAFTKV_TESTS_COMPAT_DIFFERENCES_H_
#define RAFTKV_TESTS_COMPAT_DIFFERENCES_H_

// The differences from etcd that are allowed, of tests/compat/differences.toml, and how often each
// was met.

#include <cstdint>
#include <regex>
#include <string>
#include <vector>

namespace raftkv::e2e {

class Differences {
 public:
  // Fails the test if the text, TOML, is not as the head of differences.toml says.
  explicit Differences(const std::string& text);

  // Whether answers that are not equal may be so, all three as text.
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
