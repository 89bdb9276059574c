#ifndef RAFTKV_TESTS_FUZZ_INPUT_H_
#define RAFTKV_TESTS_FUZZ_INPUT_H_

// Functions that several targets use, to take an input apart and to write files.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace raftkv::fuzz {

// Takes the first byte of the input; 0 at its end.
inline uint8_t TakeByte(std::string_view* input) {
  if (input->empty()) return 0;
  const auto byte = static_cast<uint8_t>(input->front());
  input->remove_prefix(1);
  return byte;
}

// Takes up to `bytes` bytes.
inline std::string_view TakeBytes(std::string_view* input, size_t bytes) {
  const std::string_view taken = input->substr(0, bytes);
  input->remove_prefix(taken.size());
  return taken;
}

// Takes the next of the parts of a sequence: two bytes with its length, then the part
// (EncodePart in targets.h).
inline std::string_view TakePart(std::string_view* input) {
  size_t bytes = TakeByte(input);
  bytes = bytes << 8 | TakeByte(input);
  return TakeBytes(input, bytes);
}

// A new directory: in memory, if there is one with the space that a snapshot needs. The caller
// removes it. After a failed check it stays, with what the product has read or written.
std::string ScratchDirectory();

}  // namespace raftkv::fuzz

#endif  // RAFTKV_TESTS_FUZZ_INPUT_H_
