#include "storage/base/seeded_hash.h"

#include <cstdint>
#include <set>
#include <string>

#include "gtest/gtest.h"
#include "storage/base/checksum.h"

namespace raftkv {
namespace {

// Keys that all have the same unseeded hash: a client that knew them could make every lookup in a
// table of keys walk through all of them.
std::string CollidingKey(uint64_t number) {
  std::string key("\x15\x7c\x4a\x7f\xb9\x79\x37\x9e", 8);
  PutBigEndian64(&key, number);
  return key;
}

TEST(SeededHash, KeysThatCollideInHash64AreDistinct) {
  constexpr uint64_t kKeys = 30'000;
  std::set<uint64_t> unseeded, seeded, low_bits;
  for (uint64_t i = 0; i < kKeys; ++i) {
    unseeded.insert(Hash64(CollidingKey(i), 0));
    const uint64_t hash = SeededHash(CollidingKey(i));
    seeded.insert(hash);
    low_bits.insert(hash & 0xffff);
  }
  EXPECT_EQ(unseeded.size(), 1u) << "the keys no longer collide, so this test shows nothing";
  EXPECT_EQ(seeded.size(), kKeys);
  // Of 65,536 slots, 30,000 random values hit about 24,100.
  EXPECT_GT(low_bits.size(), 22'000u);
}

TEST(SeededHash, EqualBytesHaveEqualHashes) {
  EXPECT_EQ(SeededHash("key"), SeededHash(std::string("key")));
  EXPECT_EQ(SeededHash(""), SeededHash(std::string()));
  EXPECT_NE(SeededHash("key"), SeededHash(std::string("key\0", 4)));
}

}  // namespace
}  // namespace raftkv
