// The format of a backup: what is written is read again, and a torn or altered file is noticed,
// wherever it is torn or altered.

#include "storage/backup/backup_file.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/storage/testing.h"

namespace raftkv {
namespace {

class BackupFile : public testing::Test {
 protected:
  // The encoded pieces of a backup of files with these contents.
  std::vector<std::string> Encode(const std::vector<std::string>& contents) {
    proto::BackupHeader header;
    for (size_t i = 0; i < contents.size(); ++i) {
      auto* file = header.add_files();
      file->set_name(i == 0 ? "CURRENT" : std::to_string(i) + ".sst");
      file->set_size(contents[i].size());
    }
    header.set_revision(7);
    BackupEncoder encoder(header, [&](size_t file, uint64_t offset, size_t bytes_max) {
      return contents[file].substr(offset, bytes_max);
    });
    std::vector<std::string> pieces;
    while (!encoder.done()) {
      auto piece = encoder.Next();
      CHECK(piece.ok()) << piece.status();
      pieces.push_back(*std::move(piece));
    }
    size_t size = 0;
    for (const std::string& piece : pieces) size += piece.size();
    EXPECT_EQ(size, encoder.size());
    EXPECT_EQ(size % 512, 32u) << "etcd's clients check it";
    EXPECT_EQ(pieces.back().size(), 32u) << "the SHA-256 is a message of its own";
    return pieces;
  }
  static std::string Join(const std::vector<std::string>& pieces) {
    std::string all;
    for (const std::string& piece : pieces) all += piece;
    return all;
  }
  // Writes a file, reads all of it, and returns the contents in `read`. The file is in memory,
  // because thousands of them are written.
  absl::Status Read(const std::string& bytes, std::vector<std::string>* read = nullptr) {
    const int fd = memfd_create("backup", MFD_CLOEXEC);
    CHECK_EQ(write(fd, bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
    path_ = absl::StrCat("/proc/self/fd/", fd);
    absl::Cleanup close_file = [fd] { close(fd); };
    auto reader = BackupReader::Open(path_);
    if (!reader.ok()) return reader.status();
    std::vector<std::string> contents((*reader)->header().files_size());
    absl::Status status = (*reader)->ReadAll(
        [&](size_t file, uint64_t offset, std::string_view data, uint32_t) {
          EXPECT_EQ(contents[file].size(), offset);
          contents[file].append(data);
          return absl::OkStatus();
        },
        {});
    if (read != nullptr) *read = contents;
    return status;
  }

  TempDir dir_;
  std::string path_;  // of the file that was read last
};

TEST_F(BackupFile, FilesOfAllSizesAreReadAgain) {
  const size_t chunk = BackupEncoder::kChunkBytes;
  std::vector<std::string> contents = {"MANIFEST-1\n",
                                       "",
                                       std::string(chunk, 'a'),
                                       std::string(chunk + 1, 'b'),
                                       std::string(2 * chunk, 'c'),
                                       ""};
  for (const auto& of : {contents, {"x"}, {""}}) {
    std::vector<std::string> read;
    ASSERT_TRUE(Read(Join(Encode(of)), &read).ok());
    EXPECT_EQ(read, of);
  }
}

// Every size of the padding, 0 included.
TEST_F(BackupFile, ZerosFillTheLastBlock) {
  for (size_t bytes = 1; bytes <= 513; ++bytes) {
    ASSERT_TRUE(Read(Join(Encode({std::string(bytes, 'x')}))).ok()) << bytes;
  }
}

TEST_F(BackupFile, EveryTruncationIsNoticed) {
  const std::string whole = Join(Encode({"MANIFEST-1\n", std::string(900, 'x')}));
  for (size_t bytes = 0; bytes < whole.size(); ++bytes) {
    const absl::Status status = Read(whole.substr(0, bytes));
    ASSERT_EQ(status.code(), absl::StatusCode::kDataLoss) << bytes << ": " << status;
    EXPECT_TRUE(absl::StrContains(status.message(), "is torn")) << status;
    EXPECT_TRUE(absl::StartsWith(status.message(), path_)) << status;
  }
  EXPECT_EQ(Read(whole + "x").code(), absl::StatusCode::kDataLoss);
  EXPECT_TRUE(Read(whole).ok());
}

TEST_F(BackupFile, EveryAlteredBitIsNoticed) {
  const std::string whole = Join(Encode({"MANIFEST-1\n", std::string(900, 'x')}));
  for (size_t bit = 0; bit < whole.size() * 8; ++bit) {
    std::string altered = whole;
    altered[bit / 8] = static_cast<char>(altered[bit / 8] ^ (1 << (bit % 8)));
    const absl::Status status = Read(altered);
    ASSERT_FALSE(status.ok()) << "bit " << bit;
    const bool in_format = bit / 8 < 16;
    ASSERT_EQ(status.code(),
              in_format ? absl::StatusCode::kInvalidArgument : absl::StatusCode::kDataLoss)
        << "bit " << bit << ": " << status;
  }
}

TEST_F(BackupFile, OtherFilesAreNoBackups) {
  const absl::Status status = Read(std::string(4096, '\0') + "bbolt");
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(), path_ + ": is not a backup of raftkv");
  const absl::Status newer = Read("raftkv backup 2\n" + std::string(1000, 'x'));
  EXPECT_TRUE(absl::StrContains(newer.message(), "newer format")) << newer;
  EXPECT_EQ(BackupReader::Open(dir_ / "none").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(BackupReader::Open(dir_.path()).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace raftkv
