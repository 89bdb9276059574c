#include "server/api/sessions.h"

#include <optional>
#include <string_view>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "proto/etcd/metadata.h"
#include "server/api/errors.h"
#include "storage/rules/version.h"

namespace raftkv::api {

namespace {

static_assert(kSessionsClusterVersion == kSessionsVersion);

absl::string_view View(std::string_view text) { return {text.data(), text.size()}; }

absl::Status Malformed(std::string_view key, const char* wanted) {
  return ToWire(
      absl::InvalidArgumentError(absl::StrCat("the metadata ", View(key), " must be ", wanted)));
}

}  // namespace

absl::Status BindToSession(const Call& call, proto::Command* command) {
  const std::optional<std::string_view> lease = call.Metadata(kSessionKey);
  if (!lease) return absl::OkStatus();
  int64_t id = 0;
  uint64_t seq = 0, acked = 0;
  if (!absl::SimpleAtoi(View(*lease), &id) || id == 0) {
    return Malformed(kSessionKey, "the id of a lease, as a decimal number");
  }
  if (!absl::SimpleAtoi(View(call.Metadata(kSeqKey).value_or("")), &seq) || seq == 0) {
    return Malformed(kSeqKey, "a decimal number from 1 on");
  }
  if (!absl::SimpleAtoi(View(call.Metadata(kAckedKey).value_or("0")), &acked) || acked >= seq) {
    return Malformed(kAckedKey, "a decimal number below raftkv-seq");
  }
  proto::Session& session = *command->mutable_session();
  session.set_lease_id(id);
  session.set_seq(seq);
  session.set_acked(acked);
  return absl::OkStatus();
}

}  // namespace raftkv::api
