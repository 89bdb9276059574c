#ifndef RAFTKV_TESTS_MODEL_WATCH_CLIENT_H_
#define RAFTKV_TESTS_MODEL_WATCH_CLIENT_H_

// A client with several watches on one stream at a time, each checked against the model
// (watch_checker.h). It says what to send, and takes what arrives. It checks that creates are
// answered in order, and that nothing arrives for a watch that does not exist.

#include <deque>
#include <optional>
#include <string>

#include "proto/etcd/rpc.pb.h"
#include "tests/model/watch_checker.h"

namespace raftkv {

class WatchClient {
 public:
  explicit WatchClient(const Model* model) : model_(model) {}

  void Add(etcdserverpb::WatchCreateRequest request);
  // There is a new stream: all watches that have not ended are resumed on it.
  void Connect();
  // The next create request to send on the stream, if there is one.
  std::optional<etcdserverpb::WatchRequest> Next();
  // Returns what is wrong with the response, or an empty string.
  std::string OnResponse(const etcdserverpb::WatchResponse& response);
  // Ends a watch that has been created, if there is one: returns the request.
  std::optional<etcdserverpb::WatchRequest> CancelOne();

  size_t open() const;  // watches that have not ended
  // Empty if every watch has got every event of the model.
  std::string CheckComplete() const;
  // How many of each it has met.
  struct Counts {
    int64_t events = 0;
    int64_t compacted = 0;
    int64_t progress = 0;  // for a whole stream
    int64_t notified = 0;  // progress for a single watch
    int64_t fragments = 0;
    int64_t resumed = 0;  // watches that got events before and after a resumption
    int64_t batches = 0;  // responses with several revisions
  };
  const Counts& counts() const { return counts_; }

 private:
  struct Watch {
    WatchChecker checker;
    int64_t events_before = 0;  // at the last resumption
    bool resumed = false;
  };
  std::string OnWatch(Watch* watch, const etcdserverpb::WatchResponse& response);

  const Model* const model_;
  std::deque<Watch> watches_;
  std::deque<size_t> waiting_;  // to be created
  std::deque<size_t> asked_;    // creates that were sent and are not answered
  Counts counts_;
};

}  // namespace raftkv

#endif  // RAFTKV_TESTS_MODEL_WATCH_CLIENT_H_
