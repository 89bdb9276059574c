#include "server/peer/cause.h"

#include <array>

#include "absl/strings/match.h"
#include "absl/strings/string_view.h"

namespace raftkv {
namespace {

struct Phrase {
  absl::string_view part;  // of gRPC's text
  absl::string_view cause;
};

constexpr absl::string_view kCloses =
    "it closes the connection: it expects TLS, is not a member of raftkv, or has too many "
    "connections";

// The first phrase that the text contains decides.
constexpr std::array kNotConnected = {
    Phrase{"Connection refused", "connection refused: no process listens there"},
    Phrase{"contacting DNS servers", "its name cannot be looked up: no name server answers"},
    Phrase{"Could not contact DNS", "its name cannot be looked up: no name server answers"},
    Phrase{"DNS server returned general failure",
           "its name cannot be looked up: the name server failed"},
    Phrase{"DNS resolution failed", "its name is not found; check its URL and the name server"},
    Phrase{"before receiving SETTINGS",
           "it accepts connections, but does not answer: its process may be stopped or overloaded"},
    Phrase{"HTTP/1", "it is not a member of raftkv: it answers in HTTP/1"},
    Phrase{"http1", "it is not a member of raftkv: it answers in HTTP/1"},
    Phrase{"Deadline Exceeded", "it does not answer in time"},
    Phrase{"imed out", "no answer: its machine is down, or a firewall drops the connection"},
    Phrase{"Timeout", "no answer: its machine is down, or a firewall drops the connection"},
    Phrase{"Connection reset", kCloses},
    Phrase{"Socket closed", kCloses},
};

constexpr std::array kLost = {
    Phrase{"keepalive", "it does not answer any more"},
    Phrase{"ping timeout", "it does not answer any more"},
    Phrase{"Connection reset", "the other side closed it"},
    Phrase{"Broken pipe", "the other side closed it"},
    Phrase{"Socket closed", "the other side closed it"},
    Phrase{"Stream removed", "the other side closed it"},
};

template <size_t kSize>
std::string CauseIn(const std::array<Phrase, kSize>& phrases, const std::string& message) {
  if (absl::StartsWith(message, "etcdserver: ")) return message;  // the other side answered
  for (const Phrase& phrase : phrases) {
    if (absl::StrContains(message, phrase.part)) return std::string(phrase.cause);
  }
  // What the system said, such as "No route to host".
  constexpr absl::string_view kSystem = "Failed to connect to remote host: ";
  const size_t at = message.rfind(std::string(kSystem));
  return at == std::string::npos ? message : message.substr(at + kSystem.size());
}

}  // namespace

std::string WhyNotConnected(const grpc::Status& status) {
  return CauseIn(kNotConnected, status.error_message());
}

std::string WhyLost(const grpc::Status& status) { return CauseIn(kLost, status.error_message()); }

}  // namespace raftkv
