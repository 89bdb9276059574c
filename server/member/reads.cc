#include "server/member/reads.h"

#include <iterator>
#include <utility>

namespace raftkv {

void Reads::Add(ReadRequest request, absl::Time deadline) {
  waiting_.push_back({std::move(request.done), deadline});
  ++size_;
}

uint64_t Reads::Ask() {
  const uint64_t id = next_id_++;
  asked_[id].assign(std::make_move_iterator(waiting_.begin()),
                    std::make_move_iterator(waiting_.end()));
  waiting_.clear();
  return id;
}

void Reads::OnAnswer(uint64_t id, raft::Index index) {
  auto it = asked_.find(id);
  if (it == asked_.end()) return;
  std::vector<Read> reads = std::move(it->second);
  asked_.erase(it);
  if (index == 0) {
    waiting_.insert(waiting_.begin(), std::make_move_iterator(reads.begin()),
                    std::make_move_iterator(reads.end()));
    return;
  }
  for (Read& read : reads) confirmed_.emplace(index, std::move(read));
}

std::vector<Reads::Read> Reads::TakeConfirmed(raft::Index handed_over) {
  std::vector<Read> reads;
  auto end = confirmed_.upper_bound(handed_over);
  for (auto it = confirmed_.begin(); it != end; ++it) reads.push_back(std::move(it->second));
  confirmed_.erase(confirmed_.begin(), end);
  size_ -= reads.size();
  return reads;
}

template <typename Container>
void Reads::EndIn(Container* reads, absl::Time now, Fate fate) {
  for (auto it = reads->begin(); it != reads->end();) {
    Read* read;
    if constexpr (requires { it->second; }) {
      read = &it->second;
    } else {
      read = &*it;
    }
    if (read->deadline > now) {
      ++it;
      continue;
    }
    ReadDone done = std::move(read->done);
    it = reads->erase(it);
    --size_;
    done(fate);
  }
}

void Reads::EndUntil(absl::Time now, Fate fate) {
  EndIn(&waiting_, now, fate);
  for (auto& [id, reads] : asked_) EndIn(&reads, now, fate);
  EndIn(&confirmed_, now, fate);
}

void Reads::Expire(absl::Time now) { EndUntil(now, Fate::kTimedOut); }

void Reads::Stop() { EndUntil(absl::InfiniteFuture(), Fate::kStopped); }

}  // namespace raftkv
