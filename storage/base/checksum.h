#ifndef RAFTKV_STORAGE_BASE_CHECKSUM_H_
#define RAFTKV_STORAGE_BASE_CHECKSUM_H_

// Two checks over bytes, equal on every machine and in every release (both are on disk):
//   - Crc32c (Castagnoli): finds damage of one record;
//   - Hash64: chains records and effects, so that a missing or different one shows at its
//   successors.
//     Not cryptographic: it guards against broken disks and broken code, not against an enemy.
// And the fixed-width integers both are stored in: little-endian in records, big-endian in keys (so
// that byte order is number order).

#include <cstdint>
#include <string>
#include <string_view>

namespace raftkv {

uint32_t Crc32c(std::string_view data);
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

// Takes a varint off the front of `in`; false if there is none.
bool TakeVarint64(std::string_view* in, uint64_t* v);

}  // namespace raftkv

#endif  // RAFTKV_STORAGE_BASE_CHECKSUM_H_
