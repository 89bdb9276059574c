#include "client/snapshot_call.h"

#include <grpcpp/client_context.h>
#include <grpcpp/completion_queue.h>
#include <grpcpp/support/async_stream.h>

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/clock.h"
#include "client/failure.h"
#include "proto/etcd/rpc.grpc.pb.h"

namespace raftkv::client {
namespace {

constexpr char kSnapshotCall[] = "Maintenance.Snapshot";

// A completion queue on which one operation at a time is in flight.
class Queue {
 public:
  ~Queue() {
    queue_.Shutdown();
    void* tag = nullptr;
    bool ok = false;
    while (queue_.Next(&tag, &ok)) {
    }
  }
  grpc::CompletionQueue* get() { return &queue_; }
  // Waits for the operation. False: it has not ended in time.
  bool Wait(MonotonicTime deadline, bool* ok) {
    void* tag = nullptr;
    return queue_.AsyncNext(&tag, ok, ForGrpc(deadline)) == grpc::CompletionQueue::GOT_EVENT;
  }

 private:
  grpc::CompletionQueue queue_;
};

std::shared_ptr<Connection> Connect(Endpoint* endpoint, absl::Duration timeout, Queue* queue) {
  ConnectAttempt attempt(endpoint, Now() + timeout);
  for (;;) {
    const ConnectAttempt::State state = attempt.Check();
    if (state == ConnectAttempt::State::kReady) return attempt.connection();
    if (state == ConnectAttempt::State::kFailed) return nullptr;
    attempt.NotifyOnChange(queue->get(), queue);
    bool ok = false;
    queue->Wait(MonotonicTime::InfiniteFuture(), &ok);  // some milliseconds
  }
}

absl::Status ReadFrom(Connection* connection, absl::Duration timeout, Queue* queue,
                      const SnapshotSink& sink) {
  const auto stub = etcdserverpb::Maintenance::NewStub(connection->channel);
  grpc::ClientContext context;
  const auto reader = stub->PrepareAsyncSnapshot(&context, {}, queue->get());
  etcdserverpb::SnapshotResponse response;
  absl::Status status;
  bool ok = false;
  const auto wait = [&] {
    if (!queue->Wait(Now() + timeout, &ok)) {
      status = absl::DeadlineExceededError(
          absl::StrCat(connection->address, " sent nothing for ", absl::FormatDuration(timeout)));
      context.TryCancel();
      queue->Wait(MonotonicTime::InfiniteFuture(), &ok);
    }
    return ok && status.ok();
  };
  reader->StartCall(queue);
  bool more = wait();
  while (more) {
    reader->Read(&response, queue);
    more = wait();
    if (more) status = sink(response.blob(), response.remaining_bytes());
    if (!status.ok() && more) {
      context.TryCancel();
      more = false;
    }
  }
  grpc::Status end;
  reader->Finish(&end, queue);
  queue->Wait(MonotonicTime::InfiniteFuture(), &ok);
  if (!status.ok()) return status;
  return end.ok() ? absl::OkStatus() : ToError(end, connection->address, kSnapshotCall);
}

}  // namespace

absl::Status ReadSnapshot(const std::vector<std::unique_ptr<Endpoint>>& endpoints, size_t first,
                          absl::Duration dial_timeout, absl::Duration piece_timeout,
                          const SnapshotSink& sink, std::string* endpoint) {
  Queue queue;
  std::vector<std::string> addresses;
  for (size_t i = 0; i < endpoints.size(); ++i) {
    Endpoint* const next = endpoints[(first + i) % endpoints.size()].get();
    addresses.push_back(next->address());
    const std::shared_ptr<Connection> connection = Connect(next, dial_timeout, &queue);
    if (connection == nullptr) continue;
    *endpoint = connection->address;
    return ReadFrom(connection.get(), piece_timeout, &queue, sink);
  }
  return Unreachable(absl::StrJoin(addresses, ", "));
}

}  // namespace raftkv::client
