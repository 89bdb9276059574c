#include "server/member/large_pace.h"

#include <algorithm>

namespace raftkv {

void LargePace::OnProposed(size_t bytes, MonotonicTime now) {
  if (now != proposed_at_) batch_bytes_ = 0;
  proposed_at_ = now;
  batch_bytes_ += bytes;
}

void LargePace::OnNoneInFlight(MonotonicTime now) {
  if (batch_bytes_ == 0) return;
  batch_bytes_ = 0;
  rests_until_ = now + std::min(kRest * (now - proposed_at_), kRestMax);
}

bool LargePace::MayPropose(MonotonicTime now) const {
  if (now - last_small_ > kSmallsWithin) return true;
  if (batch_bytes_ == 0) return now >= rests_until_;
  return now == proposed_at_ && batch_bytes_ < kBatch * large_bytes_;
}

}  // namespace raftkv
