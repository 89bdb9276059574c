#ifndef RAFTKV_TESTS_FUZZ_TARGETS_H_
#define RAFTKV_TESTS_FUZZ_TARGETS_H_

// What reads bytes that others wrote: from peers, from clients, from the disk, from people. Each
// target gives any bytes to one of these readers. A target ends the process if the reader does, or
// if the reader accepts what it should not.
//
// `make fuzz` runs each target with libFuzzer (fuzzer.cc). corpus_test.cc replays the committed
// inputs in `make test`.

#include <string>
#include <string_view>
#include <vector>

#include "absl/types/span.h"

namespace raftkv::fuzz {

struct Target {
  std::string_view name;  // of the target and of its directory below tests/fuzz/corpus
  void (*run)(std::string_view input);
};

absl::Span<const Target> Targets();
// Null: there is no such target.
const Target* FindTarget(std::string_view name);

// Real encodings, from which libFuzzer starts (examples.cc; not linked into the fuzzer).
std::vector<std::string> Examples(std::string_view target);

// The form of an input of the target "log": the rows of a log's database. A row is the length of
// the key, the length of the value in two bytes, the key, the value. The target corrects the
// checksum of each value, so that the reader does not reject every changed value by it.
std::string EncodeRow(std::string_view key, std::string_view value);

// The form of an input of the target "snapshot-chunks": the requests of a stream, each after its
// length in two bytes.
std::string EncodeRequest(std::string_view request);

// raft_core.cc: sequences of messages and other inputs for one Raft core.
void RunRaftCore(std::string_view input);

}  // namespace raftkv::fuzz

#endif  // RAFTKV_TESTS_FUZZ_TARGETS_H_
