#ifndef RAFTKV_TESTS_COMPAT_KV_TRANSCRIPT_H_
#define RAFTKV_TESTS_COMPAT_KV_TRANSCRIPT_H_

// What a differential run asked, as a list that can be written down, asked again of two empty
// stores, and shortened to what a difference needs.
//
// A list without some of its requests makes fewer revisions. So each request comes with the
// store's revision when it was asked first, and the revisions in it move with that of the store
// when it is asked again: "three revisions ago" stays what it was.

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "tests/compat/kv_exchange.h"

namespace raftkv::e2e {

struct Step {
  std::optional<Request> request;  // none: all our members write what they hold to files
  int member = 0;                  // ours, that was asked
  int64_t revision = 1;            // of the store before
};
using Transcript = std::vector<Step>;

// All positive revisions in it moved by `by`, but not below 1.
Request Shifted(Request request, int64_t by);

// One line a step: "flush", or "MEMBER REVISION TYPE FIELDS".
std::string Print(const Transcript& transcript);
// Fails the test if a line is none of these.
Transcript Parse(const std::string& text);

// The first step at which two new stores answer differently, if there is one.
using FirstDifference = std::function<std::optional<size_t>(const Transcript&)>;

// A part of `transcript` that still differs, at its last step, and of which nothing more can be
// left out, as far as `first_difference` was willing to say; empty if the whole does not differ.
Transcript Shortened(Transcript transcript, const FirstDifference& first_difference);

}  // namespace raftkv::e2e

#endif  // RAFTKV_TESTS_COMPAT_KV_TRANSCRIPT_H_
