#include "storage/backup/backup_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "storage/base/check.h"
#include "storage/base/checksum.h"
#include "storage/base/files.h"

namespace raftkv {
namespace {

constexpr std::string_view kFormat = "raftkv backup 1\n";
constexpr std::string_view kAnyFormat = "raftkv backup ";
constexpr size_t kPreambleBytes = kFormat.size() + 4 + 4;
constexpr size_t kCrcBytes = 4;
constexpr uint64_t kBlock = 512;
constexpr uint64_t kHeaderBytesMax = 16 << 20;  // about 3 MiB for 100,000 files
constexpr uint64_t kFileBytesMax = uint64_t{1} << 40;

uint64_t ZerosAfter(uint64_t bytes) { return (kBlock - bytes % kBlock) % kBlock; }

// The size of a backup with this header.
uint64_t SizeOf(const proto::BackupHeader& header, uint64_t header_bytes) {
  uint64_t bytes = kPreambleBytes + header_bytes;
  for (const proto::BackupHeader::File& file : header.files()) {
    const uint64_t chunks =
        (file.size() + BackupEncoder::kChunkBytes - 1) / BackupEncoder::kChunkBytes;
    bytes += file.size() + chunks * kCrcBytes;
  }
  return bytes + ZerosAfter(bytes) + Sha256::kBytes;
}

}  // namespace

// --- Sha256

Sha256::Sha256() : context_(EVP_MD_CTX_new()) {
  CHECK(context_ != nullptr && EVP_DigestInit_ex(context_, EVP_sha256(), nullptr) == 1);
}

Sha256::~Sha256() { EVP_MD_CTX_free(context_); }

void Sha256::Update(std::string_view data) {
  CHECK_EQ(EVP_DigestUpdate(context_, data.data(), data.size()), 1);
}

std::string Sha256::Finish() {
  std::string digest(kBytes, '\0');
  CHECK_EQ(EVP_DigestFinal_ex(context_, reinterpret_cast<unsigned char*>(digest.data()), nullptr),
           1);
  return digest;
}

// --- BackupEncoder

BackupEncoder::BackupEncoder(proto::BackupHeader header, ReadFile read_file)
    : header_(std::move(header)),
      encoded_header_(header_.SerializeAsString()),
      read_file_(std::move(read_file)),
      size_(SizeOf(header_, encoded_header_.size())) {}

absl::StatusOr<std::string> BackupEncoder::Next() {
  CHECK(!done());
  absl::StatusOr<std::string> piece = Make();
  if (!piece.ok()) return piece;
  made_ += piece->size();
  if (step_ == Step::kSha256) {
    step_ = Step::kDone;
    CHECK_EQ(made_, size_);
    return piece;
  }
  sha256_.Update(*piece);
  SkipEmptyFiles();
  step_ = file_ < header_.files_size()     ? Step::kFiles
          : made_ + Sha256::kBytes < size_ ? Step::kZeros
                                           : Step::kSha256;
  return piece;
}

absl::StatusOr<std::string> BackupEncoder::Make() {
  switch (step_) {
    case Step::kHeader: {
      std::string out(kFormat);
      PutFixed32(&out, static_cast<uint32_t>(encoded_header_.size()));
      PutFixed32(&out, Crc32c(encoded_header_));
      return out + encoded_header_;
    }
    case Step::kFiles:
      return NextChunk();
    case Step::kZeros:
      return std::string(ZerosAfter(made_), '\0');
    case Step::kSha256:
    case Step::kDone:
      break;
  }
  return sha256_.Finish();
}

absl::StatusOr<std::string> BackupEncoder::NextChunk() {
  const uint64_t left = header_.files(file_).size() - offset_;
  const size_t bytes = std::min<uint64_t>(left, kChunkBytes);
  absl::StatusOr<std::string> data = read_file_(static_cast<size_t>(file_), offset_, bytes);
  if (!data.ok()) return data;
  CHECK_EQ(data->size(), bytes);
  offset_ += bytes;
  std::string out;
  PutFixed32(&out, Crc32c(*data));
  return out + *data;
}

void BackupEncoder::SkipEmptyFiles() {
  while (file_ < header_.files_size() && offset_ == header_.files(file_).size()) {
    ++file_;
    offset_ = 0;
  }
}

// --- BackupReader

absl::StatusOr<std::unique_ptr<BackupReader>> BackupReader::Open(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0 && errno == ENOENT) {
    std::error_code error;
    return absl::NotFoundError(
        absl::StrCat(std::filesystem::absolute(path, error).string(),
                     ": does not exist; give a file that raftkv snapshot save has written"));
  }
  if (fd < 0) return SystemError(path, "cannot open", errno);
  std::unique_ptr<BackupReader> reader(new BackupReader(path, fd));
  if (absl::Status status = reader->ReadHeader(); !status.ok()) return status;
  return reader;
}

