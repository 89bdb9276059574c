#include "storage/tables/sessions.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "proto/etcd/metadata.h"
#include "storage/base/checksum.h"
#include "storage/base/mutant.h"

namespace raftkv {
namespace {

constexpr size_t kSessionKeyBytes = 1 + 8 + 8;

std::string SessionEngineKey(int64_t lease, uint64_t seq) {
  std::string key(1, SessionTable::kLetter);
  PutBigEndian64(&key, static_cast<uint64_t>(lease));
  PutBigEndian64(&key, seq);
  return key;
}

}  // namespace

SessionTable::SessionTable(Shared* shared) : shared_(*shared) { shared->sessions = this; }

absl::Status SessionTable::Load() {
  if (RAFTKV_MUTANT("sessions-forgotten-at-restart")) return absl::OkStatus();
  const auto load = [this](std::string_view key, std::string_view value) {
    proto::SessionAnswer answer;
    if (key.size() != kSessionKeyBytes ||
        !answer.ParseFromArray(value.data(), static_cast<int>(value.size()))) {
      return absl::DataLossError("state machine: an answer of a session is damaged");
    }
    const auto lease = static_cast<int64_t>(BigEndian64(&key[1]));
    if (shared_.leases.Find(lease) == nullptr) {
      return absl::DataLossError("state machine: a session without a lease");
    }
    Session& session = sessions_[lease];
    session.acked = std::max(session.acked, answer.acked());
    session.answers.emplace(BigEndian64(&key[9]), value);
    ++answers_;
    answer_bytes_ += value.size();
    return absl::OkStatus();
  };
  return shared_.engine->Scan(std::string(1, kLetter), mvcc::TableEnd(kLetter), load);
}

absl::Status SessionTable::Hash(const View& view, const State&, Meter* meter, std::string* out) {
  return HashRecords(view, kLetter, meter, out);
}

size_t SessionTable::answers(int64_t lease) const {
  const auto found = sessions_.find(lease);
  return found == sessions_.end() ? 0 : found->second.answers.size();
}

std::optional<absl::Status> SessionTable::Decide(const proto::Command& command, Meter* meter,
                                                 proto::CommandResponse* response,
                                                 Revision* revision) {
  const proto::Session& asked = command.session();
  if (shared_.leases.Find(asked.lease_id()) == nullptr) {
    return absl::FailedPreconditionError(kSessionExpired);
  }
  static const Session kNew;
  const auto found = sessions_.find(asked.lease_id());
  const Session& session = found == sessions_.end() ? kNew : found->second;
  const bool acknowledged =
      asked.seq() <= session.acked && !RAFTKV_MUTANT("acknowledged-number-executed-again");
  if (acknowledged || asked.seq() <= asked.acked()) {
    return absl::OutOfRangeError(
        absl::StrCat("the answer to number ", asked.seq(), " of the session was acknowledged"));
  }
  const auto known = session.answers.find(asked.seq());
  if (known == session.answers.end() || RAFTKV_MUTANT("known-number-executed-again")) {
    absl::Status status = CheckNew(session, asked, meter);
    return status.ok() ? std::nullopt : std::optional(status);
  }
  proto::SessionAnswer answer;
  CHECK(answer.ParseFromString(known->second));
  if (answer.op() != static_cast<uint32_t>(command.op_case())) {
    return absl::InvalidArgumentError(
        absl::StrCat("number ", asked.seq(), " of the session was used for another request"));
  }
  *revision = answer.revision();
  *response = std::move(*answer.mutable_response());
  response->set_decided(true);
  return absl::Status(static_cast<absl::StatusCode>(answer.code()), answer.text());
}

// Whether the answer of a new command can be stored. Charges what Record will forget.
absl::Status SessionTable::CheckNew(const Session& session, const proto::Session& command,
                                    Meter* meter) const {
  const auto end = session.answers.upper_bound(command.acked());
  size_t kept = session.answers.size();
  for (auto it = session.answers.begin(); it != end; ++it, --kept) {
    if (!meter->Step()) return meter->status();
  }
  const Rules& rules = shared_.rules();
  if (kept >= rules.session_answers) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the session has ", rules.session_answers,
                     " answers that were not acknowledged, and no more are possible; wait for "
                     "answers, and acknowledge them"));
  }
  if (answers_ - (session.answers.size() - kept) >= rules.all_session_answers) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the sessions have ", rules.all_session_answers,
                     " answers that were not acknowledged, and no more are possible"));
  }
  return absl::OkStatus();
}

