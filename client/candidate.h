// A candidate for a lock or for the leadership (raftkv/lock.h): its key, and how it waits for its
// turn. Mutex and Election each have one.
#ifndef RAFTKV_CLIENT_CANDIDATE_H_
#define RAFTKV_CLIENT_CANDIDATE_H_

#include <stop_token>
#include <string>
#include <string_view>

#include "client/clock.h"
#include "client/raftkv.h"

namespace raftkv::client {

// The keys of all candidates of this name.
inline Keys CandidatesOf(const std::string& name) { return Keys::Prefix(name + "/"); }
// Reads only the candidate whose key was created first.
inline constexpr ReadOptions kFirstCandidate = {.limit = 1, .sort_by = SortBy::kCreateRevision};
// How often a wait for events is interrupted, to see whether it must end.
inline constexpr absl::Duration kWaitPoll = absl::Milliseconds(100);

class Candidate {
 public:
  Candidate(Session* session, std::string name);

  // Creates the key, or puts `value` into the one that the session has already, and waits until the
  // candidate is the owner. After an error the key is deleted, or ends with the session.
  absl::Status Enter(std::string_view value, absl::Time until);
  // Changes the value. FailedPrecondition: it is not the owner any more.
  absl::Status Put(std::string_view value);
  // Deletes the key. OK if there is none. After a temporary error it tries again.
  absl::Status Leave();
  void Cancel() { cancel_.request_stop(); }

  const std::string& key() const { return key_; }
  int64_t created() const { return created_; }  // create_revision of the key; 0: none
  int64_t won_revision() const { return won_revision_; }
  Compare Exists() const { return CreateRevision(key_) == created_; }

 private:
  absl::Status DeleteKey(MonotonicTime deadline, const CallOptions& options);
  absl::Status CreateKey(std::string_view value, MonotonicTime deadline, bool* won);
  absl::Status WaitForTurn(MonotonicTime deadline);
  absl::Status WaitForDeletion(const std::string& key, int64_t revision, MonotonicTime deadline);
  absl::Status MayWait(MonotonicTime deadline) const;
  // Commits the transaction, which may be repeated. After a temporary error it tries again, until
  // the deadline has passed, `options.cancel` was requested or the session is lost. `options` are
  // those of each attempt.
  absl::StatusOr<TxnResult> Commit(const Transaction& transaction,
                                   MonotonicTime deadline = MonotonicTime::InfiniteFuture(),
                                   const CallOptions& options = {});

  Session& session_;
  const Keys all_;
  const std::string key_;
  bool may_exist_ = false;  // the key
  int64_t created_ = 0;
  int64_t won_revision_ = 0;
  std::stop_source cancel_;
};

}  // namespace raftkv::client

#endif  // RAFTKV_CLIENT_CANDIDATE_H_
