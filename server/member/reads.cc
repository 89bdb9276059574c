#include "server/member/reads.h"

#include <iterator>
#include <utility>

namespace raftkv {

size_t Reads::size() const {
  size_t size = waiting_.size();
  for (const auto& [id, reads] : asked_) size += reads.size();
  return size;
}

uint64_t Reads::Ask() {
  const uint64_t id = next_id_++;
  asked_[id] = std::exchange(waiting_, {});
  return id;
}

Reads::Batch Reads::TakeConfirmed(uint64_t id) {
  auto asked = asked_.extract(id);
  return asked.empty() ? Batch() : std::move(asked.mapped());
}

void Reads::OnDeclined(uint64_t id, MonotonicTime next) {
  next_ = next;
  Batch reads = TakeConfirmed(id);
  waiting_.insert(waiting_.begin(), std::make_move_iterator(reads.begin()),
                  std::make_move_iterator(reads.end()));
}

void Reads::ForgetAnswered() {
  const auto forget = [](Batch* reads) {
    std::erase_if(*reads, [](const PendingRequestPtr& read) { return read->answered(); });
  };
  forget(&waiting_);
  for (auto& [id, reads] : asked_) forget(&reads);
}

}  // namespace raftkv
