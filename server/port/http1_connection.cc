#include "server/port/http1_connection.h"

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "glog/logging.h"
#include "proto/http.pb.h"
#include "server/port/json_gateway.h"
#include "server/rpc/call.h"
#include "server/rpc/method.h"

namespace raftkv::port {

namespace {

constexpr size_t kAheadMax = Http1Parser::kHeadBytesMax + Connection::kReadBytes;
constexpr absl::Duration kIdleMax = absl::Minutes(2);
constexpr absl::Duration kRequestTimeMax = absl::Minutes(2);
// A request in JSON may be larger than its message, because JSON contains bytes as base64.
constexpr size_t kJsonFactor = 2;

constexpr absl::string_view kText = "text/plain; charset=utf-8";
constexpr absl::string_view kJson = "application/json";
constexpr absl::string_view kRootText =
    "This port serves the etcd v3 API: as gRPC for etcdctl, raftkv and other clients of etcd, and "
    "over HTTP the pages /version, /health, /livez, /readyz and /metrics, and JSON under /v3/.\n";
constexpr absl::string_view kPagesRootText =
    "This port serves the pages /version, /health, /livez, /readyz and /metrics; listen_client_url "
    "serves the etcd v3 API, too.\n";

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
    case 401:
      return "Unauthorized";
    case 403:
      return "Forbidden";
    case 408:
      return "Request Timeout";
    case 409:
      return "Conflict";
    case 429:
      return "Too Many Requests";
    case 501:
      return "Not Implemented";
    case 504:
      return "Gateway Timeout";
    case 503:
      return "Service Unavailable";
    default:
      return "Internal Server Error";
  }
}

std::string Join(const wire::Pieces& pieces) {
  std::string all;
  for (const std::string& piece : pieces) all += piece;
  return all;
}

}  // namespace

Http1Connection::Http1Connection(int fd, std::string client_address, const ConnectionLimits& limits,
                                 Router* router, MonotonicTime now, bool pages_only)
    : Connection(fd, std::move(client_address), limits, router, now),
      pages_only_(pages_only),
      waiting_since_(now) {}

Http1Connection::~Http1Connection() {
  CloseStream(/*complete=*/false);
  DropAnswer();
  objects_ = {};
  ChargeBody();
}

// --- what the client sends

