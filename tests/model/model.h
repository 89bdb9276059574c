#ifndef RAFTKV_TESTS_MODEL_MODEL_H_
#define RAFTKV_TESTS_MODEL_MODEL_H_

// The oracle: what a correct store answers, as plainly as it can be said. Every key's whole history
// in std::maps, every request a walk over all keys, no batching, no index, no persistence. It
// shares nothing with storage/ but the messages. Texts and codes of errors as in
// storage/state_machine.h.

#include <cstdint>
#include <map>
#include <string>

#include "absl/status/status.h"
#include "proto/command.pb.h"
#include "proto/etcd/rpc.pb.h"

namespace raftkv {

class Model {
 public:
  struct Answer {
    absl::Status status;
    int64_t revision = 0;  // the store's, after the command
    proto::CommandResponse response;
  };

  Answer Apply(const proto::Command& command);
  absl::Status Range(const etcdserverpb::RangeRequest& request,
                     etcdserverpb::RangeResponse* response) const;
  int64_t revision() const { return revision_; }

 private:
  using History = std::map<int64_t, mvccpb::KeyValue>;  // by revision; version 0: deleted then

  // The key as it was at `revision`, or null.
  static const mvccpb::KeyValue* At(const History& history, int64_t revision);

  absl::Status Put(const etcdserverpb::PutRequest& request, etcdserverpb::PutResponse* response);
  absl::Status Delete(const etcdserverpb::DeleteRangeRequest& request,
                      etcdserverpb::DeleteRangeResponse* response);

  std::map<std::string, History> keys_;
  std::map<uint64_t, std::string> store_ids_;
  int64_t revision_ = 1;
};

}  // namespace raftkv

#endif  // RAFTKV_TESTS_MODEL_MODEL_H_
