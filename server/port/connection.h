#ifndef RAFTKV_SERVER_PORT_CONNECTION_H_
#define RAFTKV_SERVER_PORT_CONNECTION_H_

// One connection of a client, over HTTP/2 (http2_connection.h) or HTTP/1 (http1_connection.h). This
// class owns the socket and sends. It belongs to a port (port.h) and runs on its thread. On the
// peer port, the client is another member.
//
// Bounds: a call of Read reads kReadBytes, a call of Write sends kWriteBytes.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/port/stream.h"
#include "storage/base/monotonic_time.h"

namespace raftkv::port {

struct ConnectionLimits {
  // The clients are the other members. They speak gRPC only. A connection is a stranger's until one
  // of its calls was accepted (GrpcStream::accepted). Until then it may have
  // `stranger_streams_max` streams.
  bool for_peers = false;
  size_t message_bytes_max = 2 << 20;   // of a request, also after decompression
  size_t metadata_bytes_max = 1 << 20;  // of the headers of a request over HTTP/2
  uint32_t streams_max = 4096;          // at the same time
  uint32_t stranger_streams_max = 16;
  // HTTP/2: how many bytes of requests a client may send before they are handled.
  int32_t stream_window = 256 << 10;
  int32_t connection_window = 2 << 20;
  // HTTP/2: a client may reset `resets_burst` streams at once, and `resets_rate` a second. A client
  // that resets more gets a GOAWAY.
  uint64_t resets_burst = 10'000;
  uint64_t resets_rate = 500;
  bool gzip = true;  // gRPC: requests may be compressed
  // If the client's machine does not answer for this time, the connection is ended.
  absl::Duration vanished = absl::Minutes(2);
};

class JsonGateway;

// What the connections of one port have in common. Used on the port's thread.
class Router {
 public:
  // Sets stream->owner, the object that serves the call. If it returns an error, the call ends with
  // that error.
  virtual absl::Status Open(const std::shared_ptr<GrpcStream>& stream) = 0;
  // False: the port has too many streams. The client may repeat the call elsewhere.
  virtual bool AdmitStream(bool of_stranger) = 0;
  virtual void OnStreamClosed() = 0;
  // `change`: by how much the bytes of incomplete requests changed. `of_stream`, `of_connection`:
  // how many bytes the stream and the connection have now. False: there are too many.
  virtual bool ChangeRequestBytes(int64_t change, int64_t of_stream, int64_t of_connection,
                                  bool stranger) = 0;
  // `bytes` bytes of answers have left the queue: they were sent or discarded.
  virtual void OnSent(size_t bytes) = 0;
  // HTTP/1: whether GET of `path` is served by a page (rpc/method.h).
  virtual bool HasPage(const std::string& path) const = 0;
  virtual JsonGateway* json() = 0;

 protected:
  ~Router() = default;
};

class Connection {
 public:
  static constexpr size_t kReadBytes = 16 << 10;
  static constexpr size_t kWriteBytes = 256 << 10;

  virtual ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  int fd() const { return fd_; }
  const std::string& client_address() const { return client_address_; }
  MonotonicTime opened() const { return opened_; }

  // Reads what has arrived and serves it. False: the connection is over; delete it, unless it has a
  // successor.
  virtual bool Read(MonotonicTime now) = 0;
  // Call it after Read has returned false. If the client speaks another protocol, returns the
  // connection that takes over the socket. Otherwise null.
  virtual std::unique_ptr<Connection> Successor() { return nullptr; }
  // False: do not call Read now, because the client must wait.
  virtual bool wants_read() const { return true; }
  // Sends what is queued, as far as the socket takes it. False: the connection is over.
  bool Write(MonotonicTime now);
  // True: something is left to send. If socket_full(), call Write when the socket is writable.
  // Otherwise call Write soon.
  bool unwritten() const { return !out_.empty() || (!draining_ && HasMore()); }
  bool socket_full() const { return socket_full_; }

  // Carries out a command for one of its streams. Call Write after it.
  virtual void Execute(StreamCommand* command) = 0;
  // Resets the streams whose request or answer takes too long. False: delete the connection,
  // because its client has not spoken, or has not read, for too long.
  virtual bool EndLate(MonotonicTime now) = 0;
  // Tells the client to make no new calls here. Those that arrive nevertheless are served.
  virtual void AnnounceGoaway() = 0;
  // Ends the connection once all calls are answered.
  virtual void Goaway() = 0;
  virtual bool introduced() const = 0;  // the client has spoken
  // True: perhaps it is not a member's (ConnectionLimits::for_peers).
  virtual bool stranger() const { return false; }
  virtual bool has_calls() const { return false; }  // that are not closed

  uint32_t watched_events = 0;  // of the socket, for the port

 protected:
  // Owns `fd`, a socket that does not block.
  Connection(int fd, std::string client_address, const ConnectionLimits& limits, Router* router,
             MonotonicTime now);

  // Appends what is to be sent to out_, until that has kSendBytes. False: the connection is over.
  virtual bool Fill() = 0;
  // Whether Fill would append something.
  virtual bool HasMore() const = 0;
  // Whether everything was sent and nothing more will be.
  virtual bool IsOver() const = 0;

  void StartDraining();
  // True: the client does not take what is sent, or does not close the connection.
  bool Stalls(MonotonicTime now) const;
  // The time until which a client must have read an answer of `bytes`.
  MonotonicTime SentBy(size_t bytes) const;
  int ReleaseSocket();  // for the successor

  static constexpr size_t kSendBytes = 64 << 10;  // with one system call
  // If a client has not begun a session or a request after this time, its connection is closed.
  static constexpr absl::Duration kIntroductionMax = absl::Seconds(20);

  const std::string client_address_;
  const ConnectionLimits limits_;
  Router* const router_;
  std::string out_;        // bytes that the socket has not taken
  bool draining_ = false;  // only what is in out_ is still sent; what arrives is discarded
  MonotonicTime now_;      // of the current call
  const MonotonicTime opened_;

 private:
  int fd_;
  bool socket_full_ = false;
  MonotonicTime taken_at_;  // when the socket last took bytes, or out_ was empty
  MonotonicTime draining_since_;
};

}  // namespace raftkv::port

#endif  // RAFTKV_SERVER_PORT_CONNECTION_H_
