#ifndef RAFTKV_STORAGE_BASE_SEEDED_HASH_H_
#define RAFTKV_STORAGE_BASE_SEEDED_HASH_H_

// A hash for hash tables whose keys are chosen by clients: SipHash-2-4 with a key that is chosen at
// random once per process, so that nobody can choose keys that collide. Values differ from process
// to process: do not store or send them, and let no order depend on them.
//
// Hash64 (checksum.h) is for records and digests, which must be equal everywhere.

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace raftkv {

// Thread-safe. Some 20 ns for a short key.
uint64_t SeededHash(std::string_view data);

// For a hash map whose keys are ids.
struct SeededIdHash {
  size_t operator()(int64_t id) const {
    return SeededHash({reinterpret_cast<const char*>(&id), sizeof(id)});
  }
};

}  // namespace raftkv

#endif  // RAFTKV_STORAGE_BASE_SEEDED_HASH_H_
