#ifndef RAFTKV_SERVER_MEMBER_CHANNEL_H_
#define RAFTKV_SERVER_MEMBER_CHANNEL_H_

#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>

#include "config/url.h"

namespace raftkv {

// A channel to the client URL of another member, for a call that a start makes (join.h,
// force_new_cluster.h).
inline std::shared_ptr<grpc::Channel> ChannelToMember(const std::string& client_url) {
  grpc::ChannelArguments args;
  args.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  return grpc::CreateCustomChannel(HostPort(client_url), grpc::InsecureChannelCredentials(), args);
}

}  // namespace raftkv

#endif  // RAFTKV_SERVER_MEMBER_CHANNEL_H_
