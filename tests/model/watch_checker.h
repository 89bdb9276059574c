#ifndef RAFTKV_TESTS_MODEL_WATCH_CHECKER_H_
#define RAFTKV_TESTS_MODEL_WATCH_CHECKER_H_

// Checks what one watch gets against the model, as one of etcd's clients sees it. A client may
// resume the watch on another stream, at any member; then the same checker goes on.
//
// Each response says up to which revision everything has been sent (header.revision). So its events
// must be exactly the model's, from where the previous response ended up to there. This covers
// etcd's promises: ordered, unique, atomic (no revision is divided between responses), reliable (no
// event is missing), resumable, bookmarkable (no progress ahead of events), filters and prev_kv.

#include <cstdint>
#include <string>
#include <vector>

#include "proto/etcd/rpc.pb.h"
#include "tests/model/model.h"

namespace raftkv {

class WatchChecker {
 public:
  // `model` must have every revision that a response shows, and outlive the checker.
  WatchChecker(const Model* model, etcdserverpb::WatchCreateRequest request);

  // The stream of the watch is gone.
  void Disconnect();
  // The request that creates the watch, or resumes it on a new stream.
  etcdserverpb::WatchCreateRequest Request();
  // Takes a response of this watch. Returns what is wrong with it, or an empty string.
  std::string OnResponse(const etcdserverpb::WatchResponse& response);
  // A response says that all watches of the stream have got everything up to this revision.
  std::string OnProgress(int64_t revision);

  bool created() const { return created_; }
  int64_t id() const { return id_; }
  // Cancelled because its start is compacted: the watch is over.
  bool compacted() const { return compacted_; }
  bool cancelled() const { return cancelled_; }
  // Everything before this revision was received.
  int64_t next() const { return next_; }
  int64_t events() const { return events_; }
  // Empty if the watch has got every event of the model.
  std::string CheckComplete() const;

 private:
  std::vector<mvccpb::Event> Expected(int64_t from, int64_t to) const;
  std::string OnCreated(const etcdserverpb::WatchResponse& response);
  std::string OnCancelled(const etcdserverpb::WatchResponse& response);
  std::string Compare(const mvccpb::Event& expected, const mvccpb::Event& actual) const;

  const Model* const model_;
  etcdserverpb::WatchCreateRequest request_;
  bool created_ = false;
  bool cancelled_ = false;
  bool compacted_ = false;
  int64_t id_ = 0;
  int64_t next_ = 0;  // 0: not known yet
  int64_t events_ = 0;
  std::vector<mvccpb::Event> fragments_;
};

}  // namespace raftkv

#endif  // RAFTKV_TESTS_MODEL_WATCH_CHECKER_H_
