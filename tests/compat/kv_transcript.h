#ifndef RAFTKV_TESTS_COMPAT_KV_TRANSCRIPT_H_
#define RAFTKV_TESTS_COMPAT_KV_TRANSCRIPT_H_

// The requests of a comparison with etcd, as a list that can be written to a file, repeated on two
// empty stores, and shortened to the requests that a difference needs.
//
// If requests are left out, the store has a lower revision when the later ones are repeated. So
// each request is stored with the store's revision at its time, and the revisions in it are shifted
// by the difference when it is repeated: "three revisions ago" stays three revisions ago.

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "tests/compat/kv_exchange.h"

namespace raftkv::e2e {

struct Step {
  std::optional<Request> request;  // none: all of raftkv's members flush their memory to files
  int member = 0;                  // the member of raftkv that was asked
  int64_t revision = 1;            // of the store before the request
};
using Transcript = std::vector<Step>;

// Returns `request` with all positive revisions changed by `by`, but not below 1.
Request Shifted(Request request, int64_t by);

// Prints one line for each step: "flush", or "MEMBER REVISION TYPE FIELDS".
std::string Print(const Transcript& transcript);
// Parses what Print() printed. Fails the test if a line is invalid.
Transcript Parse(const std::string& text);

// Repeats a transcript on two new stores. Returns the first step whose answers differ, if there is
// one.
using FirstDifference = std::function<std::optional<size_t>(const Transcript&)>;

// Returns a part of `transcript` whose last step still differs, and from which no more steps can be
// left out (unless `first_difference` stopped early and returned none). Empty if the whole
// transcript does not differ.
Transcript Shortened(Transcript transcript, const FirstDifference& first_difference);

}  // namespace raftkv::e2e

#endif  // RAFTKV_TESTS_COMPAT_KV_TRANSCRIPT_H_
