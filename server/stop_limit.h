#ifndef RAFTKV_SERVER_STOP_LIMIT_H_
#define RAFTKV_SERVER_STOP_LIMIT_H_

// A thread that ends the process if a stop takes too long, so that a stop that was asked for always
// ends. Exists while the server stops (main.cc). Ending the process at any point is as safe as a
// crash there.

#include <functional>
#include <string>
#include <thread>

#include "absl/synchronization/notification.h"
#include "absl/time/time.h"

namespace raftkv {

struct StopLimitOptions {
  absl::Duration limit = absl::Seconds(30);
  std::function<std::string()> step;  // what the stop does now; called on the thread
  std::function<void()> end_process;  // exits with code 1, unless a test sets it
};

class StopLimit {
 public:
  explicit StopLimit(StopLimitOptions options);
  ~StopLimit();

 private:
  void Run();

  const StopLimitOptions options_;
  absl::Notification stopped_;
  std::thread thread_;
};

}  // namespace raftkv

#endif  // RAFTKV_SERVER_STOP_LIMIT_H_
