#include "server/member/large_pace.h"

#include <algorithm>

namespace raftkv {

void LargePace::OnSmallCommitted(MonotonicTime now) {
  if (now - period_begin_ > kPeriod) {
    period_begin_ = now;
    smalls_ = 0;
  }
  if (++smalls_ >= kMany) many_at_ = now;
}

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
  if (now - many_at_ > kPeriod) return true;
  if (batch_bytes_ == 0) return now >= rests_until_;
  return now == proposed_at_ && batch_bytes_ < kBatch * large_bytes_;
}

}  // namespace raftkv
