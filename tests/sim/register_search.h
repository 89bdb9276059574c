#ifndef RAFTKV_TESTS_SIM_REGISTER_SEARCH_H_
#define RAFTKV_TESTS_SIM_REGISTER_SEARCH_H_

// An independent check of the answers about one key. It uses no revision, no log and no model: it
// searches for an order of the operations that explains the answers (Wing and Gong, "Testing and
// Verifying Concurrent Objects"; with Lowe's memory of the states that were visited). In that
// order, each operation takes effect between its start and its answer, and each read returns the
// value of the last put, or nothing after a deletion.
//
// The operations are cut into small windows that overlap, each searched by itself with any value at
// its start. So a correct history is never rejected. An operation that is only partly in a window
// may take effect in the window or not; a write without an answer may take effect at any later
// time.

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "tests/sim/marks.h"
#include "tests/sim/verdict.h"

namespace raftkv::sim {

class RegisterSearch {
 public:
  RegisterSearch(Marks* marks, Verdict* verdict) : marks_(marks), verdict_(verdict) {}

  // No two puts write the same value. 0 is no value: that of a deletion, or of a read that finds
  // nothing.
  void StartWrite(uint64_t operation, uint64_t value) { Start(operation, /*read=*/false, value); }
  void StartRead(uint64_t operation) { Start(operation, /*read=*/true, 0); }
  void EndWrite(uint64_t operation) { End(operation); }
  void EndRead(uint64_t operation, uint64_t value);
  // It certainly has no effect: a write that was not proposed, or a read that failed. An operation
  // that is neither ended nor dropped has an unknown fate.
  void Drop(uint64_t operation);

  // Searches all windows. Fails with "search" if there is no order, or if the search took too long.
  void Check();

 private:
  static constexpr uint64_t kNever = UINT64_MAX;

  struct Operation {
    uint64_t number = 0;
    bool read = false;
    bool dropped = false;
    uint64_t value = 0;
    uint64_t start = 0;  // counts starts and ends
    uint64_t end = kNever;
  };
  class Window;

  void Start(uint64_t operation, bool read, uint64_t value);
  void End(uint64_t operation) { operations_[places_.at(operation)].end = ++time_; }
  void CheckWindow(size_t first, size_t size);

  Marks* const marks_;
  Verdict* const verdict_;
  std::vector<Operation> operations_;  // in the order of their starts
  std::map<uint64_t, size_t> places_;  // by number
  uint64_t time_ = 0;
};

}  // namespace raftkv::sim

#endif  // RAFTKV_TESTS_SIM_REGISTER_SEARCH_H_
