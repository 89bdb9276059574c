// Watches: the changes of keys, returned as events when they happen. Client::Watch (raftkv.h)
// creates a Watcher.
#ifndef RAFTKV_CLIENT_RAFTKV_WATCH_H_
#define RAFTKV_CLIENT_RAFTKV_WATCH_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "kv.h"  // relative, because the installed headers have no folder client/

namespace raftkv::client {

struct WatchOptions {
  int64_t start_revision = 0;  // the first revision whose events are returned; 0: the next one
  bool prev_kv = false;        // also return the previous key-value pair of each event
  bool puts = true;
  bool deletes = true;
  bool progress_notify = false;  // return an empty batch regularly while there are no events
};

struct Event {
  enum class Type { kPut, kDelete };
  Type type = Type::kPut;
  KeyValue kv;  // of a deletion: only the key and mod_revision
  std::optional<KeyValue> prev_kv;
};

// The events of one or more whole revisions, in order. Every event up to the last one of the batch
// has been returned; after a batch without events, every event up to header.revision.
struct WatchBatch {
  Header header;  // its revision may be newer than the last event: more events may follow
  // Empty only if progress_notify is set, or after RequestProgress.
  std::vector<Event> events;
};

// Returns the events of some keys in order of revision. It returns each event once and leaves none
// out; all events of one revision are in one batch. When its stream breaks or its member fails, the
// Watcher resumes at another endpoint by itself, from the revision that it has reached. Created by
// Client::Watch; the client must outlive it.
//
// Only one thread at a time may call Next. Cancel and RequestProgress may be called from any
// thread.
class Watcher {
 public:
  ~Watcher();
  Watcher(const Watcher&) = delete;
  Watcher& operator=(const Watcher&) = delete;

  // Waits for the next batch. Errors:
  //   DeadlineExceeded  no batch came before `deadline`. Next may be called again.
  //   Cancelled         after Cancel.
  //   OutOfRange        "etcdserver: mvcc: required revision has been compacted": events were
  //                     discarded before they could be returned. compact_revision() is the oldest
  //                     revision that can be watched.
  //   others            errors of the service that trying again would not fix.
  // After any error except DeadlineExceeded the watch has ended.
  absl::StatusOr<WatchBatch> Next(absl::Time deadline = absl::InfiniteFuture());
  void Cancel();
  // Makes Next return an empty batch soon, whose header has a revision up to which every event was
  // returned. Several requests may get one batch. Old versions of etcd (before 3.4.25 and 3.5.8)
  // answer too early if the watch is behind: ask them only when it has caught up.
  void RequestProgress();

  // Every event before this revision was returned. To continue after an error, start a new watch at
  // this revision.
  int64_t next_revision() const;
  int64_t compact_revision() const;

  class Impl;                                    // internal
  explicit Watcher(std::unique_ptr<Impl> impl);  // internal

 private:
  std::unique_ptr<Impl> impl_;
};

}  // namespace raftkv::client

#endif  // RAFTKV_CLIENT_RAFTKV_WATCH_H_
