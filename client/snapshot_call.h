// Maintenance.Snapshot for Client::Snapshot (raftkv.h): the state of one member as a stream of
// bytes. Blocks, like every call of the client.
#ifndef RAFTKV_CLIENT_SNAPSHOT_CALL_H_
#define RAFTKV_CLIENT_SNAPSHOT_CALL_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "client/endpoint.h"
#include "client/raftkv.h"

namespace raftkv::client {

// Asks the first of `endpoints` that can be reached, beginning with number `first`. `piece_timeout`
// limits the wait for each piece, the first one included. `*endpoint` gets the address of the one
// that was asked.
absl::Status ReadSnapshot(const std::vector<std::unique_ptr<Endpoint>>& endpoints, size_t first,
                          absl::Duration dial_timeout, absl::Duration piece_timeout,
                          const SnapshotSink& sink, std::string* endpoint);

}  // namespace raftkv::client

#endif  // RAFTKV_CLIENT_SNAPSHOT_CALL_H_
