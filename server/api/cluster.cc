// etcdserverpb.Cluster: MemberList. Membership changes are not served yet.

#include <algorithm>
#include <vector>

#include "server/api/edge.h"
#include "server/api/member_calls.h"

namespace raftkv::api {

namespace {

using etcdserverpb::MemberListRequest;
using etcdserverpb::MemberListResponse;

void Answer(const Edge* edge, Unary<MemberListRequest, MemberListResponse> call) {
  std::vector<const MemberConfig*> members;
  for (const MemberConfig& member : edge->config->members) members.push_back(&member);
  std::sort(members.begin(), members.end(),
            [](const auto* a, const auto* b) { return a->id < b->id; });
  for (const MemberConfig* member : members) {
    etcdserverpb::Member* out = call.response()->add_members();
    out->set_id(member->id);
    out->set_name(member->name);
    out->add_peerurls(member->peer_url);
    out->add_clienturls(member->client_url);
  }
  edge->FillHeader(/*revision=*/0, call.response()->mutable_header());
  call.Finish(absl::OkStatus());
}

bool IsLocal(const MemberListRequest& request) { return !request.linearizable(); }

void MemberList(const Edge* edge, Unary<MemberListRequest, MemberListResponse> call) {
  if (IsLocal(call.request())) return Answer(edge, call);
  WhenUpToDate(edge, call, [edge, call] { Answer(edge, call); });
}

}  // namespace

void AddCluster(const Edge* edge, Methods* methods) {
  Add<MemberListRequest, MemberListResponse>(edge, methods,
                                             {.name = "/etcdserverpb.Cluster/MemberList",
                                              .permission = Permission::kRead,
                                              .local = IsLocal,
                                              .handler = MemberList});
}

}  // namespace raftkv::api