BackupReader::~BackupReader() { close(fd_); }

absl::Status BackupReader::Damaged(std::string_view what) const {
  return absl::DataLossError(
      absl::StrCat(path_, ": ", std::string(what), "; use another copy, or save again"));
}

absl::Status BackupReader::Read(size_t bytes, std::string* out) {
  out->resize(bytes);
  for (size_t got = 0; got < bytes;) {
    const ssize_t n = read(fd_, out->data() + got, bytes - got);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return SystemError(path_, "cannot read", errno);
    if (n == 0) return Damaged("became shorter while it was read");
    got += static_cast<size_t>(n);
  }
  read_ += bytes;
  computed_.Update(*out);
  return absl::OkStatus();
}

absl::Status BackupReader::ReadHeader() {
  struct stat info;
  if (fstat(fd_, &info) != 0) return SystemError(path_, "cannot examine", errno);
  if (!S_ISREG(info.st_mode)) return absl::InvalidArgumentError(path_ + ": is not a file");
  size_ = static_cast<uint64_t>(info.st_size);
  std::string preamble, header;
  if (absl::Status s = Read(std::min<uint64_t>(size_, kPreambleBytes), &preamble); !s.ok())
    return s;
  const std::string_view format = std::string_view(preamble).substr(0, kFormat.size());
  if (!kFormat.starts_with(format)) {
    return absl::InvalidArgumentError(
        absl::StrCat(path_, format.starts_with(kAnyFormat)
                                ? ": has a newer format than this program knows; use a newer raftkv"
                                : ": is not a backup of raftkv"));
  }
  const auto torn = [&](uint64_t whole) {
    return Damaged(absl::StrCat("is torn: it has ", size_, " of ", whole, " bytes"));
  };
  if (size_ < kPreambleBytes) return torn(kPreambleBytes);
  const uint64_t bytes = Fixed32(&preamble[kFormat.size()]);
  if (bytes > kHeaderBytesMax) return Damaged("is damaged: its header is too large");
  if (size_ < kPreambleBytes + bytes) return torn(kPreambleBytes + bytes);
  if (absl::Status s = Read(bytes, &header); !s.ok()) return s;
  if (Crc32c(header) != Fixed32(&preamble[kFormat.size() + 4]) ||
      !header_.ParseFromString(header)) {
    return Damaged("is damaged: its header fails its checksum");
  }
  for (const proto::BackupHeader::File& file : header_.files()) {
    if (file.size() > kFileBytesMax) return Damaged("is damaged: its header is not valid");
  }
  const uint64_t whole = SizeOf(header_, bytes);
  if (size_ < whole) return torn(whole);
  if (size_ > whole) return Damaged(absl::StrCat("has ", size_ - whole, " bytes too many"));
  sha256_.resize(Sha256::kBytes);
  const auto at = static_cast<off_t>(size_ - Sha256::kBytes);
  if (pread(fd_, sha256_.data(), Sha256::kBytes, at) != ssize_t{Sha256::kBytes}) {
    return SystemError(path_, "cannot read", errno);
  }
  return absl::OkStatus();
}

absl::Status BackupReader::ReadAll(const OnChunk& on_chunk, const OnProgress& on_progress) {
  std::string crc, data;
  for (int i = 0; i < header_.files_size(); ++i) {
    const uint64_t size = header_.files(i).size();
    for (uint64_t offset = 0; offset < size; offset += data.size()) {
      if (absl::Status s = Read(kCrcBytes, &crc); !s.ok()) return s;
      const size_t bytes = std::min<uint64_t>(size - offset, BackupEncoder::kChunkBytes);
      if (absl::Status s = Read(bytes, &data); !s.ok()) return s;
      if (Crc32c(data) != Fixed32(crc.data())) {
        return Damaged(absl::StrCat("is damaged: the ", bytes, " bytes before byte ", read_,
                                    " fail their checksum"));
      }
      if (on_chunk != nullptr) {
        absl::Status s = on_chunk(static_cast<size_t>(i), offset, data, Fixed32(crc.data()));
        if (!s.ok()) return s;
      }
      if (on_progress != nullptr) on_progress(read_);
    }
  }
  if (absl::Status s = Read(size_ - Sha256::kBytes - read_, &data); !s.ok()) return s;
  if (computed_.Finish() != sha256_) return Damaged("is damaged: it fails its SHA-256");
  if (on_progress != nullptr) on_progress(size_);
  return absl::OkStatus();
}

}  // namespace raftkv
