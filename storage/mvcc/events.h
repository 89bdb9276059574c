#ifndef RAFTKV_STORAGE_MVCC_EVENTS_H_
#define RAFTKV_STORAGE_MVCC_EVENTS_H_

// Reads the history in order of revision, as watches need it.

#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "proto/etcd/kv.pb.h"
#include "storage/engine/engine.h"
#include "storage/mvcc/layout.h"

namespace raftkv::mvcc {

// Walks events in order, from `from` to the last event of revision `last`:
//   for (EventCursor c(view, from, last); c.valid(); c.Next()) use(c.key(), ...);
// Each step costs about a microsecond, however large the store is. The view must outlive the
// cursor.
class EventCursor {
 public:
  EventCursor(const View& view, EventId from, Revision last);

  bool valid() const { return it_->valid(); }
  void Next();
  EventId id() const { return id_; }
  // Valid until Next.
  std::string_view key() const { return event_.key; }
  bool deleted() const { return event_.deleted; }

  // Fills in the event as etcd's clients get it. A deletion has only the key and the revision.
  // `with_prev`: also the key's state before this revision, if it existed and is still stored.
  // Reads one record, or two. The event's own record must be stored.
  void Load(bool with_prev, mvccpb::Event* event);

 private:
  void Decode();
  // The record of the version that this event made.
  std::string Record();
  void LoadPrevious(mvccpb::Event* event) const;

  const View& view_;
  const std::unique_ptr<Iterator> it_;
  EventId id_;
  Event event_;
  // The records of versions that revision `replaced_in_` both made and replaced by tombstones, by
  // key (layout.h).
  Revision replaced_in_ = 0;
  std::map<std::string, std::string, std::less<>> replaced_;
};

}  // namespace raftkv::mvcc

#endif  // RAFTKV_STORAGE_MVCC_EVENTS_H_
