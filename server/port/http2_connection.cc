#include "server/port/http2_connection.h"

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "proto/etcd/metadata.h"
#include "server/port/http1_connection.h"
#include "server/rpc/call.h"

namespace raftkv::port {

namespace {

// The number of CONTINUATION frames of one request's headers. A frame has at most 16 KiB.
constexpr size_t kContinuationsMax = 80;
// SETTINGS, GOAWAY and PRIORITY frames that a connection may send in a second: they cost time for
// each stream.
constexpr int kControlFramesMax = 100;
// The number of bytes that are kept of a header's value, for example of :path.
constexpr size_t kNameMax = 1024;
constexpr size_t kMessageTextMax = 1024;  // of a status
// Some clients of HTTP/2 wait for our settings before they speak. They get them after this time: a
// client that is silent for less may still speak HTTP/1.
constexpr absl::Duration kSilenceMax = absl::Seconds(2);

constexpr char kPlainText[] =
    "This port serves the etcd v3 API as gRPC. Use etcdctl, raftkv or another client of etcd.\n";
constexpr char kPeerText[] =
    "This is the peer port of raftkv, for the other members of the cluster only. Clients use the "
    "client_url of a member.\n";

nghttp2_nv Nv(std::string_view name, std::string_view value) {
  return {reinterpret_cast<uint8_t*>(const_cast<char*>(name.data())),
          reinterpret_cast<uint8_t*>(const_cast<char*>(value.data())), name.size(), value.size(),
          NGHTTP2_NV_FLAG_NONE};
}

std::string_view View(const uint8_t* data, size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

template <typename Strings>
size_t BytesOf(const Strings& pieces) {
  size_t bytes = 0;
  for (const std::string& piece : pieces) bytes += piece.size();
  return bytes;
}

}  // namespace

static bool IsGrpc(std::string_view content_type) {
  constexpr std::string_view kGrpc = "application/grpc";
  if (!content_type.starts_with(kGrpc)) return false;
  content_type.remove_prefix(kGrpc.size());
  return content_type.empty() || content_type[0] == '+' || content_type[0] == ';';
}

// nghttp2 calls these from Read and Write.
struct Http2Connection::Callbacks {
  static Http2Connection* Of(void* user_data) { return static_cast<Http2Connection*>(user_data); }

  static int OnBeginHeaders(nghttp2_session* session, const nghttp2_frame* frame, void* user) {
    if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST) return 0;
    Http2Connection* const c = Of(user);
    const int32_t id = frame->hd.stream_id;
    const bool stranger = c->stranger();
    const bool too_many = stranger && c->streams_.size() >= c->limits_.stranger_streams_max;
    if (too_many || !c->router_->AdmitStream(stranger)) {
      c->Reset(id, NGHTTP2_REFUSED_STREAM);
      return 0;
    }
    auto stream = std::make_shared<GrpcStream>(id, c, c->limits_.message_bytes_max);
    stream->client_address = c->client_address_;
    stream->opened = c->now_;
    nghttp2_session_set_stream_user_data(session, id, stream.get());
    c->streams_.emplace(id, std::move(stream));
    return 0;
  }

  static int OnHeader(nghttp2_session* /*session*/, const nghttp2_frame* frame, const uint8_t* name,
                      size_t name_size, const uint8_t* value, size_t value_size, uint8_t /*flags*/,
                      void* user) {
    if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST) return 0;
    Http2Connection* const c = Of(user);
    GrpcStream* const stream = c->StreamOf(frame->hd.stream_id);
    if (stream == nullptr) return 0;
    c->OnHeader(stream, View(name, name_size), View(value, value_size));
    // OnHeaders rejects a call whose headers are somewhat too large. If they are far too large, the
    // rest is not even decoded.
    const bool far_too_much = stream->header_bytes > 2 * c->limits_.metadata_bytes_max;
    return far_too_much ? NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE : 0;
  }

