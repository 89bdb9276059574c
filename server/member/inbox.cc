#include "server/member/inbox.h"

#include <variant>

namespace raftkv {

namespace {

// The bytes that a client or a peer sent; 0 for the transport's own reports.
size_t BytesOf(const Input& input) {
  if (const auto* request = std::get_if<ProposeRequest>(&input)) return request->command.size();
  const auto* message = std::get_if<PeerMessage>(&input);
  if (message == nullptr) return 0;
  if (const auto* proposal = std::get_if<ForwardedProposal>(&message->body)) {
    return proposal->payload.size();
  }
  const auto* raft_message = std::get_if<raft::Message>(&message->body);
  if (raft_message == nullptr) return 0;
  size_t bytes = 0;
  if (const auto* append = std::get_if<raft::AppendEntries>(&raft_message->body)) {
    for (const raft::Entry& entry : append->entries) bytes += raft::EntryBytes(entry);
  }
  return bytes;
}

}  // namespace

void Inbox::Post(Input input) {
  const size_t bytes = BytesOf(input);
  const bool full = !inputs_.empty() && (inputs_.size() >= kItemsMax || bytes_ + bytes > kBytesMax);
  if (full) {
    if (auto* request = std::get_if<ProposeRequest>(&input)) {
      request->done(Fate::kTooManyRequests, {});
      return;
    }
    if (auto* read = std::get_if<ReadRequest>(&input)) {
      read->done(Fate::kTooManyRequests);
      return;
    }
    if (auto* renewal = std::get_if<RenewRequest>(&input)) {
      renewal->done(Fate::kTooManyRequests, {});
      return;
    }
    if (auto* transfer = std::get_if<TransferRequest>(&input)) {
      transfer->done(Fate::kTooManyRequests);
      return;
    }
    if (std::holds_alternative<PeerMessage>(input)) return;
  }
  bytes_ += bytes;
  inputs_.push_back(std::move(input));
}

}  // namespace raftkv
