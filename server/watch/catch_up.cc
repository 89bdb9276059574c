#include "server/watch/catch_up.h"

#include <algorithm>
#include <utility>

#include "storage/base/mutant.h"

namespace raftkv::watch {
namespace {

constexpr size_t kEventsPerQuestion = 256;

class Reader {
 public:
  Reader(const CatchUp& order, const StateSnapshot& snapshot, const std::function<bool()>& give_up)
      : order_(order), snapshot_(snapshot), give_up_(give_up), states_(order.items.size()) {
    result_.stream = order.stream;
    for (size_t i = 0; i < order.items.size(); ++i) {
      const CatchUp::Item& item = order.items[i];
      states_[i].item = &item;
      CaughtUp::Item& result = states_[i].result;
      result.id = item.spec->id;
      result.serial = item.serial;
      result.next = item.next;
    }
  }

  CaughtUp Run() {
    const Revision from = Begin();
    Revision read_to = from - 1;  // everything up to here was read
    if (from <= snapshot_.revision()) read_to = Walk(from);
    for (State& state : states_) {
      CaughtUp::Item& result = state.result;
      if (result.outcome == CaughtUp::Outcome::kRead) {
        result.next = std::max(result.next, read_to + 1);
      }
      result_.items.push_back(std::move(result));
    }
    return std::move(result_);
  }

 private:
  struct State {
    const CatchUp::Item* item = nullptr;
    CaughtUp::Item result;
    // What the result held before the current revision.
    int events_before = 0;
    size_t bytes_before = 0;
    bool touched = false;   // the current revision has events for it
    size_t index_slot = 0;  // for RangeIndex
  };

  // Sets the outcome of watches whose events were compacted. Returns where the walk begins.
  Revision Begin() {
    Revision from = snapshot_.revision() + 1;
    for (State& state : states_) {
      if (state.item->next < snapshot_.first_event()) {
        if (RAFTKV_MUTANT("watch-hides-the-compaction")) {
          state.result.next = snapshot_.compacted_revision();
        } else {
          state.result.outcome = CaughtUp::Outcome::kCompacted;
          state.result.compacted = snapshot_.compacted_revision();
          continue;
        }
      }
      from = std::min(from, state.result.next);
      index_.Add(state.item->spec->range(), &state);
    }
    return from;
  }

  // Returns the last revision that was read for all watches.
  Revision Walk(Revision from) {
    Revision current = from;
    for (mvcc::EventCursor cursor = snapshot_.Events({from, 0}, snapshot_.revision());
         cursor.valid(); cursor.Next()) {
      const Revision revision = cursor.id().revision;
      if (revision != current) {
        EndRevision(current);
        if (only_ != nullptr) return current - 1;
        if (events_ >= order_.events_max || bytes_ >= order_.bytes_max) return current;
        current = revision;
      }
      if (GiveUp()) return Undo(current);
      events_ += 1 + StepsOfBytes(cursor.key().size());
      const bool too_many = events_ > order_.events_max && order_.inline_only;
      if (too_many || !Take(&cursor, revision)) {
        result_.unfinished = order_.inline_only && current == from;
        return Undo(current);
      }
    }
    EndRevision(current);
    return only_ == nullptr ? snapshot_.revision() : current - 1;
  }

  // Gives the event to the watches that want it. False: the catch-up ends before this revision.
  bool Take(mvcc::EventCursor* cursor, Revision revision) {
    found_.clear();
    index_.Find(cursor->key(), &found_);
    loaded_[0] = loaded_[1] = false;
    for (State* state : found_) {
      const Spec& spec = *state->item->spec;
      if (revision < state->result.next || !spec.Wants(cursor->deleted())) continue;
      if (only_ != nullptr && only_ != state) continue;
      const bool prev_kv = spec.prev_kv && !RAFTKV_MUTANT("watch-without-prev-kv");
      mvccpb::Event& event = events_loaded_[prev_kv];
      if (!std::exchange(loaded_[prev_kv], true)) cursor->Load(prev_kv, &event);
      const size_t bytes = EventBytes(event);
      if (!std::exchange(state->touched, true)) touched_.push_back(state);
      *state->result.events.Add() = event;
      state->result.bytes += bytes;
      bytes_ += bytes;
      // Checked after each copy, because a large event may be copied for a thousand watches.
      if (bytes_ > order_.bytes_max && (order_.inline_only || !MakeRoom())) return false;
    }
    return true;
  }

  // There are more bytes than one catch-up may hold. If earlier revisions had events, the catch-up
  // ends before this revision. Otherwise this revision is read for a single watch. False: the
  // catch-up ends.
  bool MakeRoom() {
    if (only_ == nullptr) {
      if (bytes_done_ > 0) return false;
      only_ = touched_.front();
      for (State* state : touched_) {
        if (state != only_) Restore(state);
      }
      touched_ = {only_};
    }
    if (only_->result.bytes <= order_.response_bytes_max) return true;
    only_->result.outcome = CaughtUp::Outcome::kTooLarge;
    return false;
  }

  void EndRevision(Revision revision) {
    for (State* state : touched_) {
      state->touched = false;
      state->events_before = state->result.events.size();
      state->bytes_before = state->result.bytes;
    }
    touched_.clear();
    bytes_done_ = bytes_;
    if (only_ != nullptr) only_->result.next = revision + 1;
  }

  // Forgets what was read of `revision`.
  Revision Undo(Revision revision) {
    for (State* state : touched_) Restore(state);
    touched_.clear();
    return revision - 1;
  }
  void Restore(State* state) {
    Events& events = state->result.events;
    events.DeleteSubrange(state->events_before, events.size() - state->events_before);
    bytes_ -= state->result.bytes - state->bytes_before;
    state->result.bytes = state->bytes_before;
    state->touched = false;
  }

  bool GiveUp() {
    if (events_ - asked_ < kEventsPerQuestion) return false;
    asked_ = events_;
    return give_up_ && give_up_();
  }

  const CatchUp& order_;
  const StateSnapshot& snapshot_;
  const std::function<bool()>& give_up_;
  std::vector<State> states_;
  RangeIndex<State> index_;
  CaughtUp result_;

  size_t events_ = 0;  // read so far, as CatchUp::events_max counts them
  size_t asked_ = 0;   // events_ when give_up_ was called
  size_t bytes_ = 0;   // found so far
  size_t bytes_done_ = 0;
  std::vector<State*> touched_;  // by the current revision
  State* only_ = nullptr;        // the current revision is read for this watch alone
  std::vector<State*> found_;
  // The current event, without and with prev_kv.
  bool loaded_[2] = {false, false};
  mvccpb::Event events_loaded_[2];
};

}  // namespace

CaughtUp RunCatchUp(const CatchUp& order, const StateSnapshot& snapshot,
                    const std::function<bool()>& give_up) {
  return Reader(order, snapshot, give_up).Run();
}

}  // namespace raftkv::watch
