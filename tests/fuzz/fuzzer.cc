// The program that libFuzzer drives. The environment variable RAFTKV_FUZZ_TARGET names the target.

#include <google/protobuf/stubs/logging.h>

#include <cstdint>
#include <cstdlib>
#include <iostream>

#include "glog/logging.h"
#include "tests/fuzz/targets.h"

namespace {
const raftkv::fuzz::Target* target = nullptr;
}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char*** argv) {
  google::InitGoogleLogging((*argv)[0]);
  FLAGS_logtostderr = true;
  FLAGS_minloglevel = google::FATAL;
  google::protobuf::SetLogHandler(nullptr);  // it reports each damaged text field
  const char* name = std::getenv("RAFTKV_FUZZ_TARGET");
  target = raftkv::fuzz::FindTarget(name == nullptr ? "" : name);
  if (target != nullptr) return 0;
  std::cerr << "RAFTKV_FUZZ_TARGET must name one of:\n";
  for (const auto& each : raftkv::fuzz::Targets()) std::cerr << "  " << each.name << "\n";
  std::exit(2);
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  target->run({reinterpret_cast<const char*>(data), size});
  return 0;
}
