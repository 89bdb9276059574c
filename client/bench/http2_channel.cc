#include "client/bench/http2_channel.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"

namespace raftkv::client {
namespace {

constexpr size_t kPrefixBytes = 5;  // of each message in gRPC: a flag, and the size
constexpr size_t kReadBytes = 64 << 10;
constexpr size_t kOutBytes = 256 << 10;       // of frames that wait for the socket
constexpr uint32_t kWindowBytes = 64u << 20;  // that a service may send before it is read
// A service that has vanished is noticed after this time, even without a call's timeout.
constexpr int kVanishedMs = 13'000;
constexpr int64_t kTimeoutMaxMs = 99'999'999;  // gRPC allows eight digits

nghttp2_nv HeaderField(absl::string_view name, absl::string_view value) {
  return {reinterpret_cast<uint8_t*>(const_cast<char*>(name.data())),
          reinterpret_cast<uint8_t*>(const_cast<char*>(value.data())), name.size(), value.size(),
          NGHTTP2_NV_FLAG_NONE};
}

// A grpc-message has some bytes as % and two hexadecimal digits.
std::string Decoded(absl::string_view text) {
  std::string decoded;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size() && absl::ascii_isxdigit(text[i + 1]) &&
        absl::ascii_isxdigit(text[i + 2])) {
      decoded += absl::HexStringToBytes(text.substr(i + 1, 2));
      i += 2;
    } else {
      decoded += text[i];
    }
  }
  return decoded;
}

}  // namespace

struct Http2Channel::Callbacks {
  // Null: the call was cancelled.
  static Call* Find(void* user, int32_t stream) {
    const auto& calls = static_cast<Http2Channel*>(user)->calls_;
    const auto found = calls.find(stream);
    return found == calls.end() ? nullptr : found->second;
  }

  static ssize_t ReadRequest(nghttp2_session* /*session*/, int32_t stream, uint8_t* to,
                             size_t bytes_max, uint32_t* flags, nghttp2_data_source* /*source*/,
                             void* user) {
    Call* const call = Find(user, stream);
    if (call == nullptr) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    const size_t bytes = std::min(bytes_max, call->request_.size() - call->sent_);
    std::memcpy(to, call->request_.data() + call->sent_, bytes);
    call->sent_ += bytes;
    if (call->sent_ == call->request_.size()) *flags |= NGHTTP2_DATA_FLAG_EOF;
    return static_cast<ssize_t>(bytes);
  }

  static int OnData(nghttp2_session* /*session*/, uint8_t /*flags*/, int32_t stream,
                    const uint8_t* data, size_t size, void* user) {
    Call* const call = Find(user, stream);
    if (call != nullptr) call->response_.append(reinterpret_cast<const char*>(data), size);
    return 0;
  }

  static int OnHeader(nghttp2_session* /*session*/, const nghttp2_frame* frame, const uint8_t* name,
                      size_t name_size, const uint8_t* value, size_t value_size, uint8_t /*flags*/,
                      void* user) {
    const absl::string_view key(reinterpret_cast<const char*>(name), name_size);
    const absl::string_view text(reinterpret_cast<const char*>(value), value_size);
    Call* const call = Find(user, frame->hd.stream_id);
    if (call == nullptr) return 0;
    if (key == "grpc-status") {
      call->grpc_status_.assign(text.data(), text.size());
    } else if (key == "grpc-message") {
      call->grpc_message_ = Decoded(text);
    } else if (key == ":status" && !absl::SimpleAtoi(text, &call->http_status_)) {
      call->http_status_ = 0;
    }
    return 0;
  }

  static int OnFrame(nghttp2_session* /*session*/, const nghttp2_frame* frame, void* user) {
    if (frame->hd.type == NGHTTP2_SETTINGS) {
      static_cast<Http2Channel*>(user)->settings_arrived_ = true;
    }
    return 0;
  }

  // Also for a request that nghttp2 does not send, because the service has announced that it stops.
  static int OnClose(nghttp2_session* /*session*/, int32_t stream, uint32_t error, void* user) {
    if (Call* const call = Find(user, stream)) static_cast<Http2Channel*>(user)->OnEnd(call, error);
    return 0;
  }
};

bool Http2Channel::Call::Parse(google::protobuf::MessageLite* response) const {
  return response_.size() >= kPrefixBytes &&
         response->ParseFromArray(response_.data() + kPrefixBytes,
                                  static_cast<int>(response_.size() - kPrefixBytes));
}

Http2Channel::Http2Channel(std::string address, absl::Duration timeout)
    : address_(std::move(address)),
      timeout_(absl::StrCat(
          std::clamp<int64_t>(absl::ToInt64Milliseconds(timeout), 1, kTimeoutMaxMs), "m")) {}

Http2Channel::~Http2Channel() { Lose("closed"); }

