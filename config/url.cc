#include "config/url.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>
#include <cstring>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace raftkv {

namespace {

// Whether `host`, without brackets, is an IPv6 address. If so, fills in `bytes`.
bool ParseIPv6(absl::string_view host, in6_addr* bytes) {
  return inet_pton(AF_INET6, std::string(host).c_str(), bytes) == 1;
}

}  // namespace

std::optional<UrlProblem> ProblemOfUrl(absl::string_view url, int example_port) {
  const UrlProblem no_url = {
      "is not a URL",
      absl::StrCat("write \"http://HOST:PORT\", such as \"http://127.0.0.1:", example_port, "\"")};
  if (absl::StartsWith(url, "https://")) {
    return UrlProblem{"needs TLS, which is not supported yet", "write http:// instead of https://"};
  }
  if (!absl::ConsumePrefix(&url, "http://")) return no_url;
  const absl::string_view address = url.substr(0, url.find('/'));
  const absl::string_view path = url.substr(address.size());
  // A colon within brackets belongs to an IPv6 address.
  const size_t colon =
      std::min(absl::EndsWith(address, "]") ? address.size() : address.rfind(':'), address.size());
  absl::string_view host = address.substr(0, colon);
  bool host_ok = false;
  if (absl::ConsumePrefix(&host, "[") && absl::ConsumeSuffix(&host, "]")) {
    in6_addr bytes;
    host_ok = ParseIPv6(host, &bytes);
  } else {
    host_ok = !host.empty() && std::all_of(host.begin(), host.end(), [](char c) {
      return absl::ascii_isalnum(c) || c == '.' || c == '-' || c == '_';
    });
  }
  const absl::string_view port = address.substr(std::min(colon + 1, address.size()));
  if (!host_ok || !std::all_of(port.begin(), port.end(), absl::ascii_isdigit)) return no_url;
  if (port.empty()) {
    return UrlProblem{"has no port", absl::StrCat("write \"http://", address.substr(0, colon),
                                                  ":PORT\", such as port ", example_port)};
  }
  if (!path.empty()) {
    return UrlProblem{"has a path", absl::StrCat("remove \"", path, "\" after the port")};
  }
  int number = 0;
  if (absl::SimpleAtoi(port, &number) && number >= 1 && number <= 65535) return std::nullopt;
  return UrlProblem{"has a port that is out of range", "choose a port from 1 to 65535"};
}

bool IsUrl(const std::string& url) { return !ProblemOfUrl(url, kClientPort); }

std::string HostPort(const std::string& url) { return url.substr(std::strlen("http://")); }

std::string AddressOf(const std::string& url) {
  const std::string address = absl::AsciiStrToLower(HostPort(url));
  return absl::StartsWith(address, "localhost:")
             ? absl::StrCat("127.0.0.1:", absl::StripPrefix(address, "localhost:"))
             : address;
}

std::string PortOf(const std::string& url) { return url.substr(url.rfind(':') + 1); }

bool IsWildcard(const std::string& url) {
  absl::string_view host(url);
  absl::ConsumePrefix(&host, "http://");
  host = host.substr(0, host.rfind(':'));
  if (absl::ConsumePrefix(&host, "[") && absl::ConsumeSuffix(&host, "]")) {
    in6_addr bytes;
    const in6_addr wildcard = {};
    return ParseIPv6(host, &bytes) && std::memcmp(&bytes, &wildcard, sizeof(bytes)) == 0;
  }
  in_addr bytes;
  return inet_aton(std::string(host).c_str(), &bytes) != 0 && bytes.s_addr == INADDR_ANY;
}

}  // namespace raftkv
