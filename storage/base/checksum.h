#ifndef RAFTKV_STORAGE_BASE_CHECKSUM_H_
#define RAFTKV_STORAGE_BASE_CHECKSUM_H_

// Two checksums, and the encodings of integers on disk. All results are stored on disk, so they
// must be equal on every machine and in every release.
//   - Crc32c (Castagnoli) finds damage within one record.
//   - Hash64 and HashMix chain records and effects: a missing or different one changes every later
//     hash. They are not cryptographic: they detect faulty disks and bugs, not an attacker.
//   - Fixed-width integers are little-endian in records. In keys they are big-endian, so that the
//     byte order of keys is the order of the numbers.

#include <cstdint>
#include <string>
#include <string_view>

namespace raftkv {

uint32_t Crc32c(std::string_view data);
// The checksum of a first part and `data`, one after the other. `before` is the checksum of the
// first part.
uint32_t Crc32cAfter(uint32_t before, std::string_view data);
uint64_t Hash64(std::string_view data, uint64_t seed);

// Mixes one number into a running hash.
uint64_t HashMix(uint64_t hash, uint64_t number);

void PutFixed32(std::string* out, uint32_t v);
void PutFixed64(std::string* out, uint64_t v);
void PutBigEndian64(std::string* out, uint64_t v);
void PutVarint64(std::string* out, uint64_t v);

uint32_t Fixed32(const char* p);
uint64_t Fixed64(const char* p);
uint64_t BigEndian64(const char* p);

// Removes a varint from the front of `in` and stores it in `v`. False if `in` does not begin with a
// valid one.
bool TakeVarint64(std::string_view* in, uint64_t* v);

}  // namespace raftkv

#endif  // RAFTKV_STORAGE_BASE_CHECKSUM_H_
