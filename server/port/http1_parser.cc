// In Beast 1.74, parse_chunk_header asserts that five bytes have arrived. Clients may send fewer,
// so assertions are off.
#define BOOST_DISABLE_ASSERTS

#include "server/port/http1_parser.h"

#include <boost/asio/buffer.hpp>
#include <boost/beast/http/basic_parser.hpp>
#include <cstdint>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "proto/etcd/metadata.h"

namespace raftkv::port {

namespace {

namespace beast = boost::beast;
namespace http = boost::beast::http;

// The number of bytes that are kept of a header's value.
constexpr size_t kValueMax = 4096;

// The gateway of etcd turns a header with this prefix into metadata.
constexpr absl::string_view kMetadata = "Grpc-Metadata-";

absl::string_view View(beast::string_view text) { return {text.data(), text.size()}; }

}  // namespace

// It keeps the headers that we use, and no others.
class Http1Parser::Beast final : public http::basic_parser<true> {
 public:
  Beast() {
    header_limit(kHeadBytesMax);
    body_limit(UINT64_MAX);  // the connection limits it
  }

  Http1Head head;
  std::string body;

 private:
  using Error = beast::error_code;

  void on_request_impl(http::verb /*verb*/, beast::string_view method, beast::string_view target,
                       int version, Error& /*error*/) override {
    head.method = std::string(method);
    const size_t question = target.find('?');
    head.path = std::string(target.substr(0, question));
    if (question != beast::string_view::npos) head.query = std::string(target.substr(question + 1));
    head.chunks = version >= 11;
  }
  void on_response_impl(int /*code*/, beast::string_view /*reason*/, int /*version*/,
                        Error& /*error*/) override {}
  void on_field_impl(http::field field, beast::string_view name, beast::string_view value,
                     Error& error) override {
    if (field == http::field::transfer_encoding &&
        !absl::EqualsIgnoreCase(View(value), "chunked")) {
      // Beast would treat this as a request without a body, and parse the body as further requests.
      error = http::error::bad_transfer_encoding;
    } else if (field == http::field::expect) {
      head.expects_continue = absl::EqualsIgnoreCase(View(value), "100-continue");
    } else if (field == http::field::authorization) {
      head.authorization = std::string(value.substr(0, kValueMax));
    } else if (absl::StartsWithIgnoreCase(View(name), kMetadata)) {
      std::string key = absl::AsciiStrToLower(View(name).substr(kMetadata.size()));
      if (!IsKnownMetadata(key)) return;  // a key may repeat: the limit of the head is the bound
      head.metadata.emplace_back(std::move(key), value.substr(0, kValueMax));
    }
  }
  void on_header_impl(Error& /*error*/) override { head.keep_alive = keep_alive(); }
  void on_body_init_impl(const boost::optional<std::uint64_t>& /*length*/,
                         Error& /*error*/) override {}
  std::size_t on_body_impl(beast::string_view bytes, Error& /*error*/) override {
    body.append(bytes.data(), bytes.size());
    return bytes.size();
  }
  void on_chunk_header_impl(std::uint64_t /*size*/, beast::string_view /*extensions*/,
                            Error& /*error*/) override {}
  std::size_t on_chunk_body_impl(std::uint64_t /*left*/, beast::string_view bytes,
                                 Error& error) override {
    return on_body_impl(bytes, error);
  }
  void on_finish_impl(Error& /*error*/) override {}
};

Http1Parser::Http1Parser() : beast_(std::make_unique<Beast>()) {}
Http1Parser::~Http1Parser() = default;

absl::StatusOr<size_t> Http1Parser::Parse(std::string_view bytes) {
  beast::error_code error;
  const size_t used = beast_->put(boost::asio::const_buffer(bytes.data(), bytes.size()), error);
  if (error == http::error::header_limit) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the request's headers have more than ", kHeadBytesMax, " bytes"));
  }
  if (error && error != http::error::need_more) {
    return absl::InvalidArgumentError(absl::StrCat("malformed HTTP request: ", error.message()));
  }
  return used;
}

bool Http1Parser::has_head() const { return beast_->is_header_done(); }
bool Http1Parser::complete() const { return beast_->is_done(); }
const Http1Head& Http1Parser::head() const { return beast_->head; }
std::string Http1Parser::TakeBody() { return std::exchange(beast_->body, {}); }
void Http1Parser::Reset() { beast_ = std::make_unique<Beast>(); }

}  // namespace raftkv::port
