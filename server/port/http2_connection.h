#ifndef RAFTKV_SERVER_PORT_HTTP2_CONNECTION_H_
#define RAFTKV_SERVER_PORT_HTTP2_CONNECTION_H_

// A connection of a client that speaks HTTP/2: the session on its socket (nghttp2), and its
// streams. Every new connection of a port is one of these, until its client speaks HTTP/1. On the
// peer port, a request of HTTP/1 gets an answer that says what the port is.
//
// Bounds: if the client resets too many streams, it gets a GOAWAY; running calls finish and new
// ones are ignored. The connection is closed if the client sends too many control frames, if it
// does not read the answers to its pings and settings, or if one header is longer than 64 KiB
// (nghttp2's limit). Headers that are too long in sum end only their call.

#include <nghttp2/nghttp2.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "server/port/connection.h"
#include "server/port/stream.h"
#include "storage/base/monotonic_time.h"

namespace raftkv::port {

class Http2Connection final : public Connection {
 public:
  // Owns `fd`, a socket that does not block.
  Http2Connection(int fd, std::string client_address, const ConnectionLimits& limits,
                  Router* router, MonotonicTime now);
  ~Http2Connection() override;

  bool Read(MonotonicTime now) override;
  std::unique_ptr<Connection> Successor() override;
  void Execute(StreamCommand* command) override;
  bool EndLate(MonotonicTime now) override;
  void AnnounceGoaway() override;
  void Goaway() override;
  bool introduced() const override { return introduced_; }
  bool stranger() const override;
  bool has_calls() const override { return !streams_.empty(); }

 private:
  struct Callbacks;  // of nghttp2
  friend struct Callbacks;

  bool Fill() override;
  bool HasMore() const override { return MaySend() && nghttp2_session_want_write(session_) != 0; }
  bool IsOver() const override { return nghttp2_session_want_read(session_) == 0; }

  bool MaySpeakHttp1() const;  // false: for example TLS
  // Answers every request with one text and ends the connection. False: it is not HTTP/1.
  bool AnswerHttp1();
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
  void Reset(int32_t stream_id, uint32_t error_code);
  // Frees what is queued and resets the stream.
  void DropStream(GrpcStream* stream);
  void FreeOutput(GrpcStream* stream);
  bool CountControlFrame();
  // False: the client may speak HTTP/1, so it must not get our settings yet.
  bool MaySend() const;

  nghttp2_session* session_ = nullptr;
  absl::flat_hash_map<int32_t, std::shared_ptr<GrpcStream>> streams_;
  bool speaks_http2_ = false;  // it has sent the magic bytes of HTTP/2
  bool introduced_ = false;    // it has sent its settings too
  bool accepted_ = false;      // a call that is closed was accepted
  std::string first_bytes_;    // until speaks_http2_
  MonotonicTime second_;       // the start of the second in which control frames are counted
  int control_frames_ = 0;
  int64_t request_bytes_ = 0;  // of incomplete requests
};

}  // namespace raftkv::port

#endif  // RAFTKV_SERVER_PORT_HTTP2_CONNECTION_H_