absl::Status Http2Channel::Resolve() {
  absl::string_view host = absl::string_view(address_).substr(0, address_.rfind(':'));
  const std::string port = address_.substr(std::min(host.size() + 1, address_.size()));
  if (absl::ConsumePrefix(&host, "[")) absl::ConsumeSuffix(&host, "]");  // IPv6
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int error = getaddrinfo(std::string(host).c_str(), port.c_str(), &hints, &found);
  if (error != 0) return absl::UnavailableError(gai_strerror(error));
  resolved_.reset(found);
  return absl::OkStatus();
}

absl::Status Http2Channel::Connect(absl::Duration timeout) {
  const absl::Time deadline = absl::Now() + timeout;
  absl::Status status = Resolve();
  int left = 0;  // addresses of the name
  for (const addrinfo* each = resolved_.get(); each != nullptr; each = each->ai_next) ++left;
  for (target_ = resolved_.get(); target_ != nullptr; target_ = target_->ai_next) {
    const absl::Time now = absl::Now();
    status = AwaitSettings(now + (deadline - now) / left--);
    if (status.ok()) return status;
  }
  return status;
}

absl::Status Http2Channel::AwaitSettings(absl::Time deadline) {
  if (!Open()) return absl::UnavailableError(std::strerror(errno));
  for (;;) {
    Flush();
    if (fd_ < 0) return absl::UnavailableError("the connection was closed");
    if (settings_arrived_) return absl::OkStatus();
    const int64_t left = absl::ToInt64Milliseconds(deadline - absl::Now());
    if (left <= 0) {
      Lose("no settings");
      return absl::DeadlineExceededError("no answer");
    }
    pollfd ready = {fd_, static_cast<int16_t>(WantsToWrite() ? POLLIN | POLLOUT : POLLIN), 0};
    poll(&ready, 1, static_cast<int>(std::min<int64_t>(left, 1000)));
    if (!connecting_) Receive();
  }
}

// Begins to connect to target_. False: that failed at once.
bool Http2Channel::Open() {
  fd_ = socket(target_->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd_ < 0) return false;
  const int yes = 1;
  setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
  setsockopt(fd_, IPPROTO_TCP, TCP_USER_TIMEOUT, &kVanishedMs, sizeof(kVanishedMs));
  if (connect(fd_, target_->ai_addr, target_->ai_addrlen) != 0 && errno != EINPROGRESS) {
    close(std::exchange(fd_, -1));
    return false;
  }
  connecting_ = true;
  settings_arrived_ = false;
  nghttp2_session_callbacks* callbacks = nullptr;
  nghttp2_session_callbacks_new(&callbacks);
  nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, Callbacks::OnData);
  nghttp2_session_callbacks_set_on_header_callback(callbacks, Callbacks::OnHeader);
  nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, Callbacks::OnFrame);
  nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, Callbacks::OnClose);
  nghttp2_session_client_new(&session_, callbacks, this);
  nghttp2_session_callbacks_del(callbacks);
  const nghttp2_settings_entry settings[] = {{NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
                                             {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, kWindowBytes}};
  nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, settings, std::size(settings));
  nghttp2_session_set_local_window_size(session_, NGHTTP2_FLAG_NONE, 0, kWindowBytes);
  return true;
}

void Http2Channel::Start(Call* call, const char* method,
                         const google::protobuf::MessageLite& request) {
  // The service has announced that it stops, or 2^30 calls were made.
  if (fd_ >= 0 && calls_.empty() && nghttp2_session_check_request_allowed(session_) == 0) {
    Lose("the service closed it");
  }
  if (fd_ < 0 && !Open()) {
    return End(call, {grpc::StatusCode::UNAVAILABLE, std::strerror(errno)});
  }
  call->request_.assign(kPrefixBytes, '\0');
  request.AppendToString(&call->request_);
  const size_t size = call->request_.size() - kPrefixBytes;
  for (size_t i = 1; i < kPrefixBytes; ++i) {
    call->request_[i] = static_cast<char>(size >> (8 * (kPrefixBytes - 1 - i)));
  }
  call->sent_ = 0;
  call->response_.clear();
  call->http_status_ = 0;
  call->grpc_status_.clear();
  call->grpc_message_.clear();
  const std::array<nghttp2_nv, 8> headers = {HeaderField(":method", "POST"),
                                             HeaderField(":scheme", "http"),
                                             HeaderField(":path", method),
                                             HeaderField(":authority", address_),
                                             HeaderField("te", "trailers"),
                                             HeaderField("content-type", "application/grpc"),
                                             HeaderField("user-agent", "raftkv-bench"),
                                             HeaderField("grpc-timeout", timeout_)};
  nghttp2_data_provider provider = {{.ptr = nullptr}, Callbacks::ReadRequest};
  call->stream_ =
      nghttp2_submit_request(session_, nullptr, headers.data(), headers.size(), &provider, nullptr);
  if (call->stream_ < 0) {
    return End(call, {grpc::StatusCode::UNAVAILABLE, nghttp2_strerror(call->stream_)});
  }
  calls_[call->stream_] = call;
}

