#ifndef RAFTKV_TESTS_MODEL_WATCH_CHECKER_H_
#define RAFTKV_TESTS_MODEL_WATCH_CHECKER_H_

// Checks the responses of one watch, as one of etcd's clients sees them, against the model. A
// client may resume the watch on another stream, at any member; the same checker then continues.
//
// By its header.revision, each response says that every event up to this revision has been sent. So
// its events must be exactly the model's events after the previous response's revision, up to its
// own. This covers etcd's promises: ordered, unique, atomic (no revision is divided between
// responses), reliable (no event is missing), resumable, bookmarkable (progress never names a
// revision whose events were not sent), filters and prev_kv.

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

  // The stream of the watch has ended.
  void Disconnect();
  // The request that creates the watch, or resumes it on a new stream.
  etcdserverpb::WatchCreateRequest Request();
  // Takes a response of this watch. Returns what is wrong with it, or an empty string.
  std::string OnResponse(const etcdserverpb::WatchResponse& response);
  // Takes a progress response for the whole stream: all its watches have got every event up to this
  // revision.
  std::string OnProgress(int64_t revision);

  bool created() const { return created_; }
  int64_t id() const { return id_; }
  // The watch was cancelled because its start is compacted.
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
