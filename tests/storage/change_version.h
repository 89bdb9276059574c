#ifndef RAFTKV_TESTS_STORAGE_CHANGE_VERSION_H_
#define RAFTKV_TESTS_STORAGE_CHANGE_VERSION_H_

#include <string>
#include <string_view>

#include "glog/logging.h"
#include "storage/engine/engine.h"
#include "storage/mvcc/layout.h"

namespace raftkv {

// Changes one number in the newest stored version of `key`: how often the key was changed. Nothing
// else changes, as if by a fault of the disk.
inline void ChangeNewestVersion(const std::string& key, Engine* engine) {
  std::string prefix;
  mvcc::AppendVersionPrefix(key, &prefix);
  WriteBatch batch;
  const absl::Status found = engine->Scan(mvcc::BeforeVersions(prefix), mvcc::AfterVersions(prefix),
                                          [&](std::string_view at, std::string_view record) {
                                            mvcc::Head head;
                                            std::string_view value;
                                            mvcc::DecodeVersion(at, record, &head, &value);
                                            ++head.version;
                                            std::string changed;
                                            mvcc::EncodeVersion(head, value, &changed);
                                            batch.Put(at, changed);
                                            return absl::CancelledError();  // the newest one
                                          });
  CHECK(absl::IsCancelled(found)) << found;
  engine->Write(batch, /*sync=*/false);
  engine->Flush();
}

}  // namespace raftkv

#endif  // RAFTKV_TESTS_STORAGE_CHANGE_VERSION_H_
