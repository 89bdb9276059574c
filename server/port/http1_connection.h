#ifndef RAFTKV_SERVER_PORT_HTTP1_CONNECTION_H_
#define RAFTKV_SERVER_PORT_HTTP1_CONNECTION_H_

// A connection of a client that speaks HTTP/1: a browser, curl, a probe of Kubernetes, Prometheus.
// It serves pages (rpc/method.h), and methods as JSON (json_gateway.h). Requests are served one
// after the other; requests that the client sends before the answer wait. A method with a stream of
// responses is answered in chunks.
//
// Bounds: the head of a request has at most Http1Parser::kHeadBytesMax bytes. While more than
// kAheadMax bytes wait, the socket is not read. A connection is closed if its client sends no
// request for kIdleMax (the first request and the rest of a head: kIntroductionMax), does not
// complete a request in kRequestTimeMax, or does not read the answer in time.

#include <cstddef>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "server/port/connection.h"
#include "server/port/http1_parser.h"
#include "server/port/json_gateway.h"
#include "server/port/stream.h"
#include "storage/base/monotonic_time.h"

namespace raftkv::port {

class Http1Connection final : public Connection {
 public:
  // Owns `fd`, a socket that does not block. `pages_only`: methods are not served.
  Http1Connection(int fd, std::string client_address, const ConnectionLimits& limits,
                  Router* router, MonotonicTime now, bool pages_only = false);
  ~Http1Connection() override;

  bool Read(MonotonicTime now) override;
  // `bytes` have been read from the socket. Call Write after it.
  void Receive(std::string_view bytes);
  bool wants_read() const override;
  void Execute(StreamCommand* command) override;
  bool EndLate(MonotonicTime now) override;
  void AnnounceGoaway() override { Goaway(); }
  void Goaway() override;
  bool introduced() const override { return true; }

 private:
  struct Piece {
    std::string bytes;
    size_t counted = 0;      // the bytes of the answer for which Router::OnSent is to be called
    bool of_stream = false;  // StreamOwner::OnSent is to be called, too
    size_t moved = 0;        // how many of its bytes are in out_ or were sent
  };

  bool Fill() override;
  bool HasMore() const override { return !pieces_.empty() || answered_; }
  bool IsOver() const override { return false; }

  // The method that is served as JSON under this path, or null.
  const JsonGateway::Method* MethodAt(const std::string& path) const;
  // Parses the request, and starts to serve it when it is complete.
  void Parse();
  void OnHead();
  void OnRequest();
  void OpenPage();
  // Sets stream_, which serves the request. False: there are too many, and the client was told so.
  bool OpenStream(const std::string& method);
  // The status line and the headers that all answers have.
  std::string HeadOf(int status, absl::string_view content_type);
  // Tells the router how many bytes objects_ has. False: there are too many in all connections.
  bool ChargeBody();
  // Handles bytes of the body that have arrived.
  void OnBody(std::string_view bytes);
  // True: the rest of the body is read later.
  bool BodyWaits() const;
  // Gives the next request of the body to the owner, if it wants one; the first one opens the call.
  // After the last one, tells the owner that no request follows.
  void Deliver();
  // Gives the gateway the next answer, if it has none.
  void ConvertNext();
  // Discards the queued part of the answer.
  void DropAnswer();
  void OnPageAnswer(StreamCommand* command);
  void OnJsonAnswer(StreamCommand* command);
  void SendChunk(const std::string& text, size_t counted);
  void EndChunks(const absl::Status& status, size_t counted = 0);
  void AnswerError(const absl::Status& status, size_t counted = 0);
  // Queues the whole answer. Reject: the rest of the request is not read.
  void Answer(int status, absl::string_view content_type, std::string body, size_t counted = 0);
  void Reject(int status, absl::string_view text);
  // Call it when the whole answer is in out_: closes the stream, and parses the next request.
  void EndRequest();
  void CloseStream(bool complete);

  const bool pages_only_;
  Http1Parser parser_;
  std::string in_;             // bytes that are not parsed yet
  size_t body_bytes_ = 0;      // of the request
  bool head_seen_ = false;     // OnHead was called
  bool last_ = false;          // the connection ends after this answer
  bool input_ended_ = false;   // the client has closed its side: no request follows after in_
  bool answered_ = false;      // all of the answer is in pieces_
  bool chunks_begun_ = false;  // the head of an answer in chunks is in pieces_

  // The method, if the request is for the JSON gateway. Null: it is for a page.
  const JsonGateway::Method* json_ = nullptr;
  JsonObjects objects_;      // its body
  int64_t charged_ = 0;      // the bytes of objects_ that Router::ChangeRequestBytes knows
  bool converting_ = false;  // the gateway converts a request
  std::optional<std::string> request_;  // a converted request that the owner does not want yet
  std::shared_ptr<void> charge_;        // of request_
  std::deque<StreamCommand> answers_;   // to be converted
  bool converting_answer_ = false;      // the gateway converts one
  bool any_request_ = false;            // the body had one
  bool end_delivered_ = false;          // the owner knows that no request follows
  bool handler_ended_ = false;          // the handler has ended the call with a status

  std::deque<Piece> pieces_;
  std::shared_ptr<GrpcStream> stream_;                       // of the request that is being served
  MonotonicTime waiting_since_;                              // since when the request has been due
  MonotonicTime partial_since_;                              // objects_ has bytes of the next one
  MonotonicTime sent_by_ = MonotonicTime::InfiniteFuture();  // for the answer
};

}  // namespace raftkv::port

#endif  // RAFTKV_SERVER_PORT_HTTP1_CONNECTION_H_