  static int OnFrame(nghttp2_session* /*session*/, const nghttp2_frame* frame, void* user) {
    Http2Connection* const c = Of(user);
    c->introduced_ = true;  // the first frame is that of the client's settings
    const bool control = frame->hd.type == NGHTTP2_SETTINGS || frame->hd.type == NGHTTP2_GOAWAY ||
                         frame->hd.type == NGHTTP2_PRIORITY;
    if (control && !c->CountControlFrame()) return NGHTTP2_ERR_CALLBACK_FAILURE;
    if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA) return 0;
    GrpcStream* const stream = c->StreamOf(frame->hd.stream_id);
    if (stream == nullptr) return 0;
    if (frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
      c->OnHeaders(stream);
    }
    if ((frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0) c->OnEndOfRequests(stream);
    return 0;
  }

  static int OnDataChunk(nghttp2_session* session, uint8_t /*flags*/, int32_t id,
                         const uint8_t* data, size_t size, void* user) {
    Http2Connection* const c = Of(user);
    nghttp2_session_consume_connection(session, size);
    if (GrpcStream* const stream = c->StreamOf(id); stream != nullptr) {
      c->OnData(stream, View(data, size));
    }
    return 0;
  }

  static int OnStreamClose(nghttp2_session* /*session*/, int32_t id, uint32_t error_code,
                           void* user) {
    Http2Connection* const c = Of(user);
    if (GrpcStream* const stream = c->StreamOf(id); stream != nullptr)
      c->OnClose(stream, error_code);
    return 0;
  }

  // The response is complete. A client that is still sending requests is told to stop.
  static int OnFrameSent(nghttp2_session* session, const nghttp2_frame* frame, void* user) {
    const bool last = (frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA) &&
                      (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    if (last && nghttp2_session_get_stream_remote_close(session, frame->hd.stream_id) == 0) {
      Of(user)->Reset(frame->hd.stream_id, NGHTTP2_NO_ERROR);
    }
    return 0;
  }

  static ssize_t ReadData(nghttp2_session* /*session*/, int32_t /*id*/, uint8_t* buffer,
                          size_t length, uint32_t* flags, nghttp2_data_source* source, void* user) {
    return Of(user)->FillData(static_cast<GrpcStream*>(source->ptr), buffer, length, flags);
  }

  static const nghttp2_session_callbacks* Table() {
    static const nghttp2_session_callbacks* const table = [] {
      nghttp2_session_callbacks* made = nullptr;
      CHECK_EQ(nghttp2_session_callbacks_new(&made), 0);
      nghttp2_session_callbacks_set_on_begin_headers_callback(made, OnBeginHeaders);
      nghttp2_session_callbacks_set_on_header_callback(made, OnHeader);
      nghttp2_session_callbacks_set_on_frame_recv_callback(made, OnFrame);
      nghttp2_session_callbacks_set_on_data_chunk_recv_callback(made, OnDataChunk);
      nghttp2_session_callbacks_set_on_stream_close_callback(made, OnStreamClose);
      nghttp2_session_callbacks_set_on_frame_send_callback(made, OnFrameSent);
      return made;
    }();
    return table;
  }

  static nghttp2_session* NewSession(Http2Connection* c) {
    nghttp2_option* options = nullptr;
    CHECK_EQ(nghttp2_option_new(&options), 0);
    nghttp2_option_set_no_auto_window_update(options, 1);
    // etcdctl 3.4 may send "http://host:port" as :authority. OnHeaders checks what is used.
    nghttp2_option_set_no_http_messaging(options, 1);
    nghttp2_option_set_no_closed_streams(options, 1);  // it would keep thousands of them
    nghttp2_option_set_max_continuations(options, kContinuationsMax);
    nghttp2_option_set_stream_reset_rate_limit(options, c->limits_.resets_burst,
                                               c->limits_.resets_rate);
    nghttp2_session* session = nullptr;
    CHECK_EQ(nghttp2_session_server_new2(&session, Table(), c, options), 0);
    nghttp2_option_del(options);
    return session;
  }
};

Http2Connection::Http2Connection(int fd, std::string client_address, const ConnectionLimits& limits,
                                 Router* router, MonotonicTime now)
    : Connection(fd, std::move(client_address), limits, router, now) {
  session_ = Callbacks::NewSession(this);
  const std::array<nghttp2_settings_entry, 3> settings = {{
      {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, limits.streams_max},
      {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, static_cast<uint32_t>(limits.stream_window)},
      {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, static_cast<uint32_t>(limits.metadata_bytes_max)},
  }};
  nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, settings.data(), settings.size());
  nghttp2_session_set_local_window_size(session_, NGHTTP2_FLAG_NONE, 0, limits.connection_window);
}

