#include "storage/base/checksum.h"

#include <set>
#include <string>

#include "gtest/gtest.h"

namespace rocksdb::crc32c {
uint32_t Extend(uint32_t before, const char* data, size_t size);
}

namespace raftkv {
namespace {

TEST(Checksum, Crc32cMatchesPublishedVectors) {
  // RFC 3720, appendix B.4.
  EXPECT_EQ(Crc32c(std::string(32, '\0')), 0x8a9136aau);
  EXPECT_EQ(Crc32c(std::string(32, '\xff')), 0x62a8ab43u);
  EXPECT_EQ(Crc32c("123456789"), 0xe3069283u);
}

// raftkv-server computes the checksums of RocksDB's write-ahead log with Crc32cAfter
// (storage/engine/rocks_crc32c.cc). This program does not replace RocksDB's function.
TEST(Checksum, Crc32cAfterEqualsThatOfRocksDb) {
  std::string data;
  for (int i = 0; i < 300; ++i) data.push_back(static_cast<char>(i * i + 7));
  const std::string_view all = data;
  for (size_t size = 0; size < 80; ++size) {
    for (size_t at : {0, 1, 7, 100, 163, 200}) {
      const uint32_t before = Crc32c(all.substr(0, at));
      EXPECT_EQ(Crc32cAfter(before, all.substr(at, size)), Crc32c(all.substr(0, at + size)));
      EXPECT_EQ(Crc32cAfter(before, all.substr(at, size)),
                rocksdb::crc32c::Extend(before, data.data() + at, size));
    }
  }
}

// Long data is split into parts of 1,024 bytes.
TEST(Checksum, Crc32cOfLongDataEqualsThatOfRocksDb) {
  std::string data;
  for (uint64_t i = 0; i < 20'000; ++i) data.push_back(static_cast<char>(HashMix(i, 1)));
  for (size_t parts = 3; parts < 19; parts += 3) {
    for (size_t size = parts * 1024 - 10; size < parts * 1024 + 10; ++size) {
      EXPECT_EQ(Crc32cAfter(static_cast<uint32_t>(size), {data.data() + size % 7, size}),
                rocksdb::crc32c::Extend(static_cast<uint32_t>(size), data.data() + size % 7, size));
    }
  }
}

TEST(Checksum, Hash64IsFixedForeverAndSeesEveryBit) {
  // On disk: a change of these numbers breaks every existing log.
  EXPECT_EQ(Hash64("", 0), 6340931381574149738u);
  EXPECT_EQ(Hash64("raftkv", 1), 16619572588353400861u);
  std::set<uint64_t> seen;
  for (size_t size = 0; size < 40; ++size) {
    std::string data(size, '\0');
    EXPECT_TRUE(seen.insert(Hash64(data, 7)).second) << size;
    for (size_t bit = 0; bit < 8 * size; ++bit) {
      std::string flipped = data;
      flipped[bit / 8] ^= static_cast<char>(1 << (bit % 8));
      EXPECT_TRUE(seen.insert(Hash64(flipped, 7)).second) << size << " " << bit;
    }
    EXPECT_TRUE(seen.insert(Hash64(data, 8)).second);
  }
}

TEST(Checksum, VarintsRoundTrip) {
  for (uint64_t v : {uint64_t{0}, uint64_t{127}, uint64_t{128}, uint64_t{1} << 35, ~uint64_t{0}}) {
    std::string bytes;
    PutVarint64(&bytes, v);
    std::string_view in = bytes;
    uint64_t back = 0;
    EXPECT_TRUE(TakeVarint64(&in, &back));
    EXPECT_EQ(back, v);
    EXPECT_TRUE(in.empty());
    std::string_view cut(bytes.data(), bytes.size() - 1);
    EXPECT_FALSE(TakeVarint64(&cut, &back));
  }
}

}  // namespace
}  // namespace raftkv
