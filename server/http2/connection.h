#ifndef RAFTKV_SERVER_HTTP2_CONNECTION_H_
#define RAFTKV_SERVER_HTTP2_CONNECTION_H_

// One connection of a client: a socket, the HTTP/2 session on it (nghttp2), and its streams.
// Belongs to the client port and runs on its thread.
//
// Bounds: a call of Read reads kReadBytes, a call of Write sends kWriteBytes. If the client resets
// too many streams, it gets a GOAWAY; running calls finish and new ones are ignored. The connection
// is closed if the client sends too many control frames, if it does not read the answers to its
// pings and settings, or if one header is longer than 64 KiB (nghttp2's limit). Headers that are
// too long in sum end only their call.

#include <nghttp2/nghttp2.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "server/http2/stream.h"
#include "storage/base/monotonic_time.h"

namespace raftkv::http2 {

struct ConnectionLimits {
  size_t message_bytes_max = 2 << 20;   // of a request, also after decompression
  size_t metadata_bytes_max = 1 << 20;  // of the headers of a request
  uint32_t streams_max = 4096;          // at the same time
};

// What the connections of one port have in common. Used on the port's thread.
class Router {
 public:
  // Sets stream->owner, the object that serves the call. If it returns an error, the call ends with
  // that error.
  virtual absl::Status Open(const std::shared_ptr<GrpcStream>& stream) = 0;
  // False: the port has too many streams. The client may repeat the call elsewhere.
  virtual bool AdmitStream() = 0;
  virtual void OnStreamClosed() = 0;
  // `change`: by how much the bytes of incomplete requests changed. `of_stream`, `of_connection`:
  // how many bytes the stream and the connection have now. False: there are too many.
  virtual bool ChangeRequestBytes(int64_t change, int64_t of_stream, int64_t of_connection) = 0;
  // `bytes` bytes of answers have left the queue: they were sent or discarded.
  virtual void OnSent(size_t bytes) = 0;

 protected:
  ~Router() = default;
};

class Connection {
 public:
  static constexpr size_t kReadBytes = 16 << 10;
  static constexpr size_t kWriteBytes = 256 << 10;

  // Owns `fd`, a socket that does not block.
  Connection(int fd, std::string peer, const ConnectionLimits& limits, Router* router,
             MonotonicTime now);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  int fd() const { return fd_; }
  const std::string& peer() const { return peer_; }

  // Reads what has arrived and serves it. False: the connection is over; delete it.
  bool Read(MonotonicTime now);
  // Sends what is queued, as far as the socket takes it. False: the connection is over.
  bool Write(MonotonicTime now);
  // True: something is left to send. If socket_full(), call Write when the socket is writable.
  // Otherwise call Write soon.
  bool unwritten() const {
    return !out_.empty() || (!draining_ && nghttp2_session_want_write(session_) != 0);
  }
  bool socket_full() const { return socket_full_; }

  // Carries out a command for one of its streams. Call Write after it.
  void Execute(Command* command);
  // Resets the streams whose request or answer takes too long. False: delete the connection,
  // because its client has not spoken HTTP/2, or has not read, for too long.
  bool EndLate(MonotonicTime now);
  // Tells the client to make no new calls here. Those that arrive nevertheless are served.
  void AnnounceGoaway();
  // Ends the session once all streams are closed.
  void Goaway();
  bool introduced() const { return introduced_; }  // the client has spoken HTTP/2

 private:
  struct Callbacks;  // of nghttp2
  friend struct Callbacks;

  GrpcStream* StreamOf(int32_t id) const;
  void OnHeader(GrpcStream* stream, std::string_view name, std::string_view value);
  void OnHeaders(GrpcStream* stream);
  void OnData(GrpcStream* stream, std::string_view data);
  void OnEndOfRequests(GrpcStream* stream);
  bool ChangeRequestBytes(int64_t change, const GrpcStream& stream);
  // Gives the stream's owner as many messages as it wants now.
  void Deliver(GrpcStream* stream);
  void OnClose(GrpcStream* stream, uint32_t error_code);
  ssize_t FillData(GrpcStream* stream, uint8_t* to, size_t bytes_max, uint32_t* flags);
  void SendStatus(GrpcStream* stream, const absl::Status& status, std::vector<Header> trailers);
  void SubmitTrailers(GrpcStream* stream);
  void Respond(GrpcStream* stream);  // submits the response's headers
  void AnswerPlainHttp(GrpcStream* stream);
  bool AnswerHttp1(std::string_view request);
  void Reset(int32_t stream_id, uint32_t error_code);
  // Frees what is queued and resets the stream.
  void DropStream(GrpcStream* stream);
  void FreeOutput(GrpcStream* stream);
  void StartDraining();
  bool CountControlFrame();

  const int fd_;
  const std::string peer_;
  const ConnectionLimits limits_;
  Router* const router_;
  nghttp2_session* session_ = nullptr;
  absl::flat_hash_map<int32_t, std::shared_ptr<GrpcStream>> streams_;
  std::string out_;  // bytes that the session has produced and the socket has not taken
  bool socket_full_ = false;
  bool introduced_ = false;
  bool draining_ = false;  // only what is in out_ is still sent; what arrives is discarded
  MonotonicTime now_;      // of the current call
  const MonotonicTime opened_;
  MonotonicTime taken_at_;  // when the socket last took bytes, or out_ was empty
  MonotonicTime draining_since_;
  MonotonicTime second_;  // the start of the second in which control frames are counted
  int control_frames_ = 0;
  int64_t request_bytes_ = 0;  // of incomplete requests
};

}  // namespace raftkv::http2

#endif  // RAFTKV_SERVER_HTTP2_CONNECTION_H_
