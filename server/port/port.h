#ifndef RAFTKV_SERVER_PORT_PORT_H_
#define RAFTKV_SERVER_PORT_PORT_H_

// A port: serves rows of methods (rpc/method.h) as gRPC over HTTP/2, and pages over HTTP/1. The
// first bytes of a connection tell which of the two it speaks. A member has two: one for clients,
// and one for its peers (ConnectionLimits::for_peers). A thread of its own serves a port's sockets:
// it accepts, reads, decompresses and parses requests, and sends answers. While it waits, another
// thread may send a few answers (SendAnswers): "the port's thread" is the one that holds the port's
// mutex. Handlers run on the
// threads that serve the event queues. What a client does to its connections can delay other
// clients, but not Raft (docs/decisions/0014-a-client-port-of-our-own.md,
// 0021-one-server-for-both-ports.md).
//
//   requests: client -> port's thread (Connection, StreamOwner) -> EventQueue -> handlers' thread
//             (Call)
//   answers:  any thread (Finish, Write) -> CommandQueue -> port's thread (Connection) -> client
//
// A stop calls Decline first: clients are told to make new calls elsewhere before any call is
// declined. Close ends the connections after the answers were sent.

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "server/port/calls.h"
#include "server/port/http2_connection.h"
#include "server/port/json_gateway.h"
#include "server/port/stream.h"
#include "server/rpc/event_queue.h"
#include "server/rpc/method.h"

namespace raftkv::port {

struct PortOptions {
  ConnectionLimits connection;
  // A further connection is closed at once, unless there are connections of strangers
  // (Connection::stranger). Then it replaces one of these, so that members can connect: the oldest
  // one without calls, or else the oldest one.
  size_t connections_max = 10'000;
  size_t streams_max = 131'072;  // of all connections; a further one is not processed
  // The number of calls that handlers have. Above it, a further stream is not processed; a
  // stranger's stream is not processed above half of it.
  size_t calls_max = 131'072;
  int64_t request_bytes_max = 256 << 20;  // see CommandQueue::ChargeRequest
};

class Port final : private Router {
 public:
  explicit Port(const PortOptions& options)
      : options_(options),
        command_queue_(options.request_bytes_max,
                       static_cast<int64_t>(options.connection.message_bytes_max)) {
    if (!options.connection.for_peers) json_ = std::make_unique<JsonGateway>(&command_queue_);
  }
  ~Port();

  // Call it before Start, once for each thread that runs handlers. Handlers of these methods run
  // where `events` is served.
  void Serve(Methods methods, EventQueue* events, Admission admission = nullptr);
  // The names of all methods that are served now, without pages.
  std::vector<std::string> Served() const;
  // Serves these paths of HTTP/1 as JSON. Call it before Start.
  void ServeJson(const std::vector<JsonRoute>& routes) { json_->Add(routes); }
  // Binds every address of "host:port". With kPages, its connections get pages over HTTP/1 only.
  enum class Face { kEverything, kPages };
  absl::Status Listen(const std::string& host_port, Face face = Face::kEverything);
  int port() const { return port_; }  // the one that Listen has bound
  void Start();

  // From any thread but the port's. No new connections are accepted. Returns when clients were told
  // to make no new calls. Calls that arrive nevertheless are served.
  void Decline();
  // From any thread, but not from a handler. Sends what is queued until `flush` is over, then
  // closes all connections. Returns when the port's thread has ended. By then all streams are
  // closed, and the event queues get no further events.
  void Close(absl::Duration flush);

  // The number of calls that handlers serve (CommandQueue::running); with `events`: only calls of
  // methods whose handlers run on that queue. From any thread.
  int running() const { return command_queue_.running; }
  int running(const EventQueue* events) const;
  size_t unsent_bytes() const { return command_queue_.unsent_bytes; }  // from any thread
  size_t connections() const { return connection_count_; }             // from any thread
  // CommandQueue::SendHeld, for the answers of handlers that run on the calling thread. If they are
  // few, they are sent on this thread: waking the port's thread would take longer.
  void SendAnswers();
  // On the thread that serves `events`: ends its streams with this status.
  void FinishStreams(const EventQueue* events, const absl::Status& status);

 private:
  struct Row {
    Group* group = nullptr;
    const UnaryMethod* unary = nullptr;
    const StreamMethod* stream = nullptr;  // if `unary` is null
  };
  enum class Step { kServe, kDecline, kClose };

