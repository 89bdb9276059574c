#include "server/api/errors.h"

#include "absl/strings/str_cat.h"
#include "server/rpc/call.h"

namespace raftkv::api {

absl::Status NoLeader() { return absl::UnavailableError("etcdserver: no leader"); }

// etcd has no such error: an etcd member that lost its data does not notice it.
absl::Status RejectedByPeers() {
  return absl::UnavailableError(
      "etcdserver: this member lost its data directory and the others reject it; ask another one");
}

absl::Status HasHalted() {
  return absl::UnavailableError(
      "etcdserver: this member has halted, see its endpoint status; ask another one");
}

// etcd has no such error: an etcd member ends when its disk is full.
absl::Status OutOfSpace() {
  return absl::UnavailableError(
      "etcdserver: the disk of this member is full: it only answers serializable reads");
}

absl::Status NotForLearners() {
  return absl::FailedPreconditionError("etcdserver: rpc not supported for learner");
}

// This text is not etcd's. It is the one of grpc-go's balancer when it has no connection for a
// call. It says that nothing was sent, and it is the only text after which etcd's client library
// repeats a write by itself, at another member. Repeating is safe here too, because nothing was
// proposed. A write that was already proposed when the member stops ends with "server
// stopped" instead, which leaves open whether it happened.
absl::Status Stopping() { return absl::UnavailableError("there is no connection available"); }

// etcd's table of codes lacks this error, so its code is Unknown.
absl::Status TransferTimedOut() {
  return absl::UnknownError("etcdserver: request timed out, leader transfer took too long");
}

absl::Status RequestTooLarge() {
  return absl::InvalidArgumentError("etcdserver: request is too large");
}

// etcd has no such error: it answers whatever the size is, and may run out of memory.
absl::Status ResponseTooLarge() {
  return absl::ResourceExhaustedError(
      "etcdserver: response is too large; read it in pages, with a limit");
}

// etcd has no such error: members of an older version would crash at such an entry.
absl::Status NeedsVersion(ClusterVersion in_force, ClusterVersion needs) {
  return absl::UnimplementedError(absl::StrCat("etcdserver: the cluster version is ", in_force,
                                               ", this needs ", needs, ": upgrade all members"));
}

absl::Status ToWire(Fate fate) {
  switch (fate.kind) {
    case Fate::Kind::kApplied:
      return absl::OkStatus();
    case Fate::Kind::kTimedOut:
      return absl::UnavailableError("etcdserver: request timed out");
    case Fate::Kind::kLeaderLost:
      return absl::UnavailableError(
          "etcdserver: request timed out, possibly due to previous leader failure");
    case Fate::Kind::kConnectionLost:
      return absl::UnavailableError(
          "etcdserver: request timed out, possibly due to connection lost");
    case Fate::Kind::kTooManyRequests:
      return TooManyRequests();
    // etcd has no such error: a leader of an older version would crash at such a request.
    case Fate::Kind::kNotSupported:
      return absl::UnimplementedError(
          "etcdserver: the cluster does not know this request; bring all members to one version");
    case Fate::Kind::kStopped:
      return fate.proposed ? absl::UnavailableError("etcdserver: server stopped") : Stopping();
    case Fate::Kind::kNotLeader:
      return absl::FailedPreconditionError("etcdserver: not leader");
    case Fate::Kind::kBadTransferee:
      return absl::FailedPreconditionError("etcdserver: bad leader transferee");
    case Fate::Kind::kRejected:  // server/api/cluster.cc answers with the leader's reason instead
      return absl::UnavailableError("etcdserver: unhealthy cluster");
  }
  return absl::InternalError("unknown fate");
}

// A read has no effect, so it need not tell whether it was proposed; etcd ends it with this text.
absl::Status ReadToWire(Fate fate) {
  return ToWire(fate.kind == Fate::Kind::kStopped ? Fate::kStopped : fate);
}

absl::Status ToWire(const absl::Status& status) {
  if (status.ok()) return status;
  return absl::Status(status.code(), absl::StrCat("etcdserver: ", status.message()));
}

}  // namespace raftkv::api
