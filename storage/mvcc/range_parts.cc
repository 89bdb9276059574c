#include "storage/mvcc/range_parts.h"

#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "storage/mvcc/counts.h"

namespace raftkv::mvcc {

using etcdserverpb::RangeRequest;
using etcdserverpb::RangeResponse;

RangeParts::RangeParts(RangeRequest request)
    : request_(std::move(request)),
      rest_(VersionRange(request_.key(), request_.range_end())),
      keys_left_(request_.limit() > 0 ? request_.limit() : INT64_MAX),
      keys_done_(request_.count_only()) {}

absl::Status RangeParts::Next(const ReadState& state, int64_t bytes_max, Meter* meter,
                              RangeResponse* part) {
  if (revision_ == 0) {
    newest_ = state.revision;
    revision_ = request_.revision() > 0 ? request_.revision() : newest_;
  }
  if (absl::Status s = CheckRevision(state, revision_); !s.ok()) return s;
  if (!keys_done_) ReadKeys(state, bytes_max, meter, part);
  if (keys_done_ && !meter->over()) {
    std::optional<int64_t> rest = 0;
    if (more_ || request_.count_only()) {
      rest = CountLive(state, rest_, revision_, meter);
    }
    if (rest) {
      part->mutable_header()->set_revision(newest_);
      part->set_more(more_);
      part->set_count(keys_ + *rest);
      done_ = true;
    }
  }
  if (meter->over() && absl::IsCancelled(meter->status())) return meter->status();
  return absl::OkStatus();
}

void RangeParts::ReadKeys(const ReadState& state, int64_t bytes_max, Meter* meter,
                          RangeResponse* part) {
  VersionCursor cursor(state.view, rest_, revision_, meter);
  if (state.settled) cursor.SkipDeadBlocks(state);
  int64_t bytes = 0;
  while (cursor.Next()) {
    if (keys_left_ == 0) {
      keys_done_ = more_ = true;
      return;
    }
    std::string key = cursor.key();
    const std::string_view value = request_.keys_only() ? std::string_view() : cursor.value();
    bytes += AnswerBytes(key.size() + value.size());
    if (part->kvs_size() > 0 && bytes > bytes_max) return;
    *part->add_kvs() = ToKeyValue(std::move(key), cursor.head(), value);
    rest_.begin = AfterVersions(cursor.prefix());
    ++keys_;
    --keys_left_;
  }
  keys_done_ = !meter->over();
}

}  // namespace raftkv::mvcc
