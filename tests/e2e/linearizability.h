#ifndef RAFTKV_TESTS_E2E_LINEARIZABILITY_H_
#define RAFTKV_TESTS_E2E_LINEARIZABILITY_H_

// Checks whether a history of concurrent calls was linearizable. Every answer of the etcd API has
// the store's revision, which is the call's position in the order of all changes. So the checker
// does not search for an order; it verifies this one, in O(n log n):
//
//   1. Each revision belongs to exactly one call that changes keys. No revision is missing.
//   2. The order respects real time: a call that began after another had returned is not before it
//      (and is after it, if it changes keys).
//   3. Every answer agrees with the state at its revision: what a read found, including
//      create_revision and version; whether a delete found its key; whether a compare-and-swap
//      succeeded; and all parts of a transaction.
//   4. Acknowledged changes are in the store completely. Changes of unknown outcome are there
//      completely and once, or not at all. Changes that failed for certain are not there.
//   5. Past revisions can be read until a compaction may have removed them, and not after one has.
//
// A change whose call got no answer appears only in the store. So the test reads the changes of all
// revisions from the store; they are the evidence. The store is empty when the history begins, and
// each put writes a unique value. Times are nanoseconds of one monotonic clock.

#include <cstdint>
#include <string>
#include <vector>

namespace raftkv::e2e {

struct Operation {
  enum class Kind {
    kPut,
    kDelete,
    kGet,
    kCas,      // if mod_revision is `expected`, put or delete the key, otherwise get it
    kTxn,      // all of `parts`, without a condition: gets, then puts and deletes, one key each
    kCompact,  // removes the history before at_revision
  };
  enum class Outcome {
    kOk,
    kUnknown,
    kNotApplied,  // failed for certain: no effect
    kCompacted,   // failed: at_revision was compacted
    kFuture,      // failed: at_revision did not exist yet
  };

  Kind kind = Kind::kGet;
  int client = 0;
  std::string key = "";
  std::string value = "";   // put: what it writes; get: what it found
  int64_t expected = 0;     // cas: the expected mod_revision; 0: the key does not exist
  bool removes = false;     // cas: deletes the key instead of putting it
  int64_t at_revision = 0;  // get: the revision to read, 0: the newest. compact: the revision
  std::vector<Operation> parts = {};
  // Of a part: adjacent parts of the same kind with the same prefix are sent as one range request.
  std::string prefix = "";
  int64_t invoked = 0;
  int64_t returned = 0;  // not valid if the outcome is kUnknown
  Outcome outcome = Outcome::kUnknown;

  // From the answer; valid if the outcome is kOk.
  int64_t revision = 0;
  bool succeeded = false;        // cas
  bool found = false;            // get, failed cas: the key exists. Deletes: it existed before
  std::string found_value = "";  // failed cas: the value of the key
  int64_t create_revision = 0;   // of the key found
  int64_t mod_revision = 0;
  int64_t version = 0;

  // Whether this call created a revision, or may have.
  bool Changes() const;
};

// A change of one key at one revision, as read from the store.
struct Change {
  int64_t revision = 0;
  bool is_delete = false;
  std::string key = "";
  std::string value;

  friend bool operator==(const Change&, const Change&) = default;
};

struct History {
  int64_t start_revision = 1;  // of the store before the first operation
  std::vector<Operation> operations;
  std::vector<Change> evidence;
};

// Returns one line for each violation. If there is none, the history is linearizable.
std::vector<std::string> FindViolations(const History& history);

}  // namespace raftkv::e2e

#endif  // RAFTKV_TESTS_E2E_LINEARIZABILITY_H_
