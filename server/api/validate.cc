#include "server/api/validate.h"

namespace raftkv::api {

namespace {
absl::Status Invalid(const char* text) { return absl::InvalidArgumentError(text); }
}  // namespace

absl::Status Validate(const etcdserverpb::RangeRequest& request) {
  if (request.key().empty()) return Invalid("key is not provided");
  if (!etcdserverpb::RangeRequest::SortOrder_IsValid(request.sort_order()) ||
      !etcdserverpb::RangeRequest::SortTarget_IsValid(request.sort_target())) {
    return Invalid("invalid sort option");
  }
  return absl::OkStatus();
}

absl::Status Validate(const etcdserverpb::PutRequest& request) {
  if (request.key().empty()) return Invalid("key is not provided");
  if (request.ignore_value() && !request.value().empty()) return Invalid("value is provided");
  if (request.ignore_lease() && request.lease() != 0) return Invalid("lease is provided");
  return absl::OkStatus();
}

absl::Status Validate(const etcdserverpb::DeleteRangeRequest& request) {
  if (request.key().empty()) return Invalid("key is not provided");
  return absl::OkStatus();
}

}  // namespace raftkv::api