bool Http1Connection::Read(MonotonicTime now) {
  static thread_local std::array<char, kReadBytes> buffer;
  now_ = now;
  const ssize_t got = recv(fd(), buffer.data(), buffer.size(), 0);
  if (got < 0) return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
  if (got == 0) {
    // A client may close its sending direction and still wait for the answer. After that, Read is
    // called again only if the client has closed the other direction, too.
    if (std::exchange(input_ended_, true)) return false;
    return stream_ != nullptr && json_ == nullptr && !draining_;
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
  // What was parsed is erased once, at the end, because a body may have thousands of small chunks.
  size_t parsed = 0;
  const absl::Cleanup erase = [this, &parsed] { in_.erase(0, parsed); };
  while (parsed < in_.size() && !parser_.complete() && !answered_ && !BodyWaits()) {
    const std::string_view rest = std::string_view(in_).substr(parsed);
    const absl::StatusOr<size_t> used = parser_.Parse(rest);
    if (!used.ok()) {
      const bool too_long = absl::IsResourceExhausted(used.status());
      return Reject(too_long ? 431 : 400, used.status().message());
    }
    parsed += *used;
    if (parser_.has_head() && !std::exchange(head_seen_, true)) OnHead();
    OnBody(parser_.TakeBody());
    if (answered_) return;
    if (parser_.complete()) return OnRequest();
    if (*used > 0) continue;
    if (rest.size() >= kAheadMax) Reject(400, "malformed HTTP request");
    return;
  }
}

const JsonGateway::Method* Http1Connection::MethodAt(const std::string& path) const {
  return pages_only_ ? nullptr : router_->json()->Find(path);
}

void Http1Connection::OnHead() {
  const Http1Head& head = parser_.head();
  if (head.method == "POST") json_ = MethodAt(head.path);
  if (head.expects_continue) pieces_.push_back({"HTTP/1.1 100 Continue\r\n\r\n"});
}

void Http1Connection::OnBody(std::string_view bytes) {
  body_bytes_ += bytes.size();
  if (json_ == nullptr) {
    if (body_bytes_ > limits_.message_bytes_max) Reject(413, "the request is too large");
    return;
  }
  if (objects_.bytes() == 0) partial_since_ = now_;
  objects_.Append(bytes);
  if (objects_.bytes() > kJsonFactor * limits_.message_bytes_max) {
    return AnswerError(absl::InvalidArgumentError("etcdserver: request is too large"));
  }
  if (!ChargeBody()) return AnswerError(TooManyRequests());
  Deliver();
}

void Http1Connection::OnRequest() {
  const Http1Head& head = parser_.head();
  if (json_ != nullptr) return Deliver();
  if (MethodAt(head.path) != nullptr) return Answer(405, kText, "Method Not Allowed\n");
  if (!router_->HasPage(head.path)) {
    const absl::string_view text = head.path == "/" && pages_only_   ? kPagesRootText
                                   : head.path == "/"                ? kRootText
                                   : head.path.rfind("/v3/", 0) == 0 ? "Not Found\n"  // as etcd's
                                                                     : "404 page not found\n";
    return Answer(404, kText, std::string(text));
  }
  if (head.method != "GET") return Answer(405, kText, "Method Not Allowed\n");
  OpenPage();
}

bool Http1Connection::OpenStream(const std::string& method) {
  if (!router_->AdmitStream(stranger())) return AnswerError(TooManyRequests()), false;
  stream_ = std::make_shared<GrpcStream>(/*the_id=*/0, this, limits_.message_bytes_max);
  stream_->client_address = client_address();
  stream_->opened = now_;
  stream_->method = method;
  const Http1Head& head = parser_.head();
  stream_->metadata.assign(head.metadata.begin(), head.metadata.end());
  if (!head.authorization.empty())
    stream_->metadata.emplace_back("authorization", head.authorization);
  if (absl::Status status = router_->Open(stream_); !status.ok()) return AnswerError(status), false;
  return true;
}

void Http1Connection::OpenPage() {
  if (!OpenStream(absl::StrCat(kPage, parser_.head().path))) return;
  proto::HttpRequest request;
  request.set_query(parser_.head().query);
  absl::Status status = stream_->owner->OnMessage(request.SerializeAsString());
  if (status.ok()) status = stream_->owner->OnRequestsEnd(/*damaged=*/false);
  if (!status.ok()) AnswerError(status);
}

bool Http1Connection::BodyWaits() const { return converting_ || request_.has_value(); }

void Http1Connection::Deliver() {
  if (answered_ || converting_) return;
  if (request_) {
    if (!stream_->owner->WantsMessage()) return;
    const absl::Status status = stream_->owner->OnMessage(*std::exchange(request_, std::nullopt));
    charge_.reset();
    if (!status.ok()) return AnswerError(status);
  }
  std::string object;
  // If the method has one request, everything after the first object is ignored, as in etcd.
  if (json_->many_requests || !any_request_) {
    const absl::StatusOr<bool> next = objects_.Next(&object);
    if (!next.ok()) return AnswerError(next.status());
    ChargeBody();
    const bool empty_body = parser_.complete() && !json_->many_requests && objects_.bytes() == 0;
    if (!*next && empty_body) object = "{}";
  }
  const bool ends = object.empty() && parser_.complete();
  if (object.empty() && !ends) return;
  if (stream_ == nullptr && !OpenStream(json_->name)) return;
  if (!ends) {
    any_request_ = converting_ = true;
    partial_since_ = now_;
    return router_->json()->ConvertRequest(stream_, json_, std::move(object));
  }
  if (std::exchange(end_delivered_, true)) return;
  const bool damaged = json_->many_requests ? objects_.bytes() > 0 : !any_request_;
  const absl::Status status = damaged ? absl::InvalidArgumentError("unexpected end of JSON")
                                      : stream_->owner->OnRequestsEnd(/*damaged=*/false);
  if (!status.ok()) AnswerError(status);
}

bool Http1Connection::ChargeBody() {
  const auto bytes = static_cast<int64_t>(objects_.bytes());
  const int64_t change = bytes - std::exchange(charged_, bytes);
  return router_->ChangeRequestBytes(change, bytes, bytes, stranger());
}

// --- what is sent to the client

void Http1Connection::Execute(StreamCommand* command) {
  CHECK(command->stream == stream_);
  if (answered_) return router_->OnSent(UnsentBytes(*command));
  // The gateway first converts an answer to JSON, then posts it here again. It may then have a
  // status of the gateway.
  handler_ended_ |= command->status.has_value() && !command->is_json;
  if (json_ == nullptr) return OnPageAnswer(command);
  if (command->cancel) {
    // An answer in chunks stays incomplete. If the client does not read, EndLate closes
    // the connection soon.
    DropAnswer();
    last_ = answered_ = true;
    sent_by_ = now_;
    return;
  }
  if (command->deliver) {
    Deliver();
  } else if (command->request) {
    converting_ = false;
    if (!command->request->ok()) return AnswerError(command->request->status());
    if ((*command->request)->size() > limits_.message_bytes_max) {
      return AnswerError(absl::InvalidArgumentError("etcdserver: request is too large"));
    }
    request_ = **std::move(command->request);
    charge_ = std::move(command->charge);
    Deliver();
  } else if (command->is_json) {
    converting_answer_ = false;
    OnJsonAnswer(command);
    return ConvertNext();
  } else {
    answers_.push_back(std::move(*command));
    return ConvertNext();
  }
  if (!BodyWaits()) Parse();
}

void Http1Connection::ConvertNext() {
  if (answered_ || answers_.empty() || std::exchange(converting_answer_, true)) return;
  StreamCommand next = std::move(answers_.front());
  answers_.pop_front();
  router_->json()->ConvertAnswer(json_, std::move(next));
}

void Http1Connection::DropAnswer() {
  for (const Piece& piece : pieces_) router_->OnSent(piece.counted);
  pieces_.clear();
  for (const StreamCommand& command : answers_) router_->OnSent(UnsentBytes(command));
  answers_.clear();
}

void Http1Connection::OnPageAnswer(StreamCommand* command) {
  CHECK(command->status);
  const std::string message = Join(command->message);
  if (!command->status->ok()) return AnswerError(*command->status, message.size());
  proto::HttpAnswer answer;
  CHECK(answer.ParseFromString(message.substr(wire::kPrefixBytes)));
  Answer(answer.status(), answer.content_type(), std::move(*answer.mutable_body()), message.size());
}

void Http1Connection::OnJsonAnswer(StreamCommand* command) {
  const bool failed = command->status && !command->status->ok();
  if (!json_->many_responses) {
    if (failed) return AnswerError(*command->status, command->counted);
    return Answer(200, kJson, Join(command->message), command->counted);
  }
  if (failed && !chunks_begun_) return AnswerError(*command->status, command->counted);
  if (!command->message.empty()) {
    SendChunk(absl::StrCat("{\"result\":", Join(command->message), "}\n"), command->counted);
  }
  if (!command->status) return;
  if (!chunks_begun_) return Answer(200, kJson, "");
  EndChunks(*command->status, command->message.empty() ? command->counted : 0);
}

void Http1Connection::EndChunks(const absl::Status& status, size_t counted) {
  if (!status.ok()) SendChunk(JsonError(status, /*in_stream=*/true) + "\n", counted);
  if (parser_.head().chunks) pieces_.push_back({"0\r\n\r\n"});
  answered_ = true;
  sent_by_ = SentBy(0);
}

void Http1Connection::SendChunk(const std::string& text, size_t counted) {
  const bool chunks = parser_.head().chunks;
  if (!std::exchange(chunks_begun_, true)) {
    if (!chunks) last_ = true;  // the end of the connection ends the answer
    pieces_.push_back(
        {HeadOf(200, kJson) + (chunks ? "Transfer-Encoding: chunked\r\n\r\n" : "\r\n")});
  }
  std::string bytes = chunks ? absl::StrCat(absl::Hex(text.size()), "\r\n", text, "\r\n") : text;
  pieces_.push_back({std::move(bytes), counted, /*of_stream=*/true});
}

void Http1Connection::AnswerError(const absl::Status& status, size_t counted) {
  last_ |= !parser_.complete();  // the rest of the request is not read
  if (chunks_begun_) return EndChunks(status, counted);
  if (json_ == nullptr) {
    return Answer(503, kText, absl::StrCat(status.message(), "\n"), counted);
  }
  Answer(HttpStatusOf(status.code()), kJson, JsonError(status, /*in_stream=*/false), counted);
}

void Http1Connection::Reject(int status, absl::string_view text) {
  last_ = true;
  if (chunks_begun_) return EndChunks(absl::InvalidArgumentError(text));
  Answer(status, kText, absl::StrCat(text, "\n"));
}

std::string Http1Connection::HeadOf(int status, absl::string_view content_type) {
  const Http1Head& head = parser_.head();
  last_ |= !head.keep_alive;
  std::string text = absl::StrCat(
      "HTTP/1.1 ", status, " ", ReasonOf(status), "\r\nContent-Type: ", content_type,
      "\r\nX-Content-Type-Options: nosniff\r\nDate: ",
      absl::FormatTime("%a, %d %b %Y %H:%M:%S GMT", absl::Now(), absl::UTCTimeZone()), "\r\n");
  if (status == 405) text += MethodAt(head.path) ? "Allow: POST\r\n" : "Allow: GET\r\n";
  if (last_) {
    text += "Connection: close\r\n";
  } else if (!head.chunks) {
    text += "Connection: keep-alive\r\n";  // HTTP/1.0
  }
  return text;
}

void Http1Connection::Answer(int status, absl::string_view content_type, std::string body,
                             size_t counted) {
  answered_ = true;
  sent_by_ = SentBy(body.size());
  std::string text = HeadOf(status, content_type);
  absl::StrAppend(&text, "Content-Length: ", body.size(), "\r\n\r\n");
  if (parser_.head().method != "HEAD") text += body;
  pieces_.push_back({std::move(text), counted});
}

bool Http1Connection::Fill() {
  while (out_.size() < kSendBytes && HasMore()) {
    if (pieces_.empty()) {
      EndRequest();
      continue;
    }
    // A large piece is moved in parts. It stays counted until its last part is in out_.
    Piece& front = pieces_.front();
    const size_t bytes = std::min(kSendBytes - out_.size(), front.bytes.size() - front.moved);
    out_.append(front.bytes, front.moved, bytes);
    front.moved += bytes;
    if (front.moved < front.bytes.size()) break;
    const Piece piece = std::move(front);
    pieces_.pop_front();
    router_->OnSent(piece.counted);
    const bool open = stream_ != nullptr && stream_->owner != nullptr;
    if (piece.of_stream && open) stream_->owner->OnSent(piece.counted);
  }
  return true;
}

void Http1Connection::EndRequest() {
  CloseStream(handler_ended_);
  answered_ = head_seen_ = chunks_begun_ = false;
  json_ = nullptr;
  converting_ = any_request_ = end_delivered_ = handler_ended_ = converting_answer_ = false;
  request_.reset();
  charge_.reset();
  DropAnswer();
  objects_ = {};
  ChargeBody();
  body_bytes_ = 0;
  sent_by_ = MonotonicTime::InfiniteFuture();
  if (last_ || !parser_.complete()) return StartDraining();
  waiting_since_ = now_;
  parser_.Reset();
  Parse();
  const bool served = answered_ || (stream_ != nullptr && parser_.complete());
  if (input_ended_ && !served) StartDraining();
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
  if (draining_ || answered_) return true;
  if (stream_ != nullptr) {
    // A request that has begun must be completed in time, also if the stream had earlier requests.
    const bool partial =
        json_ != nullptr && !parser_.complete() && !BodyWaits() && objects_.bytes() > 0;
    if (partial && now - partial_since_ > kRequestTimeMax) return false;
    return stream_->owner == nullptr || !stream_->owner->IsLate(now);
  }
  const bool idle = in_.empty() && !head_seen_;
  const absl::Duration waits = now - waiting_since_;
  if (head_seen_) return waits <= kRequestTimeMax;
  return waits <= (idle && waiting_since_ != opened_ ? kIdleMax : kIntroductionMax);
}

void Http1Connection::Goaway() {
  last_ = true;
  if (stream_ == nullptr && !answered_) StartDraining();
}

}  // namespace raftkv::port
