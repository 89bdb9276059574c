// etcdserverpb.Cluster: MemberList. Membership changes are not served yet.

#include <algorithm>
#include <vector>

#include "server/api/edge.h"

namespace raftkv::api {

namespace {

using MemberListCall = Unary<etcdserverpb::MemberListRequest, etcdserverpb::MemberListResponse>;

void Answer(const Edge* edge, MemberListCall* call) {
  std::vector<const MemberConfig*> members;
  for (const MemberConfig& member : edge->config->members) members.push_back(&member);
  std::sort(members.begin(), members.end(),
            [](const auto* a, const auto* b) { return a->id < b->id; });
  for (const MemberConfig* member : members) {
    etcdserverpb::Member* out = call->response()->add_members();
    out->set_id(member->id);
    out->set_name(member->name);
    out->add_peerurls(member->peer_url);
    out->add_clienturls(member->client_url);
  }
  edge->FillHeader(/*revision=*/0, call->response()->mutable_header());
  call->Finish(grpc::Status::OK);
}

}  // namespace

void RegisterCluster(const Edge* edge, MethodTable* methods) {
  methods->Serve<etcdserverpb::MemberListRequest, etcdserverpb::MemberListResponse>(
      "/etcdserverpb.Cluster/MemberList", 4, [edge](MemberListCall* call) {
        if (!call->request().linearizable()) return Answer(edge, call);
        if (edge->Refused(call)) return;
        edge->loop->Post(ReadRequest{[edge, call](Fate fate) {
          if (fate != Fate::kApplied) {
            call->Finish(ToGrpc(fate));
          } else {
            Answer(edge, call);
          }
        }});
      });
}

}  // namespace raftkv::api
