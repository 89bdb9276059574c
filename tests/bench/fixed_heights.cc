// RocksDB's memtables are skip lists, with random heights. Their generator is seeded with an
// address of the thread, which a change of the program may move. So heights, and with them the
// instructions of a search, would differ between two builds.

#include <cstdint>

// Replaces rocksdb::Random::GetTLSInstance(), because the program is linked with --wrap. The state
// of a rocksdb::Random is one number.
extern "C" void* __wrap__ZN7rocksdb6Random14GetTLSInstanceEv() {
  thread_local uint32_t state = 301;
  return &state;
}
