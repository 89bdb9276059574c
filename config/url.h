#ifndef RAFTKV_CONFIG_URL_H_
#define RAFTKV_CONFIG_URL_H_

// The URLs of members: http://HOST:PORT without a path. HOST is a name, an IPv4 address, or an IPv6
// address in brackets.

#include <optional>
#include <string>

#include "absl/strings/string_view.h"

namespace raftkv {

inline constexpr int kClientPort = 2379;  // etcd's ports
inline constexpr int kPeerPort = 2380;
inline constexpr int kMetricsPort = 2381;

// What is wrong with a URL, and how to fix it. None: nothing is wrong.
struct UrlProblem {
  std::string what;
  std::string remedy;
};
// `example_port`: the port in the remedy.
std::optional<UrlProblem> ProblemOfUrl(absl::string_view url, int example_port);
bool IsUrl(const std::string& url);  // there is no problem

// The others need a valid URL.

// "127.0.0.1:2379" for "http://127.0.0.1:2379".
std::string HostPort(const std::string& url);

// The host and port of a URL. "localhost" becomes 127.0.0.1, so that two URLs of one address
// compare equal.
std::string AddressOf(const std::string& url);

std::string PortOf(const std::string& url);

// Whether the host is the wildcard address, 0.0.0.0 or [::], in any spelling that the system
// accepts, such as 0 or 000.0.0.0.
bool IsWildcard(const std::string& url);

}  // namespace raftkv

#endif  // RAFTKV_CONFIG_URL_H_
