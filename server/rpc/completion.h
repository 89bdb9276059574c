#ifndef RAFTKV_SERVER_RPC_COMPLETION_H_
#define RAFTKV_SERVER_RPC_COMPLETION_H_

// Objects that live as long as their operations on a gRPC completion queue. Every tag of a queue is
// a Completion; the code that polls the queue calls OnComplete. All of this runs on the thread that
// polls the queue.

namespace raftkv {

class Completion {
 public:
  virtual ~Completion() = default;
  // If `ok` is false, the operation failed: the connection is gone, or the queue shuts down.
  virtual void OnComplete(bool ok) = 0;
};

// Base of a class with operations on a completion queue. It counts the operations in flight and
// deletes the object after the last one has completed, so the object is created with new and never
// deleted by its creator.
class Operations {
 public:
  Operations(const Operations&) = delete;
  Operations& operator=(const Operations&) = delete;

 protected:
  Operations() = default;
  virtual ~Operations() {
    if (live_ != nullptr) --*live_;
  }

  // Counts this object in `*live` from now until it is deleted. A queue must not be shut down while
  // a counted object may start another operation on it. `live` outlives the object.
  void CountIn(int* live) {
    live_ = live;
    ++*live_;
  }

  // Call it inside the handler of an operation. True if no other operation is in flight.
  bool OnlyOneInFlight() const { return in_flight_ == 1; }

 private:
  template <typename Owner>
  friend class Operation;

  void End() {
    if (--in_flight_ == 0) delete this;
  }

  int in_flight_ = 0;
  int* live_ = nullptr;
};

// One kind of operation of an Owner, which derives from Operations and has this as a member. At
// most one operation of each kind is in flight.
template <typename Owner>
class Operation final : public Completion {
 public:
  Operation(Owner* owner, void (Owner::*on_complete)(bool))
      : owner_(owner), on_complete_(on_complete) {}

  // Counts an operation that starts now, and returns its tag.
  void* Start() {
    ++base()->in_flight_;
    return tag();
  }
  // The tag of an operation that is already counted.
  void* tag() { return static_cast<Completion*>(this); }
  // Stops counting a counted operation that will never complete. May delete the owner.
  void Abandon() { base()->End(); }

  void OnComplete(bool ok) override {
    (owner_->*on_complete_)(ok);
    base()->End();
  }

 private:
  Operations* base() { return owner_; }

  Owner* const owner_;
  void (Owner::*const on_complete_)(bool);
};

}  // namespace raftkv

#endif  // RAFTKV_SERVER_RPC_COMPLETION_H_