  // Router:
  absl::Status Open(const std::shared_ptr<GrpcStream>& stream) override;
  bool AdmitStream(bool of_stranger) override;
  void OnStreamClosed() override;
  bool ChangeRequestBytes(int64_t change, int64_t of_stream, int64_t of_connection,
                          bool stranger) override {
    return command_queue_.ChargeRequest(change, of_stream, of_connection, stranger);
  }
  void OnSent(size_t bytes) override { command_queue_.unsent_bytes -= bytes; }
  bool HasPage(const std::string& path) const override;
  JsonGateway* json() override { return json_.get(); }

  void Run();
  // Serves what has happened, and waits for it at most until `until`. Unlocks serving_ while it
  // waits.
  void RunOnce(MonotonicTime until) ABSL_EXCLUSIVE_LOCKS_REQUIRED(serving_);
  void Accept(int listener, Face face) ABSL_EXCLUSIVE_LOCKS_REQUIRED(serving_);
  // Closes the oldest connection of a stranger without calls, or else of any stranger. False: there
  // is none.
  bool DropStranger() ABSL_EXCLUSIVE_LOCKS_REQUIRED(serving_);
  void ServeSocket(Connection* connection, uint32_t events) ABSL_EXCLUSIVE_LOCKS_REQUIRED(serving_);
  void RunCommands() ABSL_EXCLUSIVE_LOCKS_REQUIRED(serving_);
  void ServeCommands() ABSL_EXCLUSIVE_LOCKS_REQUIRED(serving_);
  void WriteTouched() ABSL_EXCLUSIVE_LOCKS_REQUIRED(serving_);
  void PushEvents() ABSL_EXCLUSIVE_LOCKS_REQUIRED(serving_);
  void EndLate() ABSL_EXCLUSIVE_LOCKS_REQUIRED(serving_);
  void TrimMemory() ABSL_EXCLUSIVE_LOCKS_REQUIRED(serving_);
  // Watches the listening sockets, or not.
  void WatchListeners(bool watch) ABSL_EXCLUSIVE_LOCKS_REQUIRED(serving_);
  void StopListening() ABSL_EXCLUSIVE_LOCKS_REQUIRED(serving_);
  void RunClose() ABSL_EXCLUSIVE_LOCKS_REQUIRED(serving_);
  // Watches the socket for what the connection waits for.
  void Watch(Connection* connection) ABSL_EXCLUSIVE_LOCKS_REQUIRED(serving_);
  void Drop(Connection* connection) ABSL_EXCLUSIVE_LOCKS_REQUIRED(serving_);

  const PortOptions options_;
  std::vector<std::unique_ptr<Group>> groups_;
  absl::flat_hash_map<std::string, Row> rows_;
  absl::flat_hash_map<int, Face> listeners_;  // by descriptor
  int port_ = 0;
  CommandQueue command_queue_;
  std::unique_ptr<JsonGateway> json_;  // null: for peers
  std::atomic<Step> step_{Step::kServe};
  std::atomic<int64_t> flush_us_{0};
  absl::Notification declined_;
  std::thread thread_;

  absl::Mutex serving_;  // held by the thread that serves the sockets
  int epoll_ ABSL_GUARDED_BY(serving_) = -1;
  absl::flat_hash_map<int, std::unique_ptr<Connection>> connections_
      ABSL_GUARDED_BY(serving_);                     // by descriptor
  std::set<int> touched_ ABSL_GUARDED_BY(serving_);  // to be written to
  size_t streams_ ABSL_GUARDED_BY(serving_) = 0;
  MonotonicTime now_ ABSL_GUARDED_BY(serving_);
  MonotonicTime next_second_ ABSL_GUARDED_BY(serving_);
  uint64_t too_many_ ABSL_GUARDED_BY(serving_) = 0;   // connections since the last log line
  size_t peak_unsent_ ABSL_GUARDED_BY(serving_) = 0;  // since memory was given back to the system
  MonotonicTime next_trim_ ABSL_GUARDED_BY(serving_);
  std::atomic<size_t> connection_count_{0};  // of connections_
  bool accepting_ ABSL_GUARDED_BY(serving_) =
      true;  // false until the next second: no file descriptor was left for accept
};

}  // namespace raftkv::port

#endif  // RAFTKV_SERVER_PORT_PORT_H_
