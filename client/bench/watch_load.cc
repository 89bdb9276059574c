#include "client/bench/watch_load.h"

#include <grpcpp/client_context.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "client/endpoint.h"
#include "client/failure.h"
#include "proto/etcd/rpc.grpc.pb.h"

namespace raftkv::client {
namespace {

using etcdserverpb::WatchRequest;
using etcdserverpb::WatchResponse;

int64_t SteadyNanoseconds() {
  return std::chrono::steady_clock::now().time_since_epoch() / std::chrono::nanoseconds(1);
}

// One stream with its watches. Its thread creates the watches and then reads until Stop.
class Stream {
 public:
  Stream(const Connection& connection, std::vector<std::string> keys)
      : address_(connection.address),
        stub_(etcdserverpb::Watch::NewStub(connection.channel)),
        stream_(stub_->Watch(&context_)),
        keys_(std::move(keys)),
        thread_([this] { Read(); }) {}
  ~Stream() { Stop(); }

  // Waits until all watches of the stream are there, or one failed.
  absl::Status WaitUntilCreated() {
    absl::MutexLock lock(&mutex_);
    mutex_.Await(absl::Condition(
        +[](std::optional<absl::Status>* created) { return created->has_value(); }, &created_));
    return *created_;
  }

  uint64_t events() {
    absl::MutexLock lock(&mutex_);
    return delay_.count();
  }

  void Stop() {
    context_.TryCancel();
    if (thread_.joinable()) thread_.join();
  }

  // After Stop.
  const Histogram& delay() const ABSL_NO_THREAD_SAFETY_ANALYSIS { return delay_; }

 private:
  void Read() {
    absl::Status created = absl::OkStatus();
    for (const std::string& key : keys_) {
      created = Create(key);
      if (!created.ok()) break;
    }
    {
      absl::MutexLock lock(&mutex_);
      created_ = created;
    }
    WatchResponse response;
    while (stream_->Read(&response)) {
      const int64_t now = SteadyNanoseconds();
      absl::MutexLock lock(&mutex_);
      for (const mvccpb::Event& event : response.events()) {
        delay_.Add((now - StartOf(event.kv().value())) / 1000);
      }
    }
  }

  absl::Status Create(const std::string& key) {
    WatchRequest request;
    request.mutable_create_request()->set_key(key);
    WatchResponse response;
    if (!stream_->Write(request) || !stream_->Read(&response)) {
      context_.TryCancel();
      return ToError(stream_->Finish(), address_, "Watch.Watch");
    }
    if (!response.created() || response.canceled()) {
      return absl::UnavailableError(
          absl::StrCat(address_, ": a watch was not created: ", response.cancel_reason()));
    }
    return absl::OkStatus();
  }

  const std::string address_;
  grpc::ClientContext context_;
  const std::unique_ptr<etcdserverpb::Watch::Stub> stub_;
  const std::unique_ptr<grpc::ClientReaderWriter<WatchRequest, WatchResponse>> stream_;
  const std::vector<std::string> keys_;
  absl::Mutex mutex_;
  std::optional<absl::Status> created_ ABSL_GUARDED_BY(mutex_);
  Histogram delay_ ABSL_GUARDED_BY(mutex_);
  std::thread thread_;
};

}  // namespace

absl::StatusOr<WatchReport> RunWatchLoad(const WatchLoadOptions& options,
                                         const OnWatching& watching,
                                         const std::function<void(const LoadProgress&)>& progress) {
  const LoadOptions& puts = options.puts;
  std::vector<std::unique_ptr<Connection>> connections;
  for (int i = 0; i < puts.conns; ++i) {
    const auto address = ParseEndpoint(puts.endpoints[i % puts.endpoints.size()]);
    if (!address.ok()) return address.status();
    connections.push_back(std::make_unique<Connection>(*address));
  }
  std::vector<std::unique_ptr<Stream>> streams;
  for (int i = 0; i < options.streams; ++i) {
    std::vector<std::string> keys;
    for (int watch = i; watch < options.watches; watch += options.streams) {
      keys.push_back(KeyOf(puts, watch % puts.key_space));
    }
    streams.push_back(
        std::make_unique<Stream>(*connections[i % connections.size()], std::move(keys)));
  }
  for (const auto& stream : streams) {
    const absl::Status created = stream->WaitUntilCreated();
    if (!created.ok()) return created;
  }
  watching();

  LoadOptions load = puts;
  load.verb = LoadOptions::Verb::kPut;
  load.warm_up = absl::ZeroDuration();
  load.timed_values = true;
  auto report = RunLoad(load, progress);
  if (!report.ok()) return report.status();

  const uint64_t expected = report->latency.count() * (options.watches / puts.key_space);
  uint64_t received = 0;
  const absl::Time end = absl::Now() + options.drain;
  while (true) {
    received = 0;
    for (const auto& stream : streams) received += stream->events();
    if (received >= expected || absl::Now() >= end) break;
    absl::SleepFor(absl::Milliseconds(10));
  }
  WatchReport result{.puts = *std::move(report), .delay = {}, .missing = 0};
  result.missing = expected - std::min(expected, received);
  for (const auto& stream : streams) {
    stream->Stop();
    result.delay.Merge(stream->delay());
  }
  return result;
}

}  // namespace raftkv::client
