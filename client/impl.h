// Sends a client's requests to a member: over the network (cluster_impl.h), or within the process
// (server/embedded/local_client.h).
#ifndef RAFTKV_CLIENT_IMPL_H_
#define RAFTKV_CLIENT_IMPL_H_

#include <google/protobuf/message.h>

#include <cstddef>
#include <memory>
#include <string>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "client/raftkv.h"
#include "client/request.h"
#include "proto/etcd/rpc.pb.h"

namespace raftkv::client {

// The response has the type that the request names.
using MessagePtr = std::unique_ptr<google::protobuf::Message>;
using MessageCallback = absl::AnyInvocable<void(absl::StatusOr<MessagePtr>)>;

class Client::Impl {
 public:
  virtual ~Impl() = default;

  virtual absl::StatusOr<MessagePtr> Call(const AnyRequest& request,
                                          const CallOptions& options) = 0;
  virtual void Start(std::shared_ptr<const AnyRequest> request, const CallOptions& options,
                     MessageCallback done) = 0;
  virtual absl::StatusOr<std::unique_ptr<Watcher>> Watch(etcdserverpb::WatchCreateRequest request,
                                                         const CallOptions& options) = 0;
  virtual absl::Status Snapshot(const SnapshotSink& sink) = 0;
  // See Client::Limited.
  virtual std::unique_ptr<Impl> Limited(size_t answer_bytes) const = 0;
  // The client is about to be destroyed. Ends what uses it.
  virtual void End() {}
};

// Makes an Impl that sends over the network to one member. `client_url`: "http://host:port". Of the
// options, `endpoints` and `exactly_once` are not used.
std::unique_ptr<Client::Impl> ConnectToMember(const std::string& client_url, Options options);

}  // namespace raftkv::client

#endif  // RAFTKV_CLIENT_IMPL_H_
