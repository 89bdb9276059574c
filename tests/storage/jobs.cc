#include "tests/storage/jobs.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <memory>
#include <thread>

#include "absl/strings/str_cat.h"
#include "config/process.h"
#include "glog/logging.h"
#include "gtest/gtest.h"
#include "rocksdb/env.h"
#include "storage/data_dir/data_dir.h"
#include "storage/engine/rocks_engine.h"
#include "tests/storage/testing.h"

namespace raftkv {
namespace {

// A disk whose syncs fail from a given moment on.
class FailingEnv final : public rocksdb::EnvWrapper {
 public:
  FailingEnv() : EnvWrapper(rocksdb::Env::Default()) {}
  rocksdb::Status NewWritableFile(const std::string& name,
                                  std::unique_ptr<rocksdb::WritableFile>* file,
                                  const rocksdb::EnvOptions& options) override {
    const rocksdb::Status status = target()->NewWritableFile(name, file, options);
    if (status.ok()) file->reset(new File(std::move(*file), &failing));
    return status;
  }
  std::atomic<bool> failing{false};

 private:
  class File final : public rocksdb::WritableFileWrapper {
   public:
    File(std::unique_ptr<rocksdb::WritableFile> file, std::atomic<bool>* failing)
        : WritableFileWrapper(file.get()), file_(std::move(file)), failing_(*failing) {}
    rocksdb::Status Sync() override { return failing_ ? Error() : file_->Sync(); }
    rocksdb::Status Fsync() override { return failing_ ? Error() : file_->Fsync(); }

   private:
    static rocksdb::Status Error() { return rocksdb::Status::IOError("planted: sync failed"); }
    const std::unique_ptr<rocksdb::WritableFile> file_;
    const std::atomic<bool>& failing_;
  };
};

// The process must abort inside one of these calls: if they returned, the caller would continue.
void FailSync(const std::string& path, Durability durability) {
  FailingEnv& env = *new FailingEnv;
  RocksOptions options;
  options.dir = path;
  options.durability = durability;
  options.create_if_missing = true;
  options.env = &env;
  absl::StatusOr<std::unique_ptr<Engine>> engine = OpenRocksEngine(options);
  CHECK(engine.ok()) << engine.status();
  env.failing = true;
  WriteBatch batch;
  batch.Put("a", "1");
  (*engine)->Write(batch, /*sync=*/durability == Durability::kSynced);
  if (durability == Durability::kFlushed) {
    (*engine)->StartFlush();
    while ((*engine)->survived() < (*engine)->written()) std::this_thread::yield();
  }
}

void ReadEverything(const std::string& path) {
  absl::StatusOr<DataDir> dir = OpenDataDir(TestDirOptions(path));
  CHECK(dir.ok()) << dir.status();
  etcdserverpb::RangeRequest request;
  request.set_key("a");
  request.set_range_end("z");
  etcdserverpb::RangeResponse response;
  CHECK(dir->state->Snapshot()->Range(request, Limits(), &response).ok());
}

// kLogEntries synced entries, each a batch of its own; the state machine flushed at half of them.
void FillDataDir(const std::string& path) {
  absl::StatusOr<DataDir> opened = OpenDataDir(TestDirOptions(path));
  CHECK(opened.ok()) << opened.status();
  DataDir& dir = *new DataDir(*std::move(opened));
  const raft::Index first = dir.log->last_index() + 1;
  dir.state->Apply(dir.log->Entries(dir.state->applied().index + 1, first - 1, SIZE_MAX));
  for (raft::Index i = first; i < first + kLogEntries; ++i) {
    const raft::Entry entry =
        MakeEntry(1, i, PutCommand(absl::StrCat("key", i % 50), std::string(100, 'v')));
    dir.log->Save(raft::HardState{.current_term = 1, .voted_for = 1, .commit_index = i}, {entry});
    dir.state->Apply({entry});
    if (i == first + kLogEntries / 2) dir.state->Flush();
  }
}

}  // namespace

void JobMain(const std::string& name, const std::string& path) {
  if (name == "fail-log-sync") {
    FailSync(path, Durability::kSynced);
  } else if (name == "fail-flush") {
    FailSync(path, Durability::kFlushed);
  } else if (name == "read-everything") {
    ReadEverything(path);
  } else if (name == "fill-data-dir") {
    FillDataDir(path);
  } else {
    LOG(FATAL) << "no such job: " << name;
  }
  kill(getpid(), SIGKILL);
  for (;;) pause();
}

int RunJob(const std::string& name, const std::string& path) {
  const pid_t child = fork();
  CHECK_GE(child, 0);
  if (child == 0) {
    execl("/proc/self/exe", "storage_test", "--job", name.c_str(), path.c_str(), nullptr);
    _exit(127);
  }
  int status = 0;
  CHECK_EQ(waitpid(child, &status, 0), child);
  return status;
}

void RunJobAndKill(const std::string& name, const std::string& path) {
  const int status = RunJob(name, path);
  CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << "job " << name << " failed";
}

}  // namespace raftkv

int main(int argc, char** argv) {
  google::InitGoogleLogging(argv[0]);
  FLAGS_logtostderr = true;
  if (argc == 4 && std::string(argv[1]) == "--job") raftkv::JobMain(argv[2], argv[3]);
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
