#ifndef RAFTKV_STORAGE_BACKUP_PROGRESS_BAR_H_
#define RAFTKV_STORAGE_BACKUP_PROGRESS_BAR_H_

// How much of a backup has been saved, checked or restored, on a terminal: one line that is drawn
// anew, a few times a second.

#include <algorithm>
#include <cstdint>
#include <ostream>
#include <string>

#include "absl/strings/str_format.h"
#include "absl/time/time.h"

namespace raftkv {

class ProgressBar {
 public:
  // `out`: a terminal, which must outlive the bar; null: nothing is drawn. `begin`: the time now.
  ProgressBar(std::ostream* out, absl::Time begin) : out_(out), begin_(begin) {}
  ~ProgressBar() {
    if (drawn_) *out_ << "\r\033[K" << std::flush;
  }
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  // Of `all` bytes, `bytes` are done at the time `now`.
  void Set(uint64_t bytes, uint64_t all, absl::Time now) {
    if (out_ == nullptr || now < next_) return;
    next_ = now + kInterval;
    drawn_ = true;
    constexpr double kMiB = 1 << 20;
    const double done =
        all == 0 ? 1 : std::min(1.0, static_cast<double>(bytes) / static_cast<double>(all));
    const double seconds = std::max(absl::ToDoubleSeconds(now - begin_), 1e-3);
    const std::string filled(static_cast<size_t>(done * kWidth), '#');
    *out_ << absl::StrFormat("\r[%-*s] %3.0f%%  %.1f of %.1f MiB, %.0f MiB/s\033[K", kWidth, filled,
                             100 * done, static_cast<double>(bytes) / kMiB,
                             static_cast<double>(all) / kMiB,
                             static_cast<double>(bytes) / kMiB / seconds)
          << std::flush;
  }

 private:
  static constexpr int kWidth = 30;
  static constexpr absl::Duration kInterval = absl::Milliseconds(100);

  std::ostream* const out_;
  const absl::Time begin_;
  absl::Time next_ = begin_;
  bool drawn_ = false;
};

}  // namespace raftkv

#endif  // RAFTKV_STORAGE_BACKUP_PROGRESS_BAR_H_
