#include "server/http2/http1_connection.h"

#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "glog/logging.h"
#include "proto/http.pb.h"
#include "server/rpc/method.h"

namespace raftkv::http2 {

namespace {

constexpr size_t kAheadMax = Http1Parser::kHeadBytesMax + ClientConnection::kReadBytes;
constexpr absl::Duration kIdleMax = absl::Minutes(2);
constexpr absl::Duration kRequestTimeMax = absl::Minutes(2);
constexpr size_t kPrefixBytes = 5;  // of a message (grpc_wire.h)

constexpr absl::string_view kText = "text/plain; charset=utf-8";
constexpr absl::string_view kRootText =
    "This port serves the etcd v3 API: as gRPC for etcdctl, raftkv and other clients of etcd, and "
    "over HTTP the pages /version, /health, /livez and /readyz.\n";

absl::string_view ReasonOf(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 400:
      return "Bad Request";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 413:
      return "Request Entity Too Large";
    case 431:
      return "Request Header Fields Too Large";
    case 503:
      return "Service Unavailable";
    default:
      return "Internal Server Error";
  }
}

std::string Join(const Pieces& pieces) {
  std::string all;
  for (const std::string& piece : pieces) all += piece;
  return all;
}

}  // namespace

Http1Connection::Http1Connection(int fd, std::string peer, const ConnectionLimits& limits,
                                 Router* router, MonotonicTime now)
    : ClientConnection(fd, std::move(peer), limits, router, now), waiting_since_(now) {}

Http1Connection::~Http1Connection() {
  CloseStream(/*complete=*/false);
  for (const Piece& piece : pieces_) router_->OnSent(piece.counted);
}

// --- what the client sends

bool Http1Connection::Read(MonotonicTime now) {
  static thread_local std::array<char, kReadBytes> buffer;
  now_ = now;
  const ssize_t got = recv(fd(), buffer.data(), buffer.size(), 0);
  if (got < 0) return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
  if (got == 0) {
    // A client may close its side and still wait for the answer.
    input_ended_ = last_ = true;
    return stream_ != nullptr && !draining_;
  }
  if (!draining_) Receive({buffer.data(), static_cast<size_t>(got)});
  return true;
}

bool Http1Connection::wants_read() const {
  return draining_ || (!input_ended_ && in_.size() < kAheadMax);
}

void Http1Connection::Receive(std::string_view bytes) {
  if (in_.empty() && !head_seen_) waiting_since_ = now_;
  in_.append(bytes);
  Parse();
}

void Http1Connection::Parse() {
  while (!in_.empty() && !parser_.complete() && !answered_) {
    const absl::StatusOr<size_t> used = parser_.Parse(in_);
    if (!used.ok()) {
      const bool too_long = absl::IsResourceExhausted(used.status());
      return Reject(too_long ? 431 : 400, used.status().message());
    }
    in_.erase(0, *used);
    if (parser_.has_head() && !std::exchange(head_seen_, true)) OnHead();
    body_bytes_ += parser_.TakeBody().size();
    if (body_bytes_ > limits_.message_bytes_max) return Reject(413, "the request is too large");
    if (parser_.complete()) return OnRequest();
    if (*used > 0) continue;
    if (in_.size() >= kAheadMax) Reject(400, "malformed HTTP request");
    return;
  }
}

void Http1Connection::OnHead() {
  if (parser_.head().expects_continue) pieces_.push_back({"HTTP/1.1 100 Continue\r\n\r\n"});
}

void Http1Connection::OnRequest() {
  const Http1Head& head = parser_.head();
  if (!router_->HasPage(head.path)) {
    return Answer(404, kText, std::string(head.path == "/" ? kRootText : "404 page not found\n"));
  }
  if (head.method != "GET") return Answer(405, kText, "Method Not Allowed\n");
  if (!router_->AdmitStream()) return Answer(503, kText, "too many requests\n");
  stream_ = std::make_shared<GrpcStream>(/*the_id=*/0, this, limits_.message_bytes_max);
  stream_->peer = peer();
  stream_->opened = now_;
  stream_->method = absl::StrCat(kPage, head.path);
  proto::HttpRequest request;
  request.set_query(head.query);
  absl::Status status = router_->Open(stream_);
  if (status.ok()) status = stream_->owner->OnMessage(request.SerializeAsString());
  if (status.ok()) status = stream_->owner->OnRequestsEnd(/*damaged=*/false);
  if (!status.ok()) Answer(503, kText, absl::StrCat(status.message(), "\n"));
}

