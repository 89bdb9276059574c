#include "tests/e2e/raw_http2.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace raftkv::e2e {

namespace {

std::string BigEndian(uint64_t value, int bytes) {
  std::string text;
  for (int i = bytes - 1; i >= 0; --i) text.push_back(static_cast<char>(value >> (8 * i)));
  return text;
}

// HPACK: literal, not indexed, not Huffman coded.
std::string Header(const std::string& name, const std::string& value) {
  return absl::StrCat(BigEndian(0, 1), BigEndian(name.size(), 1), name, BigEndian(value.size(), 1),
                      value);
}

}  // namespace

std::string Frame(char type, char flags, uint32_t stream, const std::string& payload) {
  return absl::StrCat(BigEndian(payload.size(), 3), std::string({type, flags}),
                      BigEndian(stream, 4), payload);
}

std::string Preface() { return "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + Frame(kSettings, 0, 0, ""); }

std::string CallHeaders(uint32_t stream, const std::string& path, const std::string& timeout) {
  std::string headers = Header(":method", "POST") + Header(":scheme", "http") +
                        Header(":path", path) + Header(":authority", "test") +
                        Header("te", "trailers") + Header("content-type", "application/grpc");
  if (!timeout.empty()) headers += Header("grpc-timeout", timeout);
  return Frame(kHeaders, kEndHeaders, stream, headers);
}

std::string MessageData(uint32_t stream, const std::string& bytes, size_t length, bool last) {
  const std::string all = BigEndian(0, 1) + BigEndian(length, 4) + bytes;
  constexpr size_t kFrameMax = 16384;
  std::string frames;
  for (size_t at = 0; at < all.size(); at += kFrameMax) {
    const bool end = last && at + kFrameMax >= all.size();
    frames += Frame(kData, end ? kEndStream : 0, stream, all.substr(at, kFrameMax));
  }
  return frames;
}

RawConnection::RawConnection(const std::string& address) {
  fd_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in to = {};
  to.sin_family = AF_INET;
  const size_t colon = address.rfind(':');
  int port = 0;
  EXPECT_TRUE(absl::SimpleAtoi(address.substr(colon + 1), &port));
  to.sin_port = htons(static_cast<uint16_t>(port));
  inet_pton(AF_INET, address.substr(0, colon).c_str(), &to.sin_addr);
  EXPECT_EQ(connect(fd_, reinterpret_cast<sockaddr*>(&to), sizeof(to)), 0);
  const timeval send_timeout = {.tv_sec = 20, .tv_usec = 0}, read_timeout = {10, 0};
  setsockopt(fd_, SOL_SOCKET, SO_SNDTIMEO, &send_timeout, sizeof(send_timeout));
  setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &read_timeout, sizeof(read_timeout));
}

RawConnection::~RawConnection() { close(fd_); }

bool RawConnection::Send(const std::string& bytes) {
  for (size_t sent = 0; sent < bytes.size();) {
    const ssize_t count = send(fd_, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
    if (count <= 0) return false;
    sent += static_cast<size_t>(count);
  }
  return true;
}

std::string RawConnection::ReadAll() {
  std::string all;
  char bytes[4096];
  for (ssize_t count = 0; (count = recv(fd_, bytes, sizeof(bytes), 0)) > 0;) {
    all.append(bytes, static_cast<size_t>(count));
  }
  return all;
}

std::string RawConnection::ReadUntil(const std::string& text) {
  std::string all;
  char bytes[4096];
  while (all.find(text) == std::string::npos) {
    const ssize_t count = recv(fd_, bytes, sizeof(bytes), 0);
    if (count <= 0) break;
    all.append(bytes, static_cast<size_t>(count));
  }
  return all;
}

}  // namespace raftkv::e2e
