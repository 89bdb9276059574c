#ifndef RAFTKV_STORAGE_TABLES_SESSIONS_H_
#define RAFTKV_STORAGE_TABLES_SESSIONS_H_

// The sessions of clients, which make a write that is sent several times take effect once
// (docs/decisions/0023; thesis §6.3).
//
// A session is a lease. A client numbers the commands of its session (Session::seq), and sends a
// command again under the same number. The first entry with a number is executed, and its answer
// is stored, also if it is an error. Every later entry with that number changes nothing and gets
// the stored answer. An answer is forgotten when a command with an `acked` at or above its number
// is executed; entries with such a number then fail. So a command takes effect at most once, as
// long as its session exists, and never after the session has ended.
//
// The state machine asks this table about each command that names a session; the table has no
// commands of its own. The table of leases ends the sessions. tables.h explains Load and Hash.

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "proto/command.pb.h"
#include "storage/rules/meter.h"
#include "storage/tables/state.h"

namespace raftkv {

class SessionTable {
 public:
  static constexpr char kLetter = 'S';  // S ‖ lease id ‖ number: the answer to a command

  explicit SessionTable(Shared* shared);

  absl::Status Load();
  static absl::Status Hash(const View& view, const State& state, Meter* meter, std::string* out);

  // Nothing: the command is a new one. If the meter is not interrupted, execute the command, then
  // call Record. Otherwise its status: that of the stored answer, whose response and revision this
  // function fills in, or one of these, after which nothing is stored:
  //   FailedPrecondition "session expired"  there is no such lease
  //   OutOfRange          the client has acknowledged the answer to this number
  //   InvalidArgument     the number was used for another kind of command
  //   ResourceExhausted   the rules allow no further stored answer
  std::optional<absl::Status> Decide(const proto::Command& command, Meter* meter,
                                     proto::CommandResponse* response, Revision* revision);
  // Stores the answer, and forgets those that the client has acknowledged. If the command has ended
  // its own session, it does nothing.
  void Record(const proto::Command& command, const absl::Status& status,
              proto::CommandResponse* response);

  // The number of stored answers of a session.
  size_t answers(int64_t lease) const;
  // The lease ends. Forgets its answers.
  void End(int64_t lease);

  // Forgets everything; for planted bugs.
  void Forget() { sessions_.clear(); }

  // The answer without what makes it large: earlier values, and the responses of a transaction's
  // operations. Its revision, the number of deleted keys, and which branch of a transaction ran
  // remain.
  static proto::CommandResponse Reduced(const proto::CommandResponse& response);

 private:
  struct Session {
    uint64_t acked = 0;
    std::map<uint64_t, std::string> answers;  // by number: an encoded SessionAnswer
  };
  absl::Status CheckNew(const Session& session, const proto::Session& command, Meter* meter) const;
  void Acknowledge(int64_t lease, uint64_t acked, Session* session);

  Shared& shared_;
  std::map<int64_t, Session> sessions_;  // by lease; only those with answers
  size_t answers_ = 0;                   // of all sessions
  size_t answer_bytes_ = 0;
};

}  // namespace raftkv

#endif  // RAFTKV_STORAGE_TABLES_SESSIONS_H_
