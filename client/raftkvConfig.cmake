# Read by find_package(raftkv): defines the target raftkv::client and finds what it links with.
include(CMakeFindDependencyMacro)
find_dependency(Threads)
find_dependency(Protobuf)
find_dependency(gRPC CONFIG)
find_dependency(absl CONFIG)
include(${CMAKE_CURRENT_LIST_DIR}/raftkvTargets.cmake)