Http2Connection::~Http2Connection() {
  for (auto& [id, stream] : absl::flat_hash_map<int32_t, std::shared_ptr<GrpcStream>>(streams_)) {
    OnClose(stream.get(), NGHTTP2_CANCEL);
  }
  nghttp2_session_del(session_);
}

GrpcStream* Http2Connection::StreamOf(int32_t id) const {
  return static_cast<GrpcStream*>(nghttp2_session_get_stream_user_data(session_, id));
}

void Http2Connection::Reset(int32_t stream_id, uint32_t error_code) {
  nghttp2_submit_rst_stream(session_, NGHTTP2_FLAG_NONE, stream_id, error_code);
}

// --- what the client sends

bool Http2Connection::Read(MonotonicTime now) {
  static thread_local std::array<uint8_t, kReadBytes> buffer;
  now_ = now;
  const ssize_t got = recv(fd(), buffer.data(), buffer.size(), 0);
  if (got < 0) return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
  if (got == 0) return false;
  if (draining_) return true;
  if (!speaks_http2_) first_bytes_.append(View(buffer.data(), static_cast<size_t>(got)));
  const ssize_t used = nghttp2_session_mem_recv(session_, buffer.data(), static_cast<size_t>(got));
  if (used == NGHTTP2_ERR_BAD_CLIENT_MAGIC) return limits_.for_peers && AnswerHttp1();
  if (first_bytes_.size() >= NGHTTP2_CLIENT_MAGIC_LEN) {
    speaks_http2_ = true;
    first_bytes_ = {};
  }
  if (used < 0) {
    Write(now);  // a GOAWAY that says what is wrong
    return false;
  }
  // A client that does not read cannot make us queue more than this.
  return nghttp2_session_get_outbound_queue_size(session_) <=
         2 * size_t{limits_.streams_max} + 2000;
}

bool Http2Connection::CountControlFrame() {
  if (now_ - second_ > absl::Seconds(1)) {
    second_ = now_;
    control_frames_ = 0;
  }
  return ++control_frames_ <= kControlFramesMax;
}

void Http2Connection::OnHeader(GrpcStream* stream, std::string_view name, std::string_view value) {
  constexpr size_t kOverhead = 32;  // RFC 9113 §6.5.2
  stream->header_bytes += name.size() + value.size() + kOverhead;
  if (stream->header_bytes > limits_.metadata_bytes_max) return;  // OnHeaders rejects the call
  if (name == ":path") {
    stream->method = value.substr(0, kNameMax);
  } else if (name == ":method") {
    stream->http_method = value.substr(0, kNameMax);
  } else if (name == "content-type") {
    stream->content_type = value.substr(0, kNameMax);
  } else if (name == "grpc-encoding") {
    stream->encoding = value.substr(0, kNameMax);
  } else if (name == "grpc-timeout") {
    stream->timeout = value.substr(0, kNameMax);
  } else if (IsKnownMetadata(name)) {
    // Other keys, and further values of these, are not kept: a few bytes can stand for a megabyte
    // of repeated headers.
    const auto same = [name](const Header& kept) { return kept.first == name; };
    std::vector<Header>& kept = stream->metadata;
    if (std::any_of(kept.begin(), kept.end(), same)) return;
    kept.emplace_back(name, value.substr(0, kNameMax));
  }
}

