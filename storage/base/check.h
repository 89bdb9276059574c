#ifndef RAFTKV_STORAGE_BASE_CHECK_H_
#define RAFTKV_STORAGE_BASE_CHECK_H_

// CHECK, CHECK_EQ and friends, on in every build. They guard what this code *made*; what arrives
// from outside was validated by the codec. The only thing that raft/ takes from glog: it never
// logs.

#include <glog/logging.h>

#endif  // RAFTKV_STORAGE_BASE_CHECK_H_
