#ifndef RAFTKV_TESTS_E2E_HTTP_CLIENT_H_
#define RAFTKV_TESTS_E2E_HTTP_CLIENT_H_

// Requests over HTTP/1.1, each on a connection of its own.

#include <string>

namespace raftkv::e2e {

struct HttpReply {
  int status = 0;       // 0: there was no answer
  std::string headers;  // the status line and the headers
  std::string body;     // without the framing of chunks
};

// Sends one request to "host:port". `body` is sent with POST. `headers` are further ones, each with
// its "\r\n".
HttpReply Http(const std::string& address, const std::string& method, const std::string& target,
               const std::string& body = "", const std::string& headers = "");
inline HttpReply HttpGet(const std::string& address, const std::string& target) {
  return Http(address, "GET", target);
}

// What an answer's bytes mean.
HttpReply ParseReply(const std::string& bytes);
// The bodies of the chunks in `bytes`, which may end within one.
std::string Unchunk(const std::string& bytes);
// An answer of the JSON gateway without what differs from cluster to cluster in its header.
std::string CommonJson(const std::string& json);

}  // namespace raftkv::e2e

#endif  // RAFTKV_TESTS_E2E_HTTP_CLIENT_H_
