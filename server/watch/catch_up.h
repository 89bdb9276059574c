#ifndef RAFTKV_SERVER_WATCH_CATCH_UP_H_
#define RAFTKV_SERVER_WATCH_CATCH_UP_H_

// Reads from the store the events that some watches of one stream have missed. The hub (hub.h)
// creates the CatchUp. The caller of the hub runs it with RunCatchUp, on any thread, on a snapshot,
// and gives the result to Hub::OnCaughtUp. Each watch is a cursor over revisions: RunCatchUp reads
// events from the cursors on, and returns the events and the new positions. It keeps no state.

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "proto/etcd/kv.pb.h"
#include "server/watch/range_index.h"
#include "storage/state_snapshot.h"

namespace raftkv::watch {

using Events = google::protobuf::RepeatedPtrField<mvccpb::Event>;

// The bytes that an event is counted for in a queue: its encoded size, and the overhead of its
// object in memory.
inline size_t EventBytes(const mvccpb::Event& event) {
  constexpr size_t kOverhead = 128;
  return event.ByteSizeLong() + kOverhead;
}

// The steps that bytes cost, beside the step of the event that has them.
inline size_t StepsOfBytes(size_t bytes) {
  constexpr size_t kBytesPerStep = 4096;  // as Costs (storage/rules/version.h)
  return bytes / kBytesPerStep;
}

// The keys and options of one watch. Constant.
struct Spec {
  int64_t id = 0;
  std::string key;
  std::string range_end;  // as RangeView::range_end
  bool prev_kv = false;
  bool no_put = false;
  bool no_delete = false;
  bool fragment = false;

  RangeView range() const { return {key, range_end}; }
  bool Wants(bool deleted) const { return deleted ? !no_delete : !no_put; }
};

struct CatchUp {
  struct Item {
    std::shared_ptr<const Spec> spec;
    uint64_t serial = 0;  // of the watch
    Revision next = 0;    // the first revision to read
  };
  uint64_t stream = 0;
  std::vector<Item> items;
  // It ends after the revision in which it exceeds one of these limits: the number of events that
  // it reads, where each full 4 KiB of a key count as one more, and the bytes of those that the
  // watches want. The events of one revision for one watch are read even if they are larger.
  size_t events_max = 0;
  size_t bytes_max = 0;
  size_t response_bytes_max = 0;  // of the events of one watch and revision
  // True: it stops before a revision with which it would exceed a limit.
  bool inline_only = false;
};

struct CaughtUp {
  enum class Outcome { kRead, kCompacted, kTooLarge };
  struct Item {
    int64_t id = 0;
    uint64_t serial = 0;
    Outcome outcome = Outcome::kRead;
    Revision next = 0;  // all events before it were read
    Events events;
    size_t bytes = 0;        // of the events
    Revision compacted = 0;  // if kCompacted: the compacted revision
  };
  uint64_t stream = 0;
  std::vector<Item> items;
  // inline_only, and the first revision alone exceeds a limit: nothing was read.
  bool unfinished = false;
};

// `give_up` is called regularly. If it returns true, the read ends early and returns what it has
// read so far.
CaughtUp RunCatchUp(const CatchUp& order, const StateSnapshot& snapshot,
                    const std::function<bool()>& give_up = {});

}  // namespace raftkv::watch

#endif  // RAFTKV_SERVER_WATCH_CATCH_UP_H_
