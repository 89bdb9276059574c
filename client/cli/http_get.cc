#include "client/cli/http_get.h"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <exception>

#include "absl/strings/str_cat.h"

namespace raftkv::client {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;

constexpr size_t kBodyMax = 16 << 20;

asio::awaitable<http::response<http::string_body>> Get(std::string host, std::string port,
                                                       std::string target) {
  const auto executor = co_await asio::this_coro::executor;
  asio::ip::tcp::resolver resolver(executor);
  const auto found = co_await resolver.async_resolve(host, port, asio::use_awaitable);
  asio::ip::tcp::socket socket(executor);
  for (const auto& each : found) {
    boost::system::error_code failed;
    socket.close(failed);
    co_await socket.async_connect(each.endpoint(),
                                  asio::redirect_error(asio::use_awaitable, failed));
    if (!failed) break;
  }
  http::request<http::empty_body> request(http::verb::get, target, 11);
  request.set(http::field::host, host);
  request.set(http::field::connection, "close");
  co_await http::async_write(socket, request, asio::use_awaitable);
  boost::beast::flat_buffer buffer;
  http::response_parser<http::string_body> parser;
  parser.body_limit(kBodyMax);
  co_await http::async_read(socket, buffer, parser, asio::use_awaitable);
  co_return parser.release();
}

}  // namespace

absl::StatusOr<std::string> HttpGet(const std::string& address, const std::string& target,
                                    absl::Duration limit) {
  const size_t colon = address.rfind(':');
  if (colon == address.npos) return absl::InvalidArgumentError(absl::StrCat("no port: ", address));
  std::string host = address.substr(0, colon);
  if (host.size() > 2 && host.front() == '[') host = host.substr(1, host.size() - 2);  // IPv6

  absl::StatusOr<std::string> result = absl::DeadlineExceededError("no answer");
  asio::io_context context(1);
  asio::co_spawn(context, Get(host, address.substr(colon + 1), target),
                 [&](std::exception_ptr failed, http::response<http::string_body> response) {
                   if (failed != nullptr) {
                     result = absl::UnavailableError("cannot read the page");
                   } else if (response.result() != http::status::ok) {
                     result = absl::UnavailableError(absl::StrCat(response.result_int()));
                   } else {
                     result = std::move(response.body());
                   }
                 });
  context.run_for(absl::ToChronoNanoseconds(limit));
  return result;
}

}  // namespace raftkv::client