// --- what is sent to the client

void Http1Connection::Execute(Command* command) {
  CHECK(command->stream == stream_ && !answered_ && command->status);
  const std::string message = Join(command->message);
  proto::HttpAnswer answer;
  if (!command->status->ok()) {
    return Answer(503, kText, absl::StrCat(command->status->message(), "\n"), message.size());
  }
  CHECK(answer.ParseFromString(message.substr(kPrefixBytes)));
  Answer(answer.status(), answer.content_type(), std::move(*answer.mutable_body()), message.size());
}

void Http1Connection::Reject(int status, absl::string_view text) {
  last_ = true;
  Answer(status, kText, absl::StrCat(text, "\n"));
}

void Http1Connection::Answer(int status, absl::string_view content_type, std::string body,
                             size_t counted) {
  const Http1Head& head = parser_.head();
  answered_ = true;
  last_ |= !head.keep_alive;
  sent_by_ = SentBy(body.size());
  std::string text =
      absl::StrCat("HTTP/1.1 ", status, " ", ReasonOf(status), "\r\nContent-Type: ", content_type,
                   "\r\nX-Content-Type-Options: nosniff\r\nDate: ",
                   absl::FormatTime("%a, %d %b %Y %H:%M:%S GMT", absl::Now(), absl::UTCTimeZone()),
                   "\r\nContent-Length: ", body.size(), "\r\n");
  if (status == 405) text += "Allow: GET\r\n";
  if (last_) {
    text += "Connection: close\r\n";
  } else if (!head.chunks) {
    text += "Connection: keep-alive\r\n";  // HTTP/1.0
  }
  text += "\r\n";
  if (head.method != "HEAD") text += body;
  pieces_.push_back({std::move(text), counted});
}

bool Http1Connection::Fill() {
  while (out_.size() < kSendBytes && HasMore()) {
    if (pieces_.empty()) {
      EndRequest();
      continue;
    }
    out_ += pieces_.front().bytes;
    router_->OnSent(pieces_.front().counted);
    pieces_.pop_front();
  }
  return true;
}

void Http1Connection::EndRequest() {
  CloseStream(/*complete=*/true);
  answered_ = head_seen_ = false;
  body_bytes_ = 0;
  sent_by_ = MonotonicTime::InfiniteFuture();
  if (last_) return StartDraining();
  waiting_since_ = now_;
  parser_.Reset();
  Parse();
}

void Http1Connection::CloseStream(bool complete) {
  const std::shared_ptr<GrpcStream> stream = std::exchange(stream_, nullptr);
  if (stream == nullptr) return;
  if (!complete) stream->gone.store(true, std::memory_order_relaxed);
  stream->connection = nullptr;
  router_->OnStreamClosed();
  if (const std::unique_ptr<StreamOwner> owner = std::move(stream->owner); owner != nullptr) {
    owner->OnClosed();
  }
}

bool Http1Connection::EndLate(MonotonicTime now) {
  now_ = now;
  if (Stalls(now) || now > sent_by_) return false;
  if (draining_ || answered_ || stream_ != nullptr) return true;
  const bool idle = in_.empty() && !head_seen_;
  const absl::Duration waits = now - waiting_since_;
  if (head_seen_) return waits <= kRequestTimeMax;
  return waits <= (idle && waiting_since_ != opened_ ? kIdleMax : kIntroductionMax);
}

void Http1Connection::Goaway() {
  last_ = true;
  if (stream_ == nullptr && !answered_) StartDraining();
}

}  // namespace raftkv::http2
