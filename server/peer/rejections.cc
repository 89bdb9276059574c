#include "server/peer/rejections.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "glog/logging.h"

namespace raftkv {

namespace {

constexpr absl::Duration kSayInterval = absl::Minutes(1);

const char* Name(Rejections::Reason reason) {
  switch (reason) {
    case Rejections::Reason::kCluster:
      return "another cluster";
    case Rejections::Reason::kReceiver:
      return "another receiver";
    case Rejections::Reason::kSender:
      return "unknown sender";
    case Rejections::Reason::kStoreId:
      return "another data directory";
    case Rejections::Reason::kOlderCopy:
      return "an older copy";
    case Rejections::Reason::kReplaced:
      return "a replaced process";
    case Rejections::Reason::kRemoved:
      return "removed member";
    case Rejections::Reason::kMalformed:
      return "malformed";
    case Rejections::Reason::kImplausible:
      return "implausible";
  }
  return "?";
}

}  // namespace

void Rejections::Count(Reason reason, const std::string& what, const std::string& why,
                       MonotonicTime now) {
  ++counts_[reason];
  const std::string& key = why.empty() ? what : why;
  const bool is_new =
      !rejected_by_.contains(key) && logged_.size() < kLinesMax && logged_.insert(key).second;
  if (!is_new && now - said_ < kSayInterval) return;
  said_ = now;
  std::vector<std::string> totals;
  for (const auto& [r, count] : counts_) totals.push_back(absl::StrCat(Name(r), " ", count));
  LOG(WARNING) << "rejected " << what
               << " (messages rejected so far: " << absl::StrJoin(totals, ", ") << ")";
}

bool Rejections::NoteRejectedBy(const std::string& why, MonotonicTime now) {
  if (logged_.contains(why)) return false;
  if (rejected_by_.size() < kLinesMax) rejected_by_.insert(why);
  said_ = now;
  return true;
}

uint64_t Rejections::total() const {
  uint64_t total = 0;
  for (const auto& [reason, count] : counts_) total += count;
  return total;
}

uint64_t Rejections::of(Reason reason) const {
  const auto it = counts_.find(reason);
  return it == counts_.end() ? 0 : it->second;
}

}  // namespace raftkv
