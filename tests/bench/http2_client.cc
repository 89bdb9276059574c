#include "tests/bench/http2_client.h"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>
#include <vector>

namespace raftkv {
namespace {

constexpr size_t kPrefixBytes = 5;

nghttp2_nv Header(std::string_view name, std::string_view value) {
  return {reinterpret_cast<uint8_t*>(const_cast<char*>(name.data())),
          reinterpret_cast<uint8_t*>(const_cast<char*>(value.data())), name.size(), value.size(),
          NGHTTP2_NV_FLAG_NONE};
}

std::string Framed(const google::protobuf::Message& message) {
  std::string bytes(kPrefixBytes, '\0');
  CHECK(message.AppendToString(&bytes));
  const size_t size = bytes.size() - kPrefixBytes;
  for (size_t i = 1; i < kPrefixBytes; ++i) {
    bytes[i] = static_cast<char>(size >> (8 * (kPrefixBytes - 1 - i)));
  }
  return bytes;
}

size_t SizeIn(const std::string& bytes) {
  size_t size = 0;
  for (size_t i = 1; i < kPrefixBytes; ++i) size = size << 8 | static_cast<uint8_t>(bytes[i]);
  return size;
}

}  // namespace

struct Http2Client::Callbacks {
  static Http2Client* Of(void* user) { return static_cast<Http2Client*>(user); }

  static ssize_t ReadData(nghttp2_session* /*session*/, int32_t id, uint8_t* to, size_t bytes_max,
                          uint32_t* flags, nghttp2_data_source* /*source*/, void* user) {
    Stream& stream = Of(user)->streams_.at(id);
    const size_t bytes = std::min(bytes_max, stream.out.size());
    if (bytes == 0) return NGHTTP2_ERR_DEFERRED;
    std::copy_n(stream.out.data(), bytes, to);
    stream.out.erase(0, bytes);
    if (stream.unary && stream.out.empty()) *flags |= NGHTTP2_DATA_FLAG_EOF;
    return static_cast<ssize_t>(bytes);
  }

  static int OnData(nghttp2_session* /*session*/, uint8_t /*flags*/, int32_t id,
                    const uint8_t* data, size_t size, void* user) {
    Of(user)->streams_.at(id).in.append(reinterpret_cast<const char*>(data), size);
    return 0;
  }

  static int OnHeader(nghttp2_session* /*session*/, const nghttp2_frame* frame, const uint8_t* name,
                      size_t name_size, const uint8_t* value, size_t value_size, uint8_t /*flags*/,
                      void* user) {
    const std::string_view key(reinterpret_cast<const char*>(name), name_size);
    if (key == "grpc-status") {
      Of(user)
          ->streams_.at(frame->hd.stream_id)
          .status.assign(reinterpret_cast<const char*>(value), value_size);
    }
    return 0;
  }
};

Http2Client::Http2Client(int socket) : socket_(socket) {
  nghttp2_session_callbacks* callbacks = nullptr;
  CHECK_EQ(nghttp2_session_callbacks_new(&callbacks), 0);
  nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, Callbacks::OnData);
  nghttp2_session_callbacks_set_on_header_callback(callbacks, Callbacks::OnHeader);
  CHECK_EQ(nghttp2_session_client_new(&session_, callbacks, this), 0);
  nghttp2_session_callbacks_del(callbacks);
  nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, nullptr, 0);
}

Http2Client::~Http2Client() {
  nghttp2_session_del(session_);
  close(socket_);
}

int32_t Http2Client::Call(const std::string& method, const google::protobuf::Message& request,
                          bool only) {
  const std::array<nghttp2_nv, 8> headers = {Header(":method", "POST"),
                                             Header(":scheme", "http"),
                                             Header(":path", method),
                                             Header(":authority", "127.0.0.1:2379"),
                                             Header("content-type", "application/grpc"),
                                             Header("user-agent", "grpc-go/1.71.1"),
                                             Header("te", "trailers"),
                                             Header("grpc-timeout", "4999914u")};
  nghttp2_data_provider provider = {{.ptr = nullptr}, Callbacks::ReadData};
  const int32_t id =
      nghttp2_submit_request(session_, nullptr, headers.data(), headers.size(), &provider, nullptr);
  CHECK_GT(id, 0);
  streams_[id] = {.unary = only, .out = Framed(request), .in = {}, .status = {}};
  SendQueued();
  return id;
}

void Http2Client::Send(int32_t stream, const google::protobuf::Message& request) {
  streams_.at(stream).out += Framed(request);
  CHECK_EQ(nghttp2_session_resume_data(session_, stream), 0);
  SendQueued();
}

void Http2Client::SendQueued() {
  for (;;) {
    const uint8_t* data = nullptr;
    const ssize_t size = nghttp2_session_mem_send(session_, &data);
    CHECK_GE(size, 0);
    if (size == 0) return;
    CHECK_EQ(send(socket_, data, static_cast<size_t>(size), MSG_NOSIGNAL), size);
  }
}

void Http2Client::Receive() {
  std::vector<uint8_t> bytes(64 << 10);
  for (ssize_t got = 0; (got = recv(socket_, bytes.data(), bytes.size(), 0)) > 0;) {
    CHECK_EQ(nghttp2_session_mem_recv(session_, bytes.data(), static_cast<size_t>(got)), got);
  }
}

std::string Http2Client::TakeBytes(int32_t id) {
  Stream& stream = streams_.at(id);
  CHECK(stream.status.empty() || stream.status == "0") << "status " << stream.status;
  CHECK_GE(stream.in.size(), kPrefixBytes) << "no answer";
  const size_t end = kPrefixBytes + SizeIn(stream.in);
  CHECK_GE(stream.in.size(), end);
  std::string message = stream.in.substr(kPrefixBytes, end - kPrefixBytes);
  stream.in.erase(0, end);
  if (!stream.unary) return message;
  CHECK_EQ(stream.status, "0");
  CHECK(stream.in.empty());
  streams_.erase(id);
  return message;
}

}  // namespace raftkv