void Http2Channel::Cancel(Call* call) {
  if (calls_.erase(call->stream_) == 0) return;  // it has just ended
  nghttp2_submit_rst_stream(session_, NGHTTP2_FLAG_NONE, call->stream_, NGHTTP2_CANCEL);
  End(call, {grpc::StatusCode::DEADLINE_EXCEEDED, "Deadline Exceeded"});
}

void Http2Channel::End(Call* call, grpc::Status status) {
  call->stream_ = 0;
  call->status_ = std::move(status);
  ended_.push_back(call);
}

void Http2Channel::OnEnd(Call* call, uint32_t http2_error) {
  calls_.erase(call->stream_);
  int code = 0;
  if (absl::SimpleAtoi(call->grpc_status_, &code)) {
    return End(call, {static_cast<grpc::StatusCode>(code), call->grpc_message_});
  }
  if (call->http_status_ != 200 && call->http_status_ != 0) {
    const std::string why = absl::StrCat("the answer has the HTTP status ", call->http_status_);
    return End(call, {grpc::StatusCode::UNKNOWN, why});
  }
  const bool refused = http2_error == NGHTTP2_REFUSED_STREAM;
  End(call, {refused ? grpc::StatusCode::UNAVAILABLE : grpc::StatusCode::UNKNOWN,
             absl::StrCat("the call ended with ", nghttp2_http2_strerror(http2_error))});
}

void Http2Channel::TakeEnded(std::vector<Call*>* ended) {
  ended->insert(ended->end(), ended_.begin(), ended_.end());
  ended_.clear();
}

bool Http2Channel::Connected() {
  pollfd ready = {fd_, POLLOUT, 0};
  if (poll(&ready, 1, 0) <= 0) return false;
  int error = 0;
  socklen_t size = sizeof(error);
  getsockopt(fd_, SOL_SOCKET, SO_ERROR, &error, &size);
  if (error == 0) {
    connecting_ = false;
  } else {
    Lose(std::strerror(error));
  }
  return error == 0;
}

// False: the connection was lost.
bool Http2Channel::FillOut() {
  if (sent_ >= kOutBytes) out_.erase(0, std::exchange(sent_, 0));
  while (out_.size() - sent_ < kOutBytes) {
    const uint8_t* data = nullptr;
    const ssize_t size = nghttp2_session_mem_send(session_, &data);
    if (size < 0) Lose(nghttp2_strerror(static_cast<int>(size)));
    if (size <= 0) return size == 0;
    out_.append(reinterpret_cast<const char*>(data), static_cast<size_t>(size));
  }
  return true;
}

void Http2Channel::Flush() {
  if (fd_ < 0 || (connecting_ && !Connected())) return;
  while (FillOut() && sent_ < out_.size()) {
    const ssize_t sent =
        send(fd_, out_.data() + sent_, out_.size() - sent_, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && errno == EAGAIN) return;
    if (sent < 0 && errno != EINTR) return Lose(std::strerror(errno));
    sent_ += static_cast<size_t>(std::max<ssize_t>(sent, 0));
    if (sent_ == out_.size()) {
      out_.clear();
      sent_ = 0;
    }
  }
}

void Http2Channel::Receive() {
  std::array<uint8_t, kReadBytes> bytes;
  while (fd_ >= 0) {
    const ssize_t got = recv(fd_, bytes.data(), bytes.size(), MSG_DONTWAIT);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) return;
    if (got < 0) return Lose(std::strerror(errno));
    if (got == 0) return Lose("the service closed it");
    const ssize_t used = nghttp2_session_mem_recv(session_, bytes.data(), static_cast<size_t>(got));
    if (used < 0) return Lose(nghttp2_strerror(static_cast<int>(used)));
    if (!nghttp2_session_want_read(session_) && !nghttp2_session_want_write(session_)) {
      return Lose("the service closed it");
    }
    if (static_cast<size_t>(got) < bytes.size()) return;
  }
}

void Http2Channel::Lose(absl::string_view why) {
  if (fd_ >= 0) close(std::exchange(fd_, -1));
  if (session_ != nullptr) nghttp2_session_del(std::exchange(session_, nullptr));
  connecting_ = false;
  out_.clear();
  sent_ = 0;
  for (const auto& [stream, call] : std::exchange(calls_, {})) {
    End(call, {grpc::StatusCode::UNAVAILABLE, std::string(why)});
  }
}

}  // namespace raftkv::client
