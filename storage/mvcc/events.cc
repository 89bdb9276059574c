#include "storage/mvcc/events.h"

#include <optional>
#include <utility>

#include "glog/logging.h"
#include "storage/mvcc/range.h"

namespace raftkv::mvcc {
namespace {

std::string EventKey(EventId id) {
  std::string key;
  AppendEventKey(id, &key);
  return key;
}

std::string VersionKey(std::string_view key, Revision revision) {
  std::string engine_key;
  AppendVersionPrefix(key, &engine_key);
  AppendRevisionDescending(revision, &engine_key);
  return engine_key;
}

mvccpb::KeyValue Decoded(std::string_view key, std::string_view engine_key,
                         std::string_view record) {
  Head head;
  std::string_view value;
  DecodeVersion(engine_key, record, &head, &value);
  return ToKeyValue(std::string(key), head, value);
}

}  // namespace

EventCursor::EventCursor(const View& view, EventId from, Revision last)
    : view_(view), it_(view.NewIterator(EventKey({last + 1, 0}))) {
  it_->Seek(EventKey(from));
  Decode();
}

void EventCursor::Next() {
  it_->Next();
  Decode();
}

void EventCursor::Decode() {
  if (!it_->valid()) return;
  id_ = DecodeEventKey(it_->key());
  event_ = DecodeEvent(it_->value());
}

void EventCursor::Load(bool with_prev, mvccpb::Event* event) {
  event->Clear();
  if (event_.deleted) {
    event->set_type(mvccpb::Event::DELETE);
    event->mutable_kv()->set_key(std::string(event_.key));
    event->mutable_kv()->set_mod_revision(id_.revision);
  } else {
    *event->mutable_kv() = Decoded(event_.key, VersionKey(event_.key, id_.revision), Record());
  }
  if (with_prev && event_.previous != 0 && !event_.created) LoadPrevious(event);
}

std::string EventCursor::Record() {
  std::optional<std::string> record = view_.Get(VersionKey(event_.key, id_.revision));
  CHECK(record.has_value()) << "the version of an event is gone";
  if (!record->empty()) return *std::move(record);
  // The same revision deleted the key again. One walk over the other events of the revision finds
  // all such records.
  if (std::exchange(replaced_in_, id_.revision) != id_.revision) {
    replaced_.clear();
    const std::unique_ptr<Iterator> it = view_.NewIterator(EventKey({id_.revision + 1, 0}));
    for (it->Seek(EventKey(id_)); it->valid(); it->Next()) {
      const Event event = DecodeEvent(it->value());
      if (!event.replaced.empty()) replaced_.emplace(event.key, event.replaced);
    }
  }
  const auto found = replaced_.find(event_.key);
  CHECK(found != replaced_.end()) << "a put without its value";
  return found->second;
}

void EventCursor::LoadPrevious(mvccpb::Event* event) const {
  if (event_.previous != id_.revision) {
    const std::string engine_key = VersionKey(event_.key, event_.previous);
    const std::optional<std::string> record = view_.Get(engine_key);
    if (!record.has_value() || record->empty()) return;  // compacted
    *event->mutable_prev_kv() = Decoded(event_.key, engine_key, *record);
    return;
  }
  // The key was put and deleted in this revision. The previous value is that before the revision.
  VersionCursor cursor(view_, VersionRange(event_.key, {}), id_.revision - 1);
  if (!cursor.Next()) return;
  *event->mutable_prev_kv() = ToKeyValue(cursor.key(), cursor.head(), cursor.value());
}

}  // namespace raftkv::mvcc
