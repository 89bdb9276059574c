// etcdserverpb.Cluster: the members of the cluster and their changes. The leader checks a change
// and proposes it together with the resulting configuration (server/member/member_changes.h).

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "config/url.h"
#include "server/api/edge.h"
#include "server/api/member_calls.h"

namespace raftkv::api {

namespace {

using etcdserverpb::MemberAddRequest;
using etcdserverpb::MemberAddResponse;
using etcdserverpb::MemberListRequest;
using etcdserverpb::MemberListResponse;
using etcdserverpb::MemberPromoteRequest;
using etcdserverpb::MemberPromoteResponse;
using etcdserverpb::MemberRemoveRequest;
using etcdserverpb::MemberRemoveResponse;
using etcdserverpb::MemberUpdateRequest;
using etcdserverpb::MemberUpdateResponse;

// Before the log has the members, they are those of the config file.
void AddConfigured(const Config& config, MemberListResponse* response) {
  std::vector<const MemberConfig*> members;
  for (const MemberConfig& member : config.members) members.push_back(&member);
  std::sort(members.begin(), members.end(),
            [](const auto* a, const auto* b) { return a->id < b->id; });
  for (const MemberConfig* member : members) {
    etcdserverpb::Member* out = response->add_members();
    out->set_id(member->id);
    out->set_name(member->name);
    out->add_peerurls(member->peer_url);
    out->add_clienturls(member->client_url);
  }
}

void Answer(const Edge* edge, Unary<MemberListRequest, MemberListResponse> call) {
  const absl::StatusOr<Members> members = edge->member->Snapshot()->ReadMembers();
  if (!members.ok()) return call.Finish(ToWire(members.status()));
  if (!members->known()) AddConfigured(*edge->config, call.response());
  for (const auto& [id, member] : members->all()) *call.response()->add_members() = member.info;
  edge->FillHeader(/*revision=*/0, call.response()->mutable_header());
  call.Finish(absl::OkStatus());
}

void MemberList(const Edge* edge, Unary<MemberListRequest, MemberListResponse> call) {
  if (!call.request().linearizable()) return Answer(edge, call);
  WhenUpToDate(edge, call, [edge, call] { Answer(edge, call); });
}

// Proposes the change, and answers the call with the members after it. `complete(response)` sets
// the other fields of the response.
template <typename Request, typename Response, typename Complete>
void Change(const Edge* edge, Unary<Request, Response> call, const proto::ChangeMembers& change,
            Complete complete) {
  proto::Command command;
  *command.mutable_change_members() = change;
  const ClusterVersion needs = Needs(command);
  auto done = [edge, call, needs, complete](Fate fate, ApplyResult result) {
    if (!fate.proposed) SayNotProposed(call.get());
    if (fate == Fate::kRejected) return call.Finish(ToWire(result.status));
    if (fate != Fate::kApplied) return call.Finish(edge->EndOfProposal(fate, needs));
    if (!result.status.ok()) return call.Finish(ToWire(result.status));
    call.response()->mutable_members()->Swap(
        result.response.mutable_change_members()->mutable_members());
    complete(call.response());
    edge->FillHeader(/*revision=*/0, call.response()->mutable_header());
    call.Finish(absl::OkStatus());
  };
  edge->member->Post(ProposeRequest{.command = command.SerializeAsString(),
                                    .done = std::move(done),
                                    .caller = Edge::CallerOf(call),
                                    .needs = needs,
                                    .changes_members = true});
}

template <typename Urls>
absl::Status CheckUrls(const Urls& urls) {
  const bool valid = !urls.empty() && std::all_of(urls.begin(), urls.end(), IsUrl);
  return valid ? absl::OkStatus() : absl::InvalidArgumentError("given member URLs are invalid");
}

void MemberAdd(const Edge* edge, Unary<MemberAddRequest, MemberAddResponse> call) {
  std::vector<std::string> urls(call.request().peerurls().begin(), call.request().peerurls().end());
  std::sort(urls.begin(), urls.end());
  std::string all;
  for (const std::string& url : urls) all += url;
  // As in etcd, the id of a member that is added later depends on the time, so that it is never the
  // id of one that was removed. It depends on nanoseconds, not on seconds as in etcd, because a
  // member may be added, removed and added again within a second.
  const uint64_t id = MemberIdOf(all, absl::StrCat(absl::ToUnixNanos(absl::Now())));
  proto::ChangeMembers change;
  etcdserverpb::Member& added = *change.mutable_add();
  added.set_id(id);
  added.mutable_peerurls()->Assign(urls.begin(), urls.end());
  added.set_islearner(call.request().islearner());
  Change(edge, call, change, [id](MemberAddResponse* response) {
    for (const etcdserverpb::Member& member : response->members()) {
      if (member.id() == id) *response->mutable_member() = member;
    }
  });
}

void MemberRemove(const Edge* edge, Unary<MemberRemoveRequest, MemberRemoveResponse> call) {
  proto::ChangeMembers change;
  change.set_remove(call.request().id());
  Change(edge, call, change, [](MemberRemoveResponse*) {});
}

void MemberUpdate(const Edge* edge, Unary<MemberUpdateRequest, MemberUpdateResponse> call) {
  proto::ChangeMembers change;
  change.mutable_update()->set_id(call.request().id());
  *change.mutable_update()->mutable_peerurls() = call.request().peerurls();
  Change(edge, call, change, [](MemberUpdateResponse*) {});
}

void MemberPromote(const Edge* edge, Unary<MemberPromoteRequest, MemberPromoteResponse> call) {
  proto::ChangeMembers change;
  change.set_promote(call.request().id());
  Change(edge, call, change, [](MemberPromoteResponse*) {});
}

}  // namespace

void AddCluster(const Edge* edge, Methods* methods) {
  Add<MemberListRequest, MemberListResponse>(
      edge, methods,
      {.name = "/etcdserverpb.Cluster/MemberList",
       .permission = Permission::kRead,
       .needs =
           [](const MemberListRequest& request) {
             return request.linearizable() ? Permission::kRead : Permission::kNone;
           },
       .handler = MemberList});
  Add<MemberAddRequest, MemberAddResponse>(
      edge, methods,
      {.name = "/etcdserverpb.Cluster/MemberAdd",
       .permission = Permission::kMaintain,
       .check = [](const Edge*,
                   const MemberAddRequest& request) { return CheckUrls(request.peerurls()); },
       .handler = MemberAdd});
  Add<MemberRemoveRequest, MemberRemoveResponse>(edge, methods,
                                                 {.name = "/etcdserverpb.Cluster/MemberRemove",
                                                  .permission = Permission::kMaintain,
                                                  .handler = MemberRemove});
  Add<MemberUpdateRequest, MemberUpdateResponse>(
      edge, methods,
      {.name = "/etcdserverpb.Cluster/MemberUpdate",
       .permission = Permission::kMaintain,
       .check = [](const Edge*,
                   const MemberUpdateRequest& request) { return CheckUrls(request.peerurls()); },
       .handler = MemberUpdate});
  Add<MemberPromoteRequest, MemberPromoteResponse>(edge, methods,
                                                   {.name = "/etcdserverpb.Cluster/MemberPromote",
                                                    .permission = Permission::kMaintain,
                                                    .handler = MemberPromote});
}

}  // namespace raftkv::api
