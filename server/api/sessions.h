#ifndef RAFTKV_SERVER_API_SESSIONS_H_
#define RAFTKV_SERVER_API_SESSIONS_H_

// Sessions, as the metadata of a write names them (proto/etcd/metadata.h). The state machine does
// the rest (storage/tables/sessions.h).

#include "absl/status/status.h"
#include "proto/command.pb.h"
#include "server/rpc/call.h"

namespace raftkv::api {

// If the metadata of `call` names a session, binds the command to it. InvalidArgument, as on the
// wire: the metadata is malformed.
absl::Status BindToSession(const Call& call, proto::Command* command);

}  // namespace raftkv::api

#endif  // RAFTKV_SERVER_API_SESSIONS_H_
