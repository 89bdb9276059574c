#include "server/join.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "glog/logging.h"
#include "proto/etcd/rpc.grpc.pb.h"
#include "server/clock.h"
#include "server/member_channel.h"
#include "server/peer/cause.h"

namespace raftkv {

namespace {

using etcdserverpb::MemberListRequest;
using etcdserverpb::MemberListResponse;

constexpr absl::Duration kAskFor = absl::Seconds(30);
constexpr absl::Duration kOneAnswer = absl::Seconds(5);
constexpr absl::Duration kPause = absl::Milliseconds(500);

// The answer is linearizable: it has every change that was acknowledged before.
grpc::Status Ask(const MemberConfig& member, MemberListResponse* response) {
  const auto stub = etcdserverpb::Cluster::NewStub(ChannelToMember(member.client_url));
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(absl::Now() + kOneAnswer));
  MemberListRequest request;
  request.set_linearizable(true);
  return stub->MemberList(&context, request, response);
}

std::map<uint64_t, std::string> NamesIn(const MemberListResponse& list) {
  std::map<uint64_t, std::string> names;
  for (const etcdserverpb::Member& member : list.members()) {
    if (!member.name().empty()) names[member.id()] = member.name();
  }
  return names;
}

absl::StatusOr<JoinedCluster> FindSelf(const MemberListResponse& list, const Config& config,
                                       const MemberConfig& self) {
  for (const etcdserverpb::Member& member : list.members()) {
    const auto& urls = member.peerurls();
    if (std::find(urls.begin(), urls.end(), self.peer_url) == urls.end()) continue;
    if (member.name().empty()) {
      return JoinedCluster{list.header().cluster_id(), member.id(), NamesIn(list)};
    }
    // The cluster knows a data directory of this member. A new directory must not replace it: it
    // does not have the votes and acknowledged writes of the old one.
    return absl::FailedPreconditionError(absl::StrFormat(
        "member %x with peer_url %s has run before, with another data directory: start it with "
        "that directory, or replace the member: raftkv member replace %x NEW, where NEW has "
        "another peer_url",
        member.id(), self.peer_url, member.id()));
  }
  for (const etcdserverpb::Member& member : list.members()) {
    if (member.name() != self.name) continue;
    return absl::FailedPreconditionError(absl::StrFormat(
        "cluster \"%s\" reaches member %s at %s, not at %s: if it has moved, run raftkv member "
        "update "
        "%x --peer-urls=%s, and start it with its data directory; if that is lost: raftkv member "
        "replace %x NEW; if this is another member, give it another name",
        config.cluster_name, self.name, absl::StrJoin(member.peerurls(), ","), self.peer_url,
        member.id(), self.peer_url, member.id()));
  }
  return absl::FailedPreconditionError(absl::StrCat(
      "cluster \"", config.cluster_name, "\" has no member with peer_url ", self.peer_url,
      ": add it first: raftkv member add ", self.name, " --peer-urls=", self.peer_url));
}

}  // namespace

absl::StatusOr<JoinedCluster> AskCluster(const Config& config, const MemberConfig& self) {
  if (config.members.size() == 1) {
    return absl::FailedPreconditionError(absl::StrCat(
        "member ", self.name,
        " is to join a running cluster, and the config file names no other "
        "member that it could ask: add a [[member]] with name, client_url and peer_url of one"));
  }
  std::string last;
  std::set<std::string> said;
  for (const MonotonicTime end = MonotonicNow() + kAskFor; MonotonicNow() < end;) {
    for (const MemberConfig& member : config.members) {
      if (&member == &self) continue;
      MemberListResponse response;
      const grpc::Status status = Ask(member, &response);
      if (status.ok()) return FindSelf(response, config, self);
      last = absl::StrCat(member.name, " at ", member.client_url, ": ", WhyNotConnected(status));
      if (said.insert(last).second) LOG(INFO) << "joining: no answer yet from " << last;
    }
    std::this_thread::sleep_for(absl::ToChronoMilliseconds(kPause));
  }
  return absl::DeadlineExceededError(
      absl::StrCat("no member of the config file answered, so this one cannot join (", last,
                   "); check that they run and that the client_url of each is right"));
}

}  // namespace raftkv