void SessionTable::Record(const proto::Command& command, const absl::Status& status,
                          proto::CommandResponse* response) {
  const proto::Session& asked = command.session();
  const int64_t lease = asked.lease_id();
  if (shared_.leases.Find(lease) == nullptr) return;
  if (!status.ok() && RAFTKV_MUTANT("session-forgets-errors")) return;
  Session& session = sessions_[lease];
  Acknowledge(lease, asked.acked(), &session);

  proto::SessionAnswer answer;
  answer.set_acked(asked.acked());
  answer.set_op(static_cast<uint32_t>(command.op_case()));
  answer.set_revision(shared_.state.revision);
  answer.set_code(static_cast<uint32_t>(status.code()));
  answer.set_text(std::string(status.message()));
  const Rules& rules = shared_.rules();
  const size_t bytes = response->ByteSizeLong();
  if (bytes <= rules.session_answer_bytes &&
      answer_bytes_ + bytes <= rules.all_session_answer_bytes) {
    *answer.mutable_response() = *response;
  } else {
    *answer.mutable_response() = Reduced(*response);
    answer.mutable_response()->set_reduced(answer.response().ByteSizeLong() < bytes);
  }
  response->set_decided(true);

  std::string record = answer.SerializeAsString();
  uint64_t& digest = shared_.state.digest;
  digest = HashMix(HashMix(digest, static_cast<uint64_t>(lease)), asked.seq());
  digest = Hash64(record, digest);
  shared_.batch.Put(SessionEngineKey(lease, asked.seq()), record);
  ++answers_;
  answer_bytes_ += record.size();
  session.answers.emplace(asked.seq(), std::move(record));
}

void SessionTable::Acknowledge(int64_t lease, uint64_t acked, Session* session) {
  session->acked = std::max(session->acked, acked);
  const auto end = session->answers.upper_bound(acked);
  for (auto it = session->answers.begin(); it != end; it = session->answers.erase(it)) {
    shared_.batch.Delete(SessionEngineKey(lease, it->first));
    --answers_;
    answer_bytes_ -= it->second.size();
  }
}

void SessionTable::End(int64_t lease) {
  const auto found = sessions_.find(lease);
  if (found == sessions_.end() || RAFTKV_MUTANT("sessions-outlive-their-leases")) return;
  Acknowledge(lease, UINT64_MAX, &found->second);
  sessions_.erase(found);
}

proto::CommandResponse SessionTable::Reduced(const proto::CommandResponse& response) {
  proto::CommandResponse reduced;
  switch (response.op_case()) {
    case proto::CommandResponse::kPut:
      *reduced.mutable_put()->mutable_header() = response.put().header();
      break;
    case proto::CommandResponse::kDeleteRange:
      *reduced.mutable_delete_range()->mutable_header() = response.delete_range().header();
      reduced.mutable_delete_range()->set_deleted(response.delete_range().deleted());
      break;
    case proto::CommandResponse::kTxn:
      *reduced.mutable_txn()->mutable_header() = response.txn().header();
      reduced.mutable_txn()->set_succeeded(response.txn().succeeded());
      break;
    case proto::CommandResponse::kChangeAlarm:
      reduced.mutable_change_alarm();
      break;
    case proto::CommandResponse::kCompaction:  // these are never large
    case proto::CommandResponse::kLeaseGrant:
    case proto::CommandResponse::kLeaseRevoke:
    case proto::CommandResponse::kRenewLeases:
    case proto::CommandResponse::kChangeMembers:
    case proto::CommandResponse::OP_NOT_SET:
      reduced = response;
  }
  return reduced;
}

}  // namespace raftkv
