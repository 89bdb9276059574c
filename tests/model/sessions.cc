// The model's sessions.

#include <algorithm>
#include <string>
#include <vector>

#include "tests/model/model.h"

namespace raftkv {

std::vector<uint64_t> Model::Numbers(int64_t lease) const {
  std::vector<uint64_t> numbers;
  for (const auto& [id, kept] : kept_) {
    if (id.first == lease) numbers.push_back(id.second);
  }
  return numbers;
}

absl::Status Model::CheckSession(const proto::Command& command) const {
  const proto::Session& session = command.session();
  if (!leases_.contains(session.lease_id())) {
    return absl::FailedPreconditionError("session expired");
  }
  uint64_t acked = session.acked();
  size_t others = 0;  // the answers that remain, of this session
  for (const auto& [id, kept] : kept_) {
    if (id.first == session.lease_id()) acked = std::max(acked, kept.acked);
  }
  if (session.seq() <= acked) {
    return absl::OutOfRangeError("the answer to number " + std::to_string(session.seq()) +
                                 " of the session was acknowledged");
  }
  const auto known = kept_.find({session.lease_id(), session.seq()});
  if (known != kept_.end()) {
    if (known->second.op == command.op_case()) return absl::OkStatus();
    return absl::InvalidArgumentError("number " + std::to_string(session.seq()) +
                                      " of the session was used for another request");
  }
  const std::vector<uint64_t> numbers = Numbers(session.lease_id());
  others = static_cast<size_t>(std::count_if(
      numbers.begin(), numbers.end(), [&](uint64_t number) { return number > session.acked(); }));
  if (others >= rules().session_answers) {
    return absl::ResourceExhaustedError(
        "the session has " + std::to_string(rules().session_answers) +
        " answers that were not acknowledged, and no more are possible; wait for answers, and "
        "acknowledge them");
  }
  if (kept_.size() - numbers.size() + others >= rules().all_session_answers) {
    return absl::ResourceExhaustedError("the sessions have " +
                                        std::to_string(rules().all_session_answers) +
                                        " answers that were not acknowledged, and no more are "
                                        "possible");
  }
  return absl::OkStatus();
}

void Model::Keep(const proto::Command& command, Answer* answer) {
  const proto::Session& session = command.session();
  if (!leases_.contains(session.lease_id())) return;
  std::erase_if(kept_, [&](const auto& kept) {
    return kept.first.first == session.lease_id() && kept.first.second <= session.acked();
  });
  answer->response.set_decided(false);
  Kept kept{.acked = session.acked(), .op = command.op_case(), .answer = *answer};
  size_t stored = 0;
  for (const auto& [id, other] : kept_) {
    proto::SessionAnswer record;
    record.set_acked(other.acked);
    record.set_op(static_cast<uint32_t>(other.op));
    record.set_revision(other.answer.revision);
    record.set_code(static_cast<uint32_t>(other.answer.status.code()));
    record.set_text(std::string(other.answer.status.message()));
    *record.mutable_response() = other.answer.response;
    record.mutable_response()->clear_decided();
    stored += record.ByteSizeLong();
  }
  const size_t bytes = answer->response.ByteSizeLong();
  if (bytes > rules().session_answer_bytes || stored + bytes > rules().all_session_answer_bytes) {
    proto::CommandResponse& small = kept.answer.response;
    if (small.has_put()) small.mutable_put()->clear_prev_kv();
    if (small.has_delete_range()) small.mutable_delete_range()->clear_prev_kvs();
    if (small.has_txn()) small.mutable_txn()->clear_responses();
    if (small.has_change_alarm()) small.mutable_change_alarm()->clear_alarms();
    small.set_reduced(small.ByteSizeLong() < bytes);
  }
  kept.answer.response.set_decided(true);
  answer->response.set_decided(true);
  kept_[{session.lease_id(), session.seq()}] = kept;
}

}  // namespace raftkv
