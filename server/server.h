#ifndef RAFTKV_SERVER_SERVER_H_
#define RAFTKV_SERVER_SERVER_H_

// One server process: creates and connects all parts, starts them and stops them.

#include <atomic>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "config/config.h"
#include "server/local_calls.h"

namespace raftkv {

class Server {
 public:
  struct StartOptions {
    bool join = false;               // if the data directory is new: joins a cluster (join.h)
    bool force_new_cluster = false;  // the others are lost for good (force_new_cluster.h)
    // Called on the loop's thread when the member was removed from the cluster. Stop must follow.
    std::function<void()> on_removed;
  };
  // Opens the data directory, listens on all ports and starts the loop. An error is one line.
  // DataLoss: damaged data (exit code 66). DeadlineExceeded (no member answered `join`),
  // ResourceExhausted (the disk is full), Internal or Unknown: exit code 1. Any other error: the
  // configuration or the directory cannot be used (exit code 2).
  static absl::StatusOr<std::unique_ptr<Server>> Start(const Config& config, size_t self,
                                                       const StartOptions& options);

  // Checks the member's data directory without changing it (CheckDataDir in
  // storage/data_dir/data_dir.h). `text`: a line about the directory. `warnings`: what a start
  // would warn of, one line each. Errors are those of a start.
  struct DirectoryCheck {
    std::string text;
    std::vector<std::string> warnings;
  };
  static absl::StatusOr<DirectoryCheck> CheckDataDirectory(const Config& config, size_t self);

  // Stops the member. Declines new calls with an error after which clients use another member.
  // Lets running calls finish; those that exceed the grace period are answered "server stopped".
  // From any thread but the loop's.
  void Stop();

  // What Stop does now, for a message. From any thread.
  const char* stop_step() const { return stop_step_; }

  ~Server();

  // For clients in this process. They may keep it longer than the server lives.
  std::shared_ptr<LocalCalls> local_calls() const;

 private:
  struct Parts;
  explicit Server(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
  std::atomic<const char*> stop_step_{"begins"};
};

}  // namespace raftkv

#endif  // RAFTKV_SERVER_SERVER_H_
