#ifndef RAFTKV_SERVER_SERVER_H_
#define RAFTKV_SERVER_SERVER_H_

// The composition root: one member process. Members of the class in the order in which they start;
// they stop in the opposite one.

#include <memory>

#include "absl/status/statusor.h"
#include "config/config.h"

namespace raftkv {

class Server {
 public:
  // Opens the data directory, listens on both ports and starts the loop. Errors are one line each:
  // DataLoss means damaged data (exit code 66), anything else that what the operator gave cannot be
  // used (exit code 2).
  static absl::StatusOr<std::unique_ptr<Server>> Start(const Config& config, size_t self);

  // Refuses new calls in words after which clients go on to another member, finishes what is
  // running (or answers it with "server stopped" after a grace period), then stops. From any thread
  // but the loop's.
  void Stop();

  ~Server();

 private:
  struct Parts;
  explicit Server(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

}  // namespace raftkv

#endif  // RAFTKV_SERVER_SERVER_H_