void Http2Connection::OnHeaders(GrpcStream* stream) {
  if (stream->header_bytes > limits_.metadata_bytes_max) {
    return SendStatus(stream,
                      absl::ResourceExhaustedError(absl::StrCat(
                          "received metadata of more than ", limits_.metadata_bytes_max, " bytes")),
                      {});
  }
  if (stream->http_method != "POST" || !IsGrpc(stream->content_type)) {
    return AnswerPlainHttp(stream);
  }
  if (!stream->timeout.empty()) {
    const auto timeout = wire::ParseTimeout(stream->timeout);
    if (!timeout) return SendStatus(stream, absl::InternalError("malformed grpc-timeout"), {});
    stream->deadline = now_ + *timeout;
  }
  if (!stream->encoding.empty() && !stream->reader.SetEncoding(stream->encoding, limits_.gzip)) {
    return SendStatus(stream,
                      absl::UnimplementedError(absl::StrCat(
                          "grpc: the grpc-encoding \"", stream->encoding,
                          "\" is not supported; use ", limits_.gzip ? "gzip" : "identity")),
                      {});
  }
  const std::shared_ptr<GrpcStream> shared = streams_.at(stream->id);
  if (absl::Status status = router_->Open(shared); !status.ok()) {
    SendStatus(stream, status, {});
  }
}

void Http2Connection::OnData(GrpcStream* stream, std::string_view data) {
  if (stream->ended || stream->owner == nullptr) {
    nghttp2_session_consume_stream(session_, stream->id, data.size());
    return;
  }
  stream->unconsumed += data.size();
  if (!stream->reader.partial()) stream->partial_since = now_;
  stream->reader.Append(data);
  if (!ChangeRequestBytes(static_cast<int64_t>(data.size()), *stream)) {
    SendStatus(stream, TooManyRequests(), {});
    return;
  }
  Deliver(stream);
}

bool Http2Connection::ChangeRequestBytes(int64_t change, const GrpcStream& stream) {
  request_bytes_ += change;
  return router_->ChangeRequestBytes(change, static_cast<int64_t>(stream.reader.bytes()),
                                     request_bytes_, change > 0 && stranger());
}

void Http2Connection::Deliver(GrpcStream* stream) {
  while (!stream->ended && stream->owner->WantsMessage()) {
    std::string message;
    const size_t before = stream->reader.bytes();
    const absl::StatusOr<bool> complete = stream->reader.Next(&message);
    ChangeRequestBytes(static_cast<int64_t>(stream->reader.bytes()) - static_cast<int64_t>(before),
                       *stream);
    if (complete.ok() && *complete) stream->partial_since = now_;
    if (!complete.ok()) return SendStatus(stream, complete.status(), {});
    absl::Status status;
    if (*complete) {
      status = stream->owner->OnMessage(std::move(message));
    } else {
      // Opens the stream's window, so that the rest of the message can arrive.
      nghttp2_session_consume_stream(session_, stream->id, std::exchange(stream->unconsumed, 0));
      if (!stream->requests_ended || std::exchange(stream->end_delivered, true)) return;
      status = stream->owner->OnRequestsEnd(stream->reader.partial());
    }
    if (!status.ok()) return SendStatus(stream, status, {});
    if (!*complete) return;
  }
}

void Http2Connection::OnEndOfRequests(GrpcStream* stream) {
  stream->requests_ended = true;
  if (stream->owner != nullptr) Deliver(stream);
}

