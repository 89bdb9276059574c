#ifndef RAFTKV_SERVER_HTTP2_HTTP1_CONNECTION_H_
#define RAFTKV_SERVER_HTTP2_HTTP1_CONNECTION_H_

// A connection of a client that speaks HTTP/1: a browser, curl, a probe of Kubernetes, Prometheus.
// It serves pages (rpc/method.h). Requests are served one after the other; those that the client
// sends ahead wait.
//
// Bounds: the head of a request has at most Http1Parser::kHeadBytesMax bytes. While more than
// kAheadMax bytes wait, the socket is not read. A connection without a request is closed after
// kIdleMax, one whose request does not become complete in time earlier, and so is one whose client
// does not read the answer.

#include <cstddef>
#include <deque>
#include <memory>
#include <string>
#include <string_view>

#include "absl/strings/string_view.h"
#include "server/http2/client_connection.h"
#include "server/http2/http1_parser.h"
#include "server/http2/stream.h"
#include "storage/base/monotonic_time.h"

namespace raftkv::http2 {

class Http1Connection final : public ClientConnection {
 public:
  // Owns `fd`, a socket that does not block.
  Http1Connection(int fd, std::string peer, const ConnectionLimits& limits, Router* router,
                  MonotonicTime now);
  ~Http1Connection() override;

  bool Read(MonotonicTime now) override;
  // `bytes` have been read from the socket. Call Write after it.
  void Receive(std::string_view bytes);
  bool wants_read() const override;
  void Execute(Command* command) override;
  bool EndLate(MonotonicTime now) override;
  void AnnounceGoaway() override { Goaway(); }
  void Goaway() override;
  bool introduced() const override { return true; }

 private:
  struct Piece {
    std::string bytes;
    size_t counted = 0;  // the bytes of the answer for which Router::OnSent is to be called
  };

  bool Fill() override;
  bool HasMore() const override { return !pieces_.empty() || answered_; }
  bool IsOver() const override { return false; }

  // Parses the request, and starts to serve it when it is complete.
  void Parse();
  void OnHead();
  void OnRequest();
  // Queues the whole answer. `close`: the rest of the request is not read.
  void Answer(int status, absl::string_view content_type, std::string body, size_t counted = 0);
  void Reject(int status, absl::string_view text);
  // The answer is in out_: closes the stream, and goes on with the next request.
  void EndRequest();
  void CloseStream(bool complete);

  Http1Parser parser_;
  std::string in_;            // bytes that are not parsed yet
  size_t body_bytes_ = 0;     // of the request
  bool head_seen_ = false;    // OnHead was called
  bool last_ = false;         // the connection ends after this answer
  bool input_ended_ = false;  // the client has closed its side
  bool answered_ = false;     // all of the answer is in pieces_
  std::deque<Piece> pieces_;
  std::shared_ptr<GrpcStream> stream_;                       // of the request that is being served
  MonotonicTime waiting_since_;                              // since when the request has been due
  MonotonicTime sent_by_ = MonotonicTime::InfiniteFuture();  // for the answer
};

}  // namespace raftkv::http2

#endif  // RAFTKV_SERVER_HTTP2_HTTP1_CONNECTION_H_
