#include "tests/e2e/writers.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace raftkv::e2e {

namespace {

constexpr int kShared = 16;
constexpr int kAttempts = 100, kQuorum = 2;

bool NothingWasSent(const grpc::Status& status) {
  return status.error_code() == grpc::StatusCode::UNAVAILABLE &&
         (status.error_message() == "there is no connection available" ||
          status.error_message() == "there is no address available" ||
          // The error of C++ gRPC in a case in which grpc-go uses another connection.
          absl::StartsWith(status.error_message(), "failed to connect to all addresses"));
}

}  // namespace

Writers::Writers(const std::vector<std::string>& addresses, int clients) {
  for (int i = 0; i < clients; ++i) {
    if (i % kShared == 0) {
      Connections& connections = connections_.emplace_back();
      for (const std::string& address : addresses) {
        connections.push_back(std::make_unique<Connection>(address));
      }
    }
    threads_.emplace_back([this, i, &connections = connections_.back()] { Run(i, connections); });
  }
}

bool Writers::WaitFor(int64_t count) {
  const int64_t end = acknowledged_ + count;
  return Eventually(absl::Seconds(30), [&] { return acknowledged_ >= end; });
}

void Writers::StartClock() {
  clock_started_ = 0;  // until the clock is reset, no acknowledgement stops it
  clock_stopped_ = -1;
  clock_started_ = NowNanoseconds();
}

std::optional<absl::Duration> Writers::WaitForAcknowledgement(absl::Duration timeout) {
  if (!Eventually(timeout, [&] { return clock_stopped_ >= 0; })) return std::nullopt;
  return absl::Nanoseconds(clock_stopped_ - clock_started_);
}

absl::Duration Writers::TakeLongestGap() {
  absl::MutexLock lock(&mutex_);
  const int64_t now = NowNanoseconds();
  if (last_acknowledged_ != 0) longest_gap_ = std::max(longest_gap_, now - last_acknowledged_);
  last_acknowledged_ = now;
  return absl::Nanoseconds(std::exchange(longest_gap_, 0));
}

std::map<std::string, int> Writers::Stop() {
  stop_ = true;
  for (std::thread& thread : threads_) {
    if (thread.joinable()) thread.join();
  }
  absl::MutexLock lock(&mutex_);
  return failures_;
}

void Writers::OnAcknowledged(int64_t sent) {
  ++acknowledged_;
  int64_t running = -1;
  const int64_t started = clock_started_;
  if (started > 0 && sent >= started && clock_stopped_ < 0) {
    clock_stopped_.compare_exchange_strong(running, NowNanoseconds());
  }
  absl::MutexLock lock(&mutex_);
  const int64_t now = NowNanoseconds();
  if (last_acknowledged_ != 0) longest_gap_ = std::max(longest_gap_, now - last_acknowledged_);
  last_acknowledged_ = now;
}

void Writers::Run(int client, const Connections& connections) {
  size_t next = client;
  etcdserverpb::PutRequest request;
  request.set_key(absl::StrCat("key", client));
  request.set_value(std::string(100, 'v'));
  for (int attempts = 0; !stop_;) {
    Connection& connection = *connections[next++ % connections.size()];
    // Waiting also lets gRPC connect: nothing else does as long as no call runs.
    if (!connection.channel->WaitForConnected(std::chrono::system_clock::now() +
                                              std::chrono::milliseconds(10))) {
      continue;
    }
    etcdserverpb::PutResponse response;
    const int64_t sent = NowNanoseconds();
    const grpc::Status status = connection.kv->Put(MakeContext().get(), request, &response);
    if (NothingWasSent(status) && ++attempts < kAttempts) {
      if (attempts % kQuorum == 0) absl::SleepFor(absl::Milliseconds(25));
      continue;
    }
    attempts = 0;
    if (status.ok()) {
      OnAcknowledged(sent);
      continue;
    }
    absl::MutexLock lock(&mutex_);
    ++failures_[absl::StrCat(status.error_code(), " ", status.error_message())];
  }
}

}  // namespace raftkv::e2e
