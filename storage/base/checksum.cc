#include "storage/base/checksum.h"

#include <array>
#include <bit>
#include <cstring>

#if defined(__x86_64__)
#include <nmmintrin.h>
#endif

namespace raftkv {
namespace {

static_assert(std::endian::native == std::endian::little, "records are stored little-endian");

constexpr uint32_t kCastagnoli = 0x82f63b78;  // reflected polynomial

constexpr std::array<uint32_t, 256> MakeCrcTable() {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) ? kCastagnoli : 0);
    table[i] = crc;
  }
  return table;
}
constexpr std::array<uint32_t, 256> kCrcTable = MakeCrcTable();

uint32_t CrcByTable(uint32_t crc, const char* p, size_t n) {
  crc = ~crc;
  for (size_t i = 0; i < n; ++i) {
    crc = kCrcTable[(crc ^ static_cast<uint8_t>(p[i])) & 0xff] ^ (crc >> 8);
  }
  return ~crc;
}

#if defined(__x86_64__)
// What a number of zero bytes makes of a CRC. Each bit of the CRC changes the result independently
// of the others, so there is a table for each byte of the CRC.
class ZeroBytes {
 public:
  explicit constexpr ZeroBytes(size_t count) {
    for (int bit = 0; bit < 32; ++bit) {
      uint32_t crc = uint32_t{1} << bit;
      for (size_t i = 0; i < count; ++i) crc = kCrcTable[crc & 0xff] ^ (crc >> 8);
      for (uint32_t byte = 0; byte < 256; ++byte) {
        if ((byte >> (bit % 8)) & 1) table_[bit / 8][byte] ^= crc;
      }
    }
  }
  uint32_t After(uint32_t crc) const {
    return table_[0][crc & 0xff] ^ table_[1][(crc >> 8) & 0xff] ^ table_[2][(crc >> 16) & 0xff] ^
           table_[3][crc >> 24];
  }

 private:
  uint32_t table_[4][256] = {};
};

// One instruction waits for the result of the one before, but the processor can work on three at
// once. So long data is split into three parts, whose CRCs are then combined.
constexpr size_t kPartBytes = 1024;
constexpr ZeroBytes kPartOfZeros(kPartBytes);

__attribute__((target("sse4.2"))) uint32_t CrcByInstruction(uint32_t before, const char* p,
                                                            size_t n) {
  uint64_t crc = ~before;
  for (; n >= 3 * kPartBytes; p += 3 * kPartBytes, n -= 3 * kPartBytes) {
    uint64_t second = 0, third = 0;
    for (size_t i = 0; i < kPartBytes; i += 8) {
      crc = _mm_crc32_u64(crc, Fixed64(p + i));
      second = _mm_crc32_u64(second, Fixed64(p + i + kPartBytes));
      third = _mm_crc32_u64(third, Fixed64(p + i + 2 * kPartBytes));
    }
    const uint32_t two =
        kPartOfZeros.After(static_cast<uint32_t>(crc)) ^ static_cast<uint32_t>(second);
    crc = kPartOfZeros.After(two) ^ static_cast<uint32_t>(third);
  }
  for (; n >= 8; p += 8, n -= 8) crc = _mm_crc32_u64(crc, Fixed64(p));
  uint32_t crc32 = static_cast<uint32_t>(crc);
  for (; n > 0; ++p, --n) crc32 = _mm_crc32_u8(crc32, static_cast<uint8_t>(*p));
  return ~crc32;
}
#endif

// Multiplies to 128 bits and XORs the two halves, so that every input bit can change every output
// bit.
uint64_t Fold(uint64_t a, uint64_t b) {
  const unsigned __int128 product = static_cast<unsigned __int128>(a) * b;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

// Odd constants with about as many ones as zeros: the fractional parts of e, pi and phi.
constexpr uint64_t kE = 0xb7e151628aed2a6b;
constexpr uint64_t kPi = 0x243f6a8885a308d3;
constexpr uint64_t kPhi = 0x9e3779b97f4a7c15;

template <typename T>
T Load(const char* p) {
  T v;
  std::memcpy(&v, p, sizeof(v));
  return v;
}

template <typename T>
void Store(std::string* out, T v) {
  char buffer[sizeof(v)];
  std::memcpy(buffer, &v, sizeof(v));
  out->append(buffer, sizeof(v));
}

}  // namespace

uint32_t Crc32c(std::string_view data) { return Crc32cAfter(0, data); }

uint32_t Crc32cAfter(uint32_t before, std::string_view data) {
#if defined(__x86_64__)
  static const bool has_instruction = __builtin_cpu_supports("sse4.2");
  if (has_instruction) return CrcByInstruction(before, data.data(), data.size());
#endif
  return CrcByTable(before, data.data(), data.size());
}

uint64_t Hash64(std::string_view data, uint64_t seed) {
  const char* p = data.data();
  size_t n = data.size();
  uint64_t hash = Fold(seed ^ kPi, kE ^ n);
  for (; n >= 16; p += 16, n -= 16) hash = Fold(Fixed64(p) ^ kPhi, Fixed64(p + 8) ^ hash);
  char tail[16] = {};
  if (n > 0) std::memcpy(tail, p, n);  // p may be null if n is 0
  hash = Fold(Fixed64(tail) ^ kPhi, Fixed64(tail + 8) ^ hash);
  return Fold(hash ^ kE, kPi);
}

uint64_t HashMix(uint64_t hash, uint64_t number) { return Fold(hash ^ kPhi, number ^ kE) ^ hash; }

void PutFixed32(std::string* out, uint32_t v) { Store(out, v); }
void PutFixed64(std::string* out, uint64_t v) { Store(out, v); }
void PutBigEndian64(std::string* out, uint64_t v) { Store(out, __builtin_bswap64(v)); }

void PutVarint64(std::string* out, uint64_t v) {
  for (; v >= 0x80; v >>= 7) out->push_back(static_cast<char>(v | 0x80));
  out->push_back(static_cast<char>(v));
}

uint32_t Fixed32(const char* p) { return Load<uint32_t>(p); }
uint64_t Fixed64(const char* p) { return Load<uint64_t>(p); }
uint64_t BigEndian64(const char* p) { return __builtin_bswap64(Load<uint64_t>(p)); }

bool TakeVarint64(std::string_view* in, uint64_t* v) {
  *v = 0;
  for (int shift = 0; shift < 64 && !in->empty(); shift += 7) {
    const uint64_t byte = static_cast<uint8_t>(in->front());
    in->remove_prefix(1);
    *v |= (byte & 0x7f) << shift;
    if (byte < 0x80) return true;
  }
  return false;
}

}  // namespace raftkv
