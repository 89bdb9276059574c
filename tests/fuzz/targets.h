#ifndef RAFTKV_TESTS_FUZZ_TARGETS_H_
#define RAFTKV_TESTS_FUZZ_TARGETS_H_

// The code that reads bytes from peers, clients, the disk or people. Each target gives arbitrary
// bytes to one of these readers. A target ends the process if the reader does, or if the reader
// accepts wrong input.
//
// `make fuzz` runs each target with libFuzzer (fuzzer.cc). corpus_test.cc replays the committed
// inputs in `make test`.

#include <cstdint>
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
// examples_port.cc: those of the targets in port.cc and starts.cc; of another target, none.
std::vector<std::string> PortExamples(std::string_view target);

// The form of an input of the target "log": the rows of a log's database. A row is the length of
// the key, the length of the value in two bytes, the key, the value. The target corrects the
// checksum of each value, so that the reader does not reject every changed value by it.
std::string EncodeRow(std::string_view key, std::string_view value);

// The form of an input of the targets "snapshot-chunks" and "handshake": messages, each after its
// length in two bytes.
std::string EncodePart(std::string_view part);

// raft_core.cc: sequences of messages and other inputs for one Raft core.
void RunRaftCore(std::string_view input);

// port.cc: what one client sends to a port. The first byte has the bits below; the second one is
// the size of the pieces in which the rest arrives, in units of 16 bytes.
void RunHttp2Connection(std::string_view input);
void RunHttp1Connection(std::string_view input);
enum ConnectionBits : uint8_t {
  kPeerPort = 1,    // the port is that for peers
  kPagesOnly = 2,   // HTTP/1: the port is that for pages
  kIntroduced = 4,  // HTTP/2: the first bytes and the settings of a client come first
  kReadsLate = 8,   // the client reads nothing before it has sent everything
  kSlow = 16,       // a second passes after each piece
  kPortStops = 32,  // the port says goodbye before the last piece
  kLeaves = 64,     // the client goes while the last piece is served
};

// port.cc: the body of a request to the JSON gateway. The first byte chooses the method.
void RunJson(std::string_view input);

// starts.cc: introductions of peers, and files that are read when a member starts.
void RunHandshake(std::string_view input);
void RunDataDirFiles(std::string_view input);

}  // namespace raftkv::fuzz

#endif  // RAFTKV_TESTS_FUZZ_TARGETS_H_
