#include "storage/base/seeded_hash.h"

#include <sodium.h>

#include <cstring>

#include "storage/base/check.h"

namespace raftkv {
namespace {

struct Key {
  unsigned char bytes[crypto_shorthash_KEYBYTES];

  Key() {
    CHECK_GE(sodium_init(), 0) << "libsodium cannot be initialized";
    randombytes_buf(bytes, sizeof(bytes));
  }
};

}  // namespace

uint64_t SeededHash(std::string_view data) {
  static const Key key;
  unsigned char hash[crypto_shorthash_BYTES];
  crypto_shorthash(hash, reinterpret_cast<const unsigned char*>(data.data()), data.size(),
                   key.bytes);
  uint64_t number = 0;
  static_assert(sizeof(hash) == sizeof(number));
  std::memcpy(&number, hash, sizeof(number));
  return number;
}

}  // namespace raftkv