void Http2Connection::OnClose(GrpcStream* stream, uint32_t error_code) {
  const bool complete = stream->ended && stream->out.empty() && error_code == NGHTTP2_NO_ERROR;
  if (!complete) stream->gone.store(true, std::memory_order_relaxed);
  if (stream->accepted) accepted_ = true;
  stream->connection = nullptr;
  ChangeRequestBytes(-static_cast<int64_t>(stream->reader.bytes()), *stream);
  const std::shared_ptr<GrpcStream> keep = streams_.at(stream->id);
  streams_.erase(stream->id);
  nghttp2_session_set_stream_user_data(session_, keep->id, nullptr);
  FreeOutput(keep.get());
  router_->OnStreamClosed();
  if (const std::unique_ptr<StreamOwner> owner = std::move(keep->owner); owner != nullptr) {
    owner->OnClosed();
  }
}

bool Http2Connection::MaySpeakHttp1() const {
  return !speaks_http2_ && !first_bytes_.empty() && absl::ascii_isupper(first_bytes_[0]);
}

bool Http2Connection::AnswerHttp1() {
  if (!MaySpeakHttp1()) return false;
  absl::StrAppend(&out_,
                  "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n"
                  "Connection: close\r\nContent-Length: ",
                  std::string_view(kPeerText).size(), "\r\n\r\n", kPeerText);
  StartDraining();
  return true;
}

bool Http2Connection::stranger() const {
  if (!limits_.for_peers || accepted_) return false;
  return std::none_of(streams_.begin(), streams_.end(),
                      [](const auto& stream) { return stream.second->accepted.load(); });
}

std::unique_ptr<Connection> Http2Connection::Successor() {
  if (limits_.for_peers || !MaySpeakHttp1()) return nullptr;
  auto successor =
      std::make_unique<Http1Connection>(ReleaseSocket(), client_address_, limits_, router_, now_);
  successor->Receive(first_bytes_);
  return successor;
}

// --- what is sent to the client

void Http2Connection::Execute(StreamCommand* command) {
  GrpcStream* const stream = command->stream.get();
  CHECK(stream->connection == this);
  if (stream->ended) return router_->OnSent(BytesOf(command->message));
  if (command->deliver) return Deliver(stream);
  if (command->cancel) return DropStream(stream);
  for (std::string& piece : command->message) stream->out.push_back(std::move(piece));
  if (command->status) {
    SendStatus(stream, *command->status, std::move(command->trailers));
  } else {
    Respond(stream);
  }
}

void Http2Connection::SendStatus(GrpcStream* stream, const absl::Status& status,
                                 std::vector<Header> trailers) {
  if (stream->ended) return;
  stream->ended = true;
  stream->sent_by = SentBy(BytesOf(stream->out));
  stream->trailers = std::move(trailers);
  stream->trailers.emplace_back("grpc-status", absl::StrCat(static_cast<int>(status.code())));
  if (!status.message().empty()) {
    stream->trailers.emplace_back(
        "grpc-message",
        wire::PercentEncode(std::string(status.message()).substr(0, kMessageTextMax)));
  }
  if (stream->answering || !stream->out.empty()) return Respond(stream);
  // An answer without a message is one frame of headers.
  std::vector<nghttp2_nv> headers = {Nv(":status", "200"), Nv("content-type", "application/grpc")};
  for (const auto& [name, value] : stream->trailers) headers.push_back(Nv(name, value));
  nghttp2_submit_response(session_, stream->id, headers.data(), headers.size(), nullptr);
}

void Http2Connection::Respond(GrpcStream* stream) {
  if (std::exchange(stream->answering, true)) {
    nghttp2_session_resume_data(session_, stream->id);
    return;
  }
  const std::array<nghttp2_nv, 2> headers = {Nv(":status", "200"),
                                             Nv("content-type", "application/grpc")};
  const nghttp2_data_provider provider = {{.ptr = stream}, Callbacks::ReadData};
  nghttp2_submit_response(session_, stream->id, headers.data(), headers.size(), &provider);
}

