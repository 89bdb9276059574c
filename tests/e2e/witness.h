#ifndef RAFTKV_TESTS_E2E_WITNESS_H_
#define RAFTKV_TESTS_E2E_WITNESS_H_

// Was a history of concurrent calls linearizable? Every answer of the etcd API carries the store's
// revision, and the revision is a witness: it says where in the one true order the call claims to
// have run. So nothing has to be searched; the claim is checked in O(n log n), for a history of any
// length:
//
//   1. writes are ordered by revision, one write each, and no revision is left unexplained;
//   2. real time is respected: a call that began after another had returned is not before it in
//   that
//      order (strictly after, if it writes);
//   3. every read, and every delete that found nothing, equals the state at its revision, down to
//      create_revision and version;
//   4. acknowledged writes are there; writes of unknown fate may be, at most once; refused ones are
//   not.
//
// What revisions hold that nobody was told about (writes of unknown fate) is read back from the
// store afterwards: the evidence. Keys hold nothing when the history starts; each put writes a
// value of its own. Times are nanoseconds of one monotonic clock.

#include <cstdint>
#include <string>
#include <vector>

namespace raftkv::e2e {

struct Operation {
  enum class Kind { kPut, kDelete, kGet };
  enum class Outcome { kOk, kUnknown, kRefused };

  Kind kind = Kind::kGet;
  int client = 0;
  std::string key;
  std::string value;  // put: what it writes; get: what it found
  int64_t invoked = 0;
  int64_t returned = 0;  // meaningless while the outcome is unknown
  Outcome outcome = Outcome::kUnknown;

  // Of the answer, when the outcome is kOk.
  int64_t revision = 0;
  bool found = false;           // get: there is such a key; delete: there was
  int64_t create_revision = 0;  // get: of the key
  int64_t mod_revision = 0;
  int64_t version = 0;

  // This call put a revision of its own into the order.
  bool Changes() const {
    return kind == Kind::kPut || (kind == Kind::kDelete && (found || outcome != Outcome::kOk));
  }
};

// What the store says it did at one revision.
struct Change {
  int64_t revision = 0;
  bool is_delete = false;
  std::string key;
  std::string value;
};

struct History {
  int64_t start_revision = 1;  // of the store before the first operation
  std::vector<Operation> operations;
  std::vector<Change> evidence;
};

// One line for each violation found; empty: the history is linearizable.
std::vector<std::string> FindViolations(const History& history);

}  // namespace raftkv::e2e

#endif  // RAFTKV_TESTS_E2E_WITNESS_H_
