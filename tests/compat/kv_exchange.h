#ifndef RAFTKV_TESTS_COMPAT_KV_EXCHANGE_H_
#define RAFTKV_TESTS_COMPAT_KV_EXCHANGE_H_

// A request of etcdserverpb.KV, its answer, and a function that sends a request to two servers at
// the same time. Answers are compared as text: code and message, or all fields of the response.
// Only the ids and the term of the outermost header are removed, because they depend on the
// cluster. (In the headers inside a transaction's responses, they must be zero.)

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

// Sends `request` to both servers at the same time, and waits for both answers.
std::pair<Answer, Answer> AskBoth(Connection& first, Connection& second, const Request& request);

// One line; long values are cut.
std::string Describe(const Request& request);
std::string Describe(Answer answer);

// Whether the server may answer from its local state, without asking other members.
bool IsSerializable(const Request& request);

// The content of the store, as far as the answers so far show it. The generator uses it to choose
// the next request, and the histogram to classify answers. Learn only from answers that do not
// differ.
class Knowledge {
 public:
  void Learn(const Request& request, const Answer& answer);

  int64_t revision() const { return revision_; }
  int64_t compacted() const { return compacted_; }  // 0: never
  const std::map<std::string, mvccpb::KeyValue>& keys() const { return keys_; }
  bool Holds(const std::string& key) const { return keys_.count(key) > 0; }
  // Whether any key is in the range, as defined for Covers().
  bool HoldsAny(const std::string& key, const std::string& range_end) const;

 private:
  void Learn(const etcdserverpb::PutRequest& put);
  void Learn(const etcdserverpb::DeleteRangeRequest& removal);
  void Learn(const etcdserverpb::TxnRequest& txn, const etcdserverpb::TxnResponse& response);

  int64_t revision_ = 1;
  int64_t compacted_ = 0;
  std::map<std::string, mvccpb::KeyValue> keys_;
};

// Whether `key` is in the range from `begin` to `range_end`, with etcd's meaning of an empty
// range_end and of "\0".
bool Covers(const std::string& begin, const std::string& range_end, const std::string& key);

}  // namespace raftkv::e2e

#endif  // RAFTKV_TESTS_COMPAT_KV_EXCHANGE_H_
