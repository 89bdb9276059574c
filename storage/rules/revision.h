#ifndef RAFTKV_STORAGE_RULES_REVISION_H_
#define RAFTKV_STORAGE_RULES_REVISION_H_

#include <cstdint>

namespace raftkv {

// The number of a change of the keys, as in etcd: each change raises it. It is not the index of a
// log entry: an entry that changes no key has no revision of its own.
using Revision = int64_t;

}  // namespace raftkv

#endif  // RAFTKV_STORAGE_RULES_REVISION_H_
