// Sends a client's requests to the members of a cluster, over the network with gRPC.
#ifndef RAFTKV_CLIENT_CLUSTER_IMPL_H_
#define RAFTKV_CLIENT_CLUSTER_IMPL_H_

#include <grpcpp/support/byte_buffer.h>

#include <atomic>
#include <climits>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "client/async_calls.h"
#include "client/clock.h"
#include "client/endpoint.h"
#include "client/exactly_once.h"
#include "client/failover_call.h"
#include "client/impl.h"
#include "client/writer_threads.h"

namespace raftkv::client {

class ClusterImpl final : public Client::Impl {
 public:
  // `options` has addresses as ParseEndpoint returns them.
  explicit ClusterImpl(const Options& options, int answer_bytes_max = INT_MAX);

  // From now on the writes of `client` belong to a session, so that each takes effect once.
  void StartSession(Client* client) { exactly_once_ = std::make_unique<ExactlyOnce>(client); }

  absl::StatusOr<MessagePtr> Call(const AnyRequest& request, const CallOptions& options) override;
  void Start(std::shared_ptr<const AnyRequest> request, const CallOptions& options,
             MessageCallback done) override;
  absl::StatusOr<std::unique_ptr<Watcher>> Watch(etcdserverpb::WatchCreateRequest request,
                                                 const CallOptions& options) override;
  absl::Status Snapshot(const SnapshotSink& sink) override;
  std::unique_ptr<Impl> Limited(size_t answer_bytes) const override;
  void End() override;

 private:
  // What is reported about a call.
  struct Progress {
    MonotonicTime begin = Now();
    int attempts = 0;
    std::string endpoint;
  };

  FailoverOptions Prepare(const AnyRequest& request, const CallOptions& options) const;
  static absl::StatusOr<grpc::ByteBuffer> Encode(const AnyRequest& request, absl::Duration timeout);
  // Takes the answer of a call that is decided. Adds its attempts and its endpoint to `progress`.
  absl::StatusOr<grpc::ByteBuffer> TakeAnswer(FailoverCall& call, Progress* progress);
  // Decodes the answer, and reports the end of the call.
  absl::StatusOr<MessagePtr> Finish(const AnyRequest& request, const Progress& progress,
                                    absl::StatusOr<grpc::ByteBuffer> answer) const;
  void Report(const char* method, const absl::Status& status, const Progress& progress) const;

  // A call that blocks.
  absl::StatusOr<grpc::ByteBuffer> Send(const FailoverOptions& options,
                                        const grpc::ByteBuffer& bytes, Progress* progress);
  // A write of keys, with exactly_once_.
  absl::StatusOr<grpc::ByteBuffer> Write(const FailoverOptions& options,
                                         const grpc::ByteBuffer& bytes, Progress* progress);
  // Sends the write to all endpoints, again and again, until its outcome is known or the deadline
  // has passed.
  absl::StatusOr<grpc::ByteBuffer> SendInSession(FailoverOptions options,
                                                 const grpc::ByteBuffer& bytes,
                                                 const ExactlyOnce::Write& write,
                                                 MonotonicTime deadline, Progress* progress);
  // A call on the thread of async_. If `bytes` is an error, the call ends with it.
  void StartAsync(std::shared_ptr<const AnyRequest> request, FailoverOptions options,
                  absl::StatusOr<grpc::ByteBuffer> bytes, MessageCallback done);
  void StartWrite(std::shared_ptr<const AnyRequest> request, const CallOptions& options,
                  MessageCallback done);

  const Options options_;
  std::vector<std::unique_ptr<Endpoint>> endpoints_;
  std::unique_ptr<ExactlyOnce> exactly_once_;  // null: writes are sent without a session
  std::atomic<size_t> preferred_{0};           // the endpoint that the next call tries first
  WriterThreads writers_;                      // with exactly_once_
  std::once_flag async_once_;
  std::unique_ptr<AsyncCalls> async_;  // last: it uses the other members
};

}  // namespace raftkv::client

#endif  // RAFTKV_CLIENT_CLUSTER_IMPL_H_
