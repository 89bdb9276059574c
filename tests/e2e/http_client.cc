#include "tests/e2e/http_client.h"

#include <cstdlib>
#include <regex>

#include "absl/strings/str_cat.h"
#include "tests/e2e/raw_http2.h"

namespace raftkv::e2e {

std::string Unchunk(const std::string& bytes) {
  std::string all;
  for (size_t at = 0; at < bytes.size();) {
    const size_t end = bytes.find("\r\n", at);
    if (end == std::string::npos) break;
    const size_t size = std::strtoul(bytes.c_str() + at, nullptr, 16);
    if (size == 0) break;
    all += bytes.substr(end + 2, size);
    at = end + 2 + size + 2;
  }
  return all;
}

HttpReply ParseReply(const std::string& bytes) {
  HttpReply reply;
  const size_t end = bytes.find("\r\n\r\n");
  if (bytes.rfind("HTTP/1.1 ", 0) != 0 || end == std::string::npos) return reply;
  reply.status = std::atoi(bytes.c_str() + 9);
  reply.headers = bytes.substr(0, end + 2);
  reply.body = bytes.substr(end + 4);
  const bool chunked = reply.headers.find("Transfer-Encoding: chunked\r\n") != std::string::npos;
  if (chunked) reply.body = Unchunk(reply.body);
  return reply;
}

HttpReply Http(const std::string& address, const std::string& method, const std::string& target,
               const std::string& body, const std::string& headers) {
  RawConnection connection(address);
  std::string request = absl::StrCat(method, " ", target, " HTTP/1.1\r\nHost: ", address,
                                     "\r\nConnection: close\r\n", headers);
  if (method == "POST") absl::StrAppend(&request, "Content-Length: ", body.size(), "\r\n");
  connection.Send(absl::StrCat(request, "\r\n", body));
  return ParseReply(connection.ReadAll());
}

std::string CommonJson(const std::string& json) {
  static const std::regex kIds(R"re("(cluster_id|member_id|raft_term)":"\d+",?)re");
  static const std::regex kComma(R"(,\})");
  return std::regex_replace(std::regex_replace(json, kIds, ""), kComma, "}");
}

}  // namespace raftkv::e2e
