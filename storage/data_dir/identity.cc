#include "storage/data_dir/identity.h"

#include <sys/random.h>

#include <cerrno>
#include <map>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "storage/base/checksum.h"
#include "storage/base/files.h"

namespace raftkv {
namespace {

constexpr uint64_t kFormatVersion = 1;
constexpr size_t kStoreIdBytes = 16;
constexpr char kIdentityFile[] = "IDENTITY";

// The file has lines "name value". The last line is a checksum of those before it. The names of
// cluster and member are C-escaped.
std::string EncodeIdentity(const Identity& identity) {
  std::string text = absl::StrFormat(
      "format_version %d\ncluster_id %016x\ncluster_name %s\nmember_id %016x\nmember_name %s\n"
      "store_id %s\n",
      kFormatVersion, identity.cluster_id, absl::CEscape(identity.cluster_name), identity.member_id,
      absl::CEscape(identity.member_name), absl::BytesToHexString(identity.store_id));
  if (identity.joined) absl::StrAppend(&text, "joined 1\n");
  if (identity.restored) {
    absl::StrAppendFormat(&text, "restored_from %s\nbase_term %d\nbase_index %d\n",
                          identity.restored->token, identity.restored->base.term,
                          identity.restored->base.index);
  }
  absl::StrAppendFormat(&text, "crc32c %08x\n", Crc32c(text));
  return text;
}

absl::StatusOr<Identity> DecodeIdentity(const std::string& path, const std::string& text) {
  const absl::Status damaged = absl::DataLossError(absl::StrCat(path, ": is damaged"));
  std::map<std::string, std::string> values;
  for (const absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    const std::pair<std::string, std::string> pair = absl::StrSplit(line, absl::MaxSplits(' ', 1));
    values.insert(pair);
  }
  const size_t crc_at = text.rfind("crc32c ");  // the last one: a name may contain it, too
  uint64_t crc = 0, format = 0;
  if (crc_at == std::string::npos || !absl::SimpleHexAtoi(values["crc32c"], &crc) ||
      crc != Crc32c(text.substr(0, crc_at)) ||
      !absl::SimpleAtoi(values["format_version"], &format)) {
    return damaged;
  }
  if (format > kFormatVersion) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, ": format version ", format, " is newer than this program's ",
                     kFormatVersion, "; run a newer raftkv-server"));
  }
  Identity identity;
  identity.store_id = absl::HexStringToBytes(values["store_id"]);
  if (!absl::SimpleHexAtoi(values["cluster_id"], &identity.cluster_id) ||
      !absl::SimpleHexAtoi(values["member_id"], &identity.member_id) ||
      !absl::CUnescape(values["cluster_name"], &identity.cluster_name) ||
      !absl::CUnescape(values["member_name"], &identity.member_name) ||
      identity.store_id.size() != kStoreIdBytes) {
    return damaged;
  }
  identity.joined = values.contains("joined");
  if (values.contains("restored_from")) {
    RestoredFrom& restored = identity.restored.emplace();
    restored.token = values["restored_from"];
    if (!absl::SimpleAtoi(values["base_term"], &restored.base.term) ||
        !absl::SimpleAtoi(values["base_index"], &restored.base.index)) {
      return damaged;
    }
  }
  return identity;
}

}  // namespace

std::string IdentityPath(const std::string& dir) { return absl::StrCat(dir, "/", kIdentityFile); }

absl::StatusOr<std::optional<Identity>> ReadIdentityFile(const std::string& dir) {
  const std::string path = IdentityPath(dir);
  const absl::StatusOr<std::string> text = ReadFile(path);
  if (!text.ok()) return text.status();
  if (text->empty()) return std::nullopt;
  return DecodeIdentity(path, *text);
}

absl::Status CreateIdentityFile(const std::string& dir, Identity* identity) {
  identity->store_id.resize(kStoreIdBytes);
  if (getrandom(identity->store_id.data(), kStoreIdBytes, 0) != kStoreIdBytes) {
    return SystemError(IdentityPath(dir), "cannot generate a store id", errno);
  }
  return WriteFile(dir, kIdentityFile, EncodeIdentity(*identity));
}

}  // namespace raftkv
