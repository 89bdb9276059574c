#ifndef RAFTKV_TESTS_BENCH_HTTP2_CLIENT_H_
#define RAFTKV_TESTS_BENCH_HTTP2_CLIENT_H_

// A client of gRPC that runs on the calling thread only: nothing happens between its functions. It
// sends the headers that etcd's Go client sends.

#include <google/protobuf/message.h>
#include <nghttp2/nghttp2.h>

#include <cstdint>
#include <map>
#include <string>

#include "glog/logging.h"

namespace raftkv {

class Http2Client {
 public:
  // Owns `socket`, which does not block.
  explicit Http2Client(int socket);
  ~Http2Client();
  Http2Client(const Http2Client&) = delete;
  Http2Client& operator=(const Http2Client&) = delete;

  // Begins a call of "/package.Service/Method" with its first request, and returns its stream.
  // `only`: no further request follows.
  int32_t Call(const std::string& method, const google::protobuf::Message& request, bool only);
  // Sends a further request.
  void Send(int32_t stream, const google::protobuf::Message& request);

  // Reads what the server has sent.
  void Receive();
  // The next answer of the stream, which must have arrived. A unary call must have ended with the
  // status OK.
  template <typename Answer>
  Answer Take(int32_t stream) {
    Answer answer;
    CHECK(answer.ParseFromString(TakeBytes(stream)));
    return answer;
  }

 private:
  struct Stream {
    bool unary = false;
    std::string out;
    std::string in;
    std::string status;
  };
  struct Callbacks;  // of nghttp2

  void SendQueued();
  std::string TakeBytes(int32_t stream);

  const int socket_;
  nghttp2_session* session_ = nullptr;
  std::map<int32_t, Stream> streams_;
};

}  // namespace raftkv

#endif  // RAFTKV_TESTS_BENCH_HTTP2_CLIENT_H_
