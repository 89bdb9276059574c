// A member of a cluster within your program, instead of a process raftkv-server. Link with
// raftkv::server.
//
//   using raftkv::server::Server;
//   auto server = Server::Start({.file = "cluster.toml", .member = "n1"});
//   if (!server.ok()) return server.status();
//   auto client = (*server)->NewClient();                // no connection in between
//   client->Put("colour", "blue");
//   client.reset();
//   (*server)->Stop();
//
// The member serves the ports of its configuration, as raftkv-server does. What it does to your
// process:
//   - It ends the process if it cannot go on without a danger for the data: abort() if a write to
//     the disk fails or hangs, or after an internal error; _exit(66) if its data is damaged. Its
//     durable state is safe then, as after a crash.
//   - It logs with glog. Set up glog as you like; [log] of the configuration is not used.
//   - It opens many files: set RLIMIT_NOFILE to a few thousand plus the number of its clients.
//   - With Debian's abseil, absl::SetMutexDeadlockDetectionMode(kIgnore) makes it faster.
#ifndef RAFTKV_SERVER_EMBEDDED_RAFTKV_SERVER_H_
#define RAFTKV_SERVER_EMBEDDED_RAFTKV_SERVER_H_

#include <raftkv.h>

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace raftkv::server {

struct Config {
  std::string file =
      "";  // the cluster's configuration, a TOML file (config/cluster.toml explains it)
  std::string toml = "";    // or its text, if `file` is empty
  std::string member = "";  // which member to run; may be empty if there is only one
  bool join = false;        // at the first start: join a running cluster, after `raftkv member add`
  // Called once, from a thread of the member, when it was removed from the cluster. It then serves
  // nothing more; call Stop soon, from another thread.
  std::function<void()> on_removed = nullptr;
};

class Server {
 public:
  // Opens the data directory and the ports. Returns when the member serves; it may still have no
  // leader. An error is one line that says what to change.
  static absl::StatusOr<std::unique_ptr<Server>> Start(const Config& config);
  ~Server();  // stops it
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // Lets running calls finish, for some seconds at most, and ends the member. Call it once. Later
  // calls of clients made by NewClient end with Unavailable.
  void Stop();

  // A client of this member. Its calls need no connection. Only streams use one, to client_url():
  // watches (and so locks and elections), LeaseKeepAlive and snapshots. Of the options, `endpoints`
  // and `exactly_once` are not used. The client may outlive the server. A watch that is open when
  // the server stops waits for its return, as every watch does: cancel it.
  std::unique_ptr<client::Client> NewClient(const client::Options& options = {}) const;
  const std::string& client_url() const;  // of this member, "http://host:port"

 private:
  class Impl;
  explicit Server(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace raftkv::server

#endif  // RAFTKV_SERVER_EMBEDDED_RAFTKV_SERVER_H_
