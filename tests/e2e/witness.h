#ifndef RAFTKV_TESTS_E2E_WITNESS_H_
#define RAFTKV_TESTS_E2E_WITNESS_H_

// Was a history of concurrent calls linearizable? Every answer of the etcd API carries the store's
// revision, and the revision is a witness: it says where in the one true order the call claims to
// have run. So nothing has to be searched; the claim is checked in O(n log n), for a history of any
// length:
//
//   1. calls that change something are ordered by revision, one call each, and no revision is left
//      unexplained;
//   2. real time is respected: a call that began after another had returned is not before it in
//      that order (strictly after, if it changes something);
//   3. every answer is what the state at its revision makes it: what a read found, down to
//      create_revision and version; what a delete hit; why a compare-and-swap succeeded or failed;
//      all parts of a transaction at once;
//   4. acknowledged changes are there, whole; those of unknown fate may be, at most once and whole;
//      refused ones are not;
//   5. the past can be read until a compaction may have taken it, and not after one has.
//
// What revisions hold that nobody was told about (changes of unknown fate) is read from the store
// beside the clients: the evidence. Keys hold nothing when the history starts; each put writes a
// value of its own. Times are nanoseconds of one monotonic clock.

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
    kTxn,      // unconditionally, all of `parts`: first gets, then puts and deletes, a key each
    kCompact,  // up to at_revision
  };
  enum class Outcome {
    kOk,
    kUnknown,
    kRefused,    // certainly without effect
    kCompacted,  // refused: what it asks for was compacted
    kFuture,     // refused: at_revision was not there yet
  };

  Kind kind = Kind::kGet;
  int client = 0;
  std::string key = "";
  std::string value = "";   // put: what it writes; get: what it found
  int64_t expected = 0;     // cas: the mod_revision to find; 0: no such key
  bool removes = false;     // cas: deletes instead of putting
  int64_t at_revision = 0;  // get: of the past; 0: the newest. compact: how far
  std::vector<Operation> parts = {};
  std::string prefix =
      "";  // of a part: asked for in one range, with its neighbours that have it too
  int64_t invoked = 0;
  int64_t returned = 0;  // meaningless while the outcome is unknown
  Outcome outcome = Outcome::kUnknown;

  // Of the answer, when the outcome is kOk.
  int64_t revision = 0;
  bool succeeded = false;        // cas
  bool found = false;            // get, failed cas: there is such a key; other deletes: there was
  std::string found_value = "";  // of a failed cas
  int64_t create_revision = 0;   // of the key found
  int64_t mod_revision = 0;
  int64_t version = 0;

  // This call put a revision of its own into the order, or may have.
  bool Changes() const;
};

// What the store says it did to one key at one revision.
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

// One line for each violation found; empty: the history is linearizable.
std::vector<std::string> FindViolations(const History& history);

}  // namespace raftkv::e2e

#endif  // RAFTKV_TESTS_E2E_WITNESS_H_
