#ifndef RAFTKV_SERVER_PORT_HTTP1_PARSER_H_
#define RAFTKV_SERVER_PORT_HTTP1_PARSER_H_

// Parses the requests that one client sends over HTTP/1, one after the other, with Boost.Beast.

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

namespace raftkv::port {

// The first line and the headers of a request.
struct Http1Head {
  std::string method;  // "GET"
  std::string path;    // of the target, up to the "?"
  std::string query;   // of the target, after the "?"
  std::string authorization;
  // The metadata that handlers read (proto/etcd/metadata.h), from the gateway's headers for it.
  std::vector<std::pair<std::string, std::string>> metadata;
  bool keep_alive = false;        // the client wants to send further requests
  bool chunks = false;            // the client understands chunks: HTTP/1.1
  bool expects_continue = false;  // the client waits for "100 Continue" before it sends the body
};

class Http1Parser {
 public:
  // The limit of the first line and the headers together.
  static constexpr size_t kHeadBytesMax = 16 << 10;

  Http1Parser();
  ~Http1Parser();

  // Parses the first bytes of `bytes`, up to the end of the head or of the request at most. Returns
  // how many were used. 0: more are needed. InvalidArgument: this is not HTTP/1;
  // ResourceExhausted: the head is too long.
  absl::StatusOr<size_t> Parse(std::string_view bytes);
  bool has_head() const;  // head() is complete
  bool complete() const;  // the body too
  const Http1Head& head() const;
  // The bytes of the body since the last call.
  std::string TakeBody();
  // Makes it ready for the next request.
  void Reset();

 private:
  class Beast;
  std::unique_ptr<Beast> beast_;
};

}  // namespace raftkv::port

#endif  // RAFTKV_SERVER_PORT_HTTP1_PARSER_H_
