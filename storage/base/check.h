#ifndef RAFTKV_STORAGE_BASE_CHECK_H_
#define RAFTKV_STORAGE_BASE_CHECK_H_

// CHECK, CHECK_EQ and the like. They are on in every build. Use them for the program's own
// invariants, never for input: input is validated where it enters and rejected with a Status.
// server/raft includes this header and nothing else of glog, because it writes no log lines.

#include <glog/logging.h>

#endif  // RAFTKV_STORAGE_BASE_CHECK_H_