void Http2Connection::AnswerPlainHttp(GrpcStream* stream) {
  stream->ended = stream->answering = stream->not_grpc = true;
  stream->sent_by = SentBy(0);
  stream->out.emplace_back(limits_.for_peers ? kPeerText : kPlainText);
  const std::array<nghttp2_nv, 2> headers = {Nv(":status", "415"),
                                             Nv("content-type", "text/plain")};
  const nghttp2_data_provider provider = {{.ptr = stream}, Callbacks::ReadData};
  nghttp2_submit_response(session_, stream->id, headers.data(), headers.size(), &provider);
}

ssize_t Http2Connection::FillData(GrpcStream* stream, uint8_t* to, size_t bytes_max,
                                  uint32_t* flags) {
  if (stream->dropped) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;  // it is being reset
  size_t filled = 0;
  while (filled < bytes_max && !stream->out.empty()) {
    const std::string& piece = stream->out.front();
    const size_t bytes = std::min(bytes_max - filled, piece.size() - stream->out_offset);
    // std::copy_n copies byte by byte, because the types differ.
    std::memcpy(to + filled, piece.data() + stream->out_offset, bytes);
    filled += bytes;
    stream->out_offset += bytes;
    if (stream->out_offset < piece.size()) break;
    stream->out.pop_front();
    stream->out_offset = 0;
  }
  if (filled > 0) {
    if (!stream->not_grpc) router_->OnSent(filled);
    if (stream->owner != nullptr) stream->owner->OnSent(filled);
  }
  if (!stream->out.empty()) return static_cast<ssize_t>(filled);
  if (stream->ended) {
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    if (!stream->not_grpc) {
      *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
      SubmitTrailers(stream);
    }
  } else if (filled == 0) {
    return NGHTTP2_ERR_DEFERRED;
  }
  return static_cast<ssize_t>(filled);
}

void Http2Connection::SubmitTrailers(GrpcStream* stream) {
  std::vector<nghttp2_nv> trailers;
  for (const auto& [name, value] : stream->trailers) trailers.push_back(Nv(name, value));
  nghttp2_submit_trailer(session_, stream->id, trailers.data(), trailers.size());
}

bool Http2Connection::MaySend() const { return speaks_http2_ || now_ - opened_ > kSilenceMax; }

bool Http2Connection::Fill() {
  while (MaySend() && out_.size() < kSendBytes) {
    const uint8_t* data = nullptr;
    const ssize_t size = nghttp2_session_mem_send(session_, &data);
    if (size < 0) return false;
    if (size == 0) break;
    out_.append(reinterpret_cast<const char*>(data), static_cast<size_t>(size));
  }
  return true;
}

bool Http2Connection::EndLate(MonotonicTime now) {
  now_ = now;
  if (!introduced_ && now - opened_ > kIntroductionMax) return false;
  if (Stalls(now)) return false;
  std::vector<GrpcStream*> late;
  for (const auto& [id, stream] : streams_) {
    const bool unsent = stream->ended && now > stream->sent_by;
    if (unsent || (stream->owner != nullptr && stream->owner->IsLate(now))) {
      late.push_back(stream.get());
    }
  }
  for (GrpcStream* stream : late) DropStream(stream);
  return true;
}

void Http2Connection::DropStream(GrpcStream* stream) {
  if (std::exchange(stream->dropped, true)) return;
  stream->ended = true;
  FreeOutput(stream);
  Reset(stream->id, NGHTTP2_CANCEL);
}

void Http2Connection::FreeOutput(GrpcStream* stream) {
  if (!stream->not_grpc) router_->OnSent(BytesOf(stream->out) - stream->out_offset);
  stream->out.clear();
  stream->out_offset = 0;
}

void Http2Connection::AnnounceGoaway() { nghttp2_submit_shutdown_notice(session_); }

void Http2Connection::Goaway() {
  nghttp2_submit_goaway(session_, NGHTTP2_FLAG_NONE,
                        nghttp2_session_get_last_proc_stream_id(session_), NGHTTP2_NO_ERROR,
                        nullptr, 0);
}

}  // namespace raftkv::port
