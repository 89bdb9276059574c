#ifndef RAFTKV_STORAGE_BACKUP_BACKUP_FILE_H_
#define RAFTKV_STORAGE_BACKUP_BACKUP_FILE_H_

// The format of a backup: one file, which Maintenance.Snapshot sends as a stream
// (docs/decisions/0015). It contains the files of a snapshot (storage/data_dir/snapshot_files.h).
//
//   "raftkv backup 1\n"   the format, 16 bytes
//   size of the header    4 bytes, little-endian, as all numbers here
//   CRC32C of the header  4 bytes
//   the header            proto::BackupHeader
//   the files             in the order of the header, each in chunks of 1 MiB and a rest; before
//                         each chunk its CRC32C, 4 bytes
//   zeros                 until the size is a multiple of 512
//   SHA-256               of all bytes before it, 32 bytes
//
// etcd's clients check that the size of a snapshot is a multiple of 512, plus 32 bytes.
//
// These classes need no database, so that the command line can read a backup. Each object is used
// by one thread. A reader waits for the disk.

#include <openssl/evp.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/statusor.h"
#include "proto/backup.pb.h"

namespace raftkv {

class Sha256 {
 public:
  static constexpr size_t kBytes = 32;
  Sha256();
  ~Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;

  void Update(std::string_view data);
  std::string Finish();  // call it once, as the last one

 private:
  EVP_MD_CTX* const context_;
};

// Produces the bytes of a backup, piece by piece.
class BackupEncoder {
 public:
  static constexpr size_t kChunkBytes = 1 << 20;

  // Reads at most `bytes_max` bytes of a file of the header.
  using ReadFile =
      std::function<absl::StatusOr<std::string>(size_t file, uint64_t offset, size_t bytes_max)>;
  BackupEncoder(proto::BackupHeader header, ReadFile read_file);

  // The size of the whole backup, the SHA-256 included.
  uint64_t size() const { return size_; }
  bool done() const { return step_ == Step::kDone; }
  // The next piece: the header, a chunk, the zeros, or, alone and as the last one, the SHA-256.
  // Never empty. Requires !done().
  absl::StatusOr<std::string> Next();

 private:
  enum class Step { kHeader, kFiles, kZeros, kSha256, kDone };
  absl::StatusOr<std::string> Make();
  absl::StatusOr<std::string> NextChunk();
  void SkipEmptyFiles();

  const proto::BackupHeader header_;
  const std::string encoded_header_;
  const ReadFile read_file_;
  const uint64_t size_;
  Step step_ = Step::kHeader;
  int file_ = 0;  // the next chunk begins here
  uint64_t offset_ = 0;
  uint64_t made_ = 0;  // bytes
  Sha256 sha256_;
};

// Reads a backup. Every error is one line that begins with the path.
class BackupReader {
 public:
  // Reads the header. NotFound, PermissionDenied or Unavailable: the file cannot be read.
  // InvalidArgument: it is no backup of raftkv, or one of a newer format. DataLoss: it is torn or
  // damaged.
  static absl::StatusOr<std::unique_ptr<BackupReader>> Open(const std::string& path);
  ~BackupReader();

  const proto::BackupHeader& header() const { return header_; }
  uint64_t size() const { return size_; }
  // The SHA-256 at the end of the file. ReadAll compares it with the contents.
  const std::string& sha256() const { return sha256_; }

  // Gets each chunk, in order, once its CRC32C was compared.
  using OnChunk = std::function<absl::Status(size_t file, uint64_t offset, std::string_view data,
                                             uint32_t crc)>;
  // Gets the number of bytes read so far.
  using OnProgress = std::function<void(uint64_t bytes)>;
  // Reads everything and compares all checksums. DataLoss: damaged. Discard what `on_chunk` got
  // unless the result is OK. Call it once. Both arguments may be empty.
  absl::Status ReadAll(const OnChunk& on_chunk, const OnProgress& on_progress);

 private:
  BackupReader(std::string path, int fd) : path_(std::move(path)), fd_(fd) {}
  absl::Status ReadHeader();
  absl::Status Read(size_t bytes, std::string* out);  // the next ones
  absl::Status Damaged(std::string_view what) const;

  const std::string path_;
  const int fd_;
  uint64_t size_ = 0;
  uint64_t read_ = 0;
  std::string sha256_;
  proto::BackupHeader header_;
  Sha256 computed_;
};

}  // namespace raftkv

#endif  // RAFTKV_STORAGE_BACKUP_BACKUP_FILE_H_
