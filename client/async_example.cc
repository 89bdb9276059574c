// Shows the asynchronous calls of the client library: with a callback, a future and a coroutine.
// Usage: raftkv_async_example ENDPOINT [ENDPOINT...]
// Writes, reads and deletes keys under "async-example/". Exits 0 on success.
#include <coroutine>
#include <exception>
#include <future>
#include <iostream>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "client/raftkv.h"

using namespace raftkv::client;  // NOLINT: keeps the example short

namespace {

// A call whose result is a future.
template <typename Result>
std::future<absl::StatusOr<Result>> Future(Client& client, const Request<Result>& request) {
  std::promise<absl::StatusOr<Result>> promise;
  auto future = promise.get_future();
  client.Start(request, [p = std::move(promise)](auto result) mutable { p.set_value(result); });
  return future;
}

// A call for co_await. The coroutine goes on, on the client's thread, when the result is there.
template <typename Result>
class Await {
 public:
  // A constructor, because gcc 12 destroys the members of an aggregate twice in `co_await Await{}`.
  Await(Client& client, Request<Result> request) : client_(client), request_(std::move(request)) {}

  bool await_ready() const { return false; }
  void await_suspend(std::coroutine_handle<> h) {
    client_.Start(request_, [this, h](auto result) { result_ = std::move(result), h.resume(); });
  }
  absl::StatusOr<Result> await_resume() { return *std::move(result_); }

 private:
  Client& client_;
  const Request<Result> request_;
  std::optional<absl::StatusOr<Result>> result_;
};

// A coroutine that starts at once and whose result is a future. Your library of coroutines has a
// better one.
struct Task {
  struct promise_type {
    std::promise<absl::Status> done;
    Task get_return_object() { return {done.get_future()}; }
    std::suspend_never initial_suspend() { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_value(absl::Status status) { done.set_value(std::move(status)); }
    void unhandled_exception() { std::terminate(); }
  };
  std::future<absl::Status> result;
};

Task CopyColour(Client& client) {
  const auto colour = co_await Await(client, GetRequest("async-example/colour"));
  if (!colour.ok()) co_return colour.status();
  if (!*colour) co_return absl::NotFoundError("there is no colour");
  const auto copied = co_await Await(client, PutRequest("async-example/copy", (*colour)->value));
  co_return copied.status();
}

absl::Status Run(Client& client) {
  // Ten writes at the same time.
  std::vector<std::future<absl::StatusOr<PutResult>>> puts;
  for (int i = 0; i < 10; ++i) {
    puts.push_back(Future(client, PutRequest("async-example/" + std::to_string(i), "x")));
  }
  puts.push_back(Future(client, PutRequest("async-example/colour", "blue")));
  for (auto& put : puts) {
    if (const auto result = put.get(); !result.ok()) return result.status();
  }
  if (absl::Status status = CopyColour(client).result.get(); !status.ok()) return status;

  std::promise<void> printed;
  client.Start(RangeRequest(Keys::Prefix("async-example/")),
               [&printed](absl::StatusOr<RangeResult> range) {
                 if (range.ok()) {
                   for (const auto& kv : range->kvs)
                     std::cout << kv.key << " = " << kv.value << "\n";
                 }
                 printed.set_value();
               });
  printed.get_future().wait();
  return client.Delete(Keys::Prefix("async-example/")).status();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::cerr << "usage: raftkv_async_example ENDPOINT [ENDPOINT...]\n";
    return 128;
  }
  const auto client = Client::Connect({.endpoints = {argv + 1, argv + argc}});
  const absl::Status status = client.ok() ? Run(**client) : client.status();
  if (!status.ok()) {
    std::cerr << status.message() << "\n";
    return 1;
  }
  return 0;
}
