#ifndef RAFTKV_TESTS_SIM_VERDICT_H_
#define RAFTKV_TESTS_SIM_VERDICT_H_

// The first broken invariant of a run. A checker that reports one here continues; World ends the
// run before the next event. The names are those of docs/testing.md ("What the simulator checks"),
// "core" and "liveness".

#include <string>
#include <utility>
#include <vector>

namespace raftkv::sim {

class Verdict {
 public:
  // Violations of the invariant `ignored` are not reported, to see what other checkers find.
  explicit Verdict(std::string ignored = "") : ignored_(std::move(ignored)) {}
  void Fail(std::string invariant, std::string what) {
    if (failed() || invariant == ignored_) return;
    invariant_ = std::move(invariant);
    what_ = std::move(what);
  }
  // The sentences in `broken` are about member `number`, counted from 0.
  void FailEach(const std::string& invariant, int number, const std::vector<std::string>& broken) {
    for (const std::string& what : broken) {
      Fail(invariant, "n" + std::to_string(number + 1) + ": " + what);
    }
  }
  bool failed() const { return !invariant_.empty(); }
  const std::string& invariant() const { return invariant_; }
  const std::string& what() const { return what_; }

 private:
  const std::string ignored_;
  std::string invariant_;
  std::string what_;
};

}  // namespace raftkv::sim

#endif  // RAFTKV_TESTS_SIM_VERDICT_H_
