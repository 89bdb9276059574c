#include "storage/log/watermark.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "storage/base/checksum.h"
#include "storage/base/disk_operations.h"

namespace raftkv {
namespace {

constexpr off_t kSlotBytes = 4096;
constexpr uint64_t kMagic = 0x314b52414d564b52;  // "RKVMARK1"
// The numbers and a CRC; then what the first releases neither wrote nor read, and a CRC of it all.
constexpr size_t kOldRecordBytes = 10 * 8 + 4;
constexpr size_t kRecordBytes = kOldRecordBytes + 8 + 4;
constexpr std::chrono::seconds kSyncEvery(1);

[[noreturn]] void Die(const char* what, const std::string& path) {
  LOG(ERROR) << what << " of " << path << " failed: " << std::strerror(errno)
             << "; stopping, because data on a failing disk cannot be trusted";
  google::FlushLogFiles(google::INFO);
  std::abort();
}

absl::Status Damaged(const std::string& path, const char* what) {
  return absl::DataLossError(absl::StrCat(path, ": ", what));
}

class WatermarkFile final : public Watermark {
 public:
  WatermarkFile(std::string path, Owner owner, int fd, bool read_only)
      : path_(std::move(path)), owner_(owner), fd_(fd), read_only_(read_only) {}
  ~WatermarkFile() override { close(fd_); }

  absl::Status Load();
  const Mark& mark() const override { return mark_; }
  void Record(const Mark& mark, bool sync) override;

 private:
  std::string Encode() const;
  bool Decode(std::string_view slot, uint64_t* sequence, Owner* owner, Mark* mark) const;
  void Sync();

  const std::string path_;
  const Owner owner_;
  const int fd_;
  const bool read_only_;
  uint64_t sequence_ = 0;  // of the slot that was written last
  Mark mark_;
  std::chrono::steady_clock::time_point synced_at_;
};

bool HasCrc(std::string_view bytes) {
  const size_t size = bytes.size() - 4;
  return Crc32c(bytes.substr(0, size)) == Fixed32(&bytes[size]);
}

// `flags`: of open(2).
absl::StatusOr<int> OpenFile(const std::string& path, int flags) {
  const int fd = open(path.c_str(), flags | O_CLOEXEC, 0600);
  if (fd >= 0) return fd;
  if (errno == ENOENT) return Damaged(path, "is missing");
  return absl::UnavailableError(absl::StrCat(path, ": ", std::strerror(errno)));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Watermark>> Watermark::Open(const std::string& path, Owner owner,
                                                           bool create) {
  const absl::StatusOr<int> fd = OpenFile(path, create ? O_RDWR | O_CREAT : O_RDWR);
  if (!fd.ok()) return fd.status();
  auto watermark = std::make_unique<WatermarkFile>(path, owner, *fd, /*read_only=*/false);
  struct stat info;
  if (fstat(*fd, &info) != 0) return absl::UnavailableError(absl::StrCat(path, ": fstat failed"));
  if (info.st_size == 0 && create) {
    watermark->Record(Mark(), /*sync=*/true);
    watermark->Record(Mark(), /*sync=*/true);  // the second call fills the second slot
    return watermark;
  }
  if (absl::Status status = watermark->Load(); !status.ok()) return status;
  return watermark;
}

absl::StatusOr<std::unique_ptr<Watermark>> Watermark::Read(const std::string& path, Owner owner) {
  const absl::StatusOr<int> fd = OpenFile(path, O_RDONLY);
  if (!fd.ok()) return fd.status();
  auto watermark = std::make_unique<WatermarkFile>(path, owner, *fd, /*read_only=*/true);
  if (absl::Status status = watermark->Load(); !status.ok()) return status;
  return watermark;
}

absl::Status WatermarkFile::Load() {
  bool found = false;
  for (int slot = 0; slot < 2; ++slot) {
    char bytes[kRecordBytes] = {};
    if (pread(fd_, bytes, sizeof(bytes), slot * kSlotBytes) < ssize_t{kOldRecordBytes}) continue;
    uint64_t sequence = 0;
    Owner owner;
    Mark mark;
    if (!Decode({bytes, sizeof(bytes)}, &sequence, &owner, &mark)) continue;
    if (owner.cluster_id != owner_.cluster_id || owner.member_id != owner_.member_id) {
      return Damaged(path_, "belongs to another member");
    }
    if (found && sequence < sequence_) continue;
    found = true;
    sequence_ = sequence;
    mark_ = mark;
  }
  return found ? absl::OkStatus() : Damaged(path_, "both slots are damaged");
}

void WatermarkFile::Record(const Mark& mark, bool sync) {
  mark_ = mark;
  if (read_only_) return;
  ++sequence_;
  const std::string bytes = Encode();
  const off_t offset = static_cast<off_t>(sequence_ % 2) * kSlotBytes;
  ssize_t written;
  do {
    const DiskOperation operation;
    written = pwrite(fd_, bytes.data(), bytes.size(), offset);
  } while (written < 0 && errno == EINTR);
  if (written != static_cast<ssize_t>(bytes.size())) Die("a write", path_);
  if (sync || std::chrono::steady_clock::now() - synced_at_ >= kSyncEvery) Sync();
}

void WatermarkFile::Sync() {
  const DiskOperation operation;
  if (fdatasync(fd_) != 0) Die("fdatasync", path_);
  synced_at_ = std::chrono::steady_clock::now();
}

std::string WatermarkFile::Encode() const {
  std::string out;
  out.reserve(kRecordBytes);
  for (uint64_t v : {kMagic, sequence_, owner_.cluster_id, owner_.member_id, mark_.term, mark_.vote,
                     mark_.first_index, mark_.last.term, mark_.last.index, mark_.chain_hash}) {
    PutFixed64(&out, v);
  }
  PutFixed32(&out, Crc32c(out));
  PutFixed64(&out, mark_.reached);
  PutFixed32(&out, Crc32c(out));
  return out;
}

bool WatermarkFile::Decode(std::string_view slot, uint64_t* sequence, Owner* owner,
                           Mark* mark) const {
  if (!HasCrc(slot.substr(0, kOldRecordBytes))) return false;
  const char* p = slot.data();
  const auto next = [&p] {
    const uint64_t v = Fixed64(p);
    p += 8;
    return v;
  };
  if (next() != kMagic) return false;
  *sequence = next();
  owner->cluster_id = next();
  owner->member_id = next();
  mark->term = next();
  mark->vote = next();
  mark->first_index = next();
  mark->last.term = next();
  mark->last.index = next();
  mark->chain_hash = next();
  mark->reached = HasCrc(slot) ? Fixed64(&slot[kOldRecordBytes]) : mark->last.index;
  return true;
}

}  // namespace raftkv
