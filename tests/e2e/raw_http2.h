#ifndef RAFTKV_TESTS_E2E_RAW_HTTP2_H_
#define RAFTKV_TESTS_E2E_RAW_HTTP2_H_

// HTTP/2 frames over a socket, for what no client library would send.

#include <cstdint>
#include <string>

namespace raftkv::e2e {

inline constexpr char kData = 0, kHeaders = 1, kRstStream = 3, kSettings = 4, kPing = 6,
                      kWindowUpdate = 8;
inline constexpr char kEndStream = 1, kEndHeaders = 4;

std::string Frame(char type, char flags, uint32_t stream, const std::string& payload);
// The first bytes of a connection.
std::string Preface();
// The HEADERS frame of a call of `path`, with the header grpc-timeout unless `timeout` is empty.
std::string CallHeaders(uint32_t stream, const std::string& path, const std::string& timeout = "");
// The DATA frames of a message whose prefix says that it has `length` bytes.
std::string MessageData(uint32_t stream, const std::string& bytes, size_t length, bool last);

// A TCP connection to "host:port".
class RawConnection {
 public:
  explicit RawConnection(const std::string& address);
  ~RawConnection();
  RawConnection(const RawConnection&) = delete;
  RawConnection& operator=(const RawConnection&) = delete;

  int fd() const { return fd_; }
  // False: the other side has closed the connection, or has not read for 20 seconds.
  bool Send(const std::string& bytes);
  // Returns the bytes that arrive until the other side closes the connection, or until none arrive
  // for some seconds.
  std::string ReadAll();
  // Returns the bytes that arrive until they contain `text`, or until none arrive for some seconds.
  std::string ReadUntil(const std::string& text);

 private:
  int fd_ = -1;
};

}  // namespace raftkv::e2e

#endif  // RAFTKV_TESTS_E2E_RAW_HTTP2_H_
