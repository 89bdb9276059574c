#ifndef RAFTKV_TESTS_COMPAT_KV_EXCHANGE_H_
#define RAFTKV_TESTS_COMPAT_KV_EXCHANGE_H_

// One request of etcdserverpb.KV, its answer, and asking two servers at the same time. Answers are
// compared as text: code and message, or every field of the response but for the ids and the term
// of the outermost header, which belong to the cluster and not to the request. (Headers inside a
// transaction's responses are left as they are: theirs have to be zero.)

#include <map>
#include <set>
#include <string>
#include <utility>
#include <variant>

#include "proto/etcd/rpc.pb.h"
#include "tests/e2e/cluster.h"

namespace raftkv::e2e {

using Request = std::variant<etcdserverpb::RangeRequest, etcdserverpb::PutRequest,
                             etcdserverpb::DeleteRangeRequest, etcdserverpb::TxnRequest,
                             etcdserverpb::CompactionRequest>;
// The alternatives are in the order of the requests.
using Response = std::variant<etcdserverpb::RangeResponse, etcdserverpb::PutResponse,
                              etcdserverpb::DeleteRangeResponse, etcdserverpb::TxnResponse,
                              etcdserverpb::CompactionResponse>;

struct Answer {
  grpc::Status status;
  Response response;

  bool ok() const { return status.ok(); }
  const etcdserverpb::ResponseHeader& header() const;
};

// Sends `request` to both and waits for both answers; neither waits for the other.
std::pair<Answer, Answer> AskBoth(Connection& first, Connection& second, const Request& request);

// One line; long values are cut.
std::string Describe(const Request& request);
std::string Describe(Answer answer);

// Whether the server may answer from its own state without asking anybody.
bool IsSerializable(const Request& request);

// The store as the answers so far tell of it: enough to aim the next request, and to say what an
// answer was about. Only answers without differences may be learned from.
class Knowledge {
 public:
  void Learn(const Request& request, const Answer& answer);

  int64_t revision() const { return revision_; }
  int64_t compacted() const { return compacted_; }  // 0: never
  const std::map<std::string, mvccpb::KeyValue>& keys() const { return keys_; }
  bool Holds(const std::string& key) const { return keys_.count(key) > 0; }
  // Keys from `key` to `range_end`, as etcd reads the two.
  bool HoldsAny(const std::string& key, const std::string& range_end) const;

 private:
  void Learn(const etcdserverpb::PutRequest& put);
  void Learn(const etcdserverpb::DeleteRangeRequest& removal);
  void Learn(const etcdserverpb::TxnRequest& txn, const etcdserverpb::TxnResponse& response);

  int64_t revision_ = 1;
  int64_t compacted_ = 0;
  std::map<std::string, mvccpb::KeyValue> keys_;
};

// Whether `key` lies in what `begin` and `range_end` mean together.
bool Covers(const std::string& begin, const std::string& range_end, const std::string& key);

}  // namespace raftkv::e2e

#endif  // RAFTKV_TESTS_COMPAT_KV_EXCHANGE_H_
