#include "storage/data_dir/dir_remover.h"

#include <filesystem>
#include <system_error>
#include <utility>

namespace raftkv {

namespace fs = std::filesystem;

DirRemover::~DirRemover() {
  std::thread thread;
  {
    absl::MutexLock lock(&mutex_);
    stopped_ = true;
    thread = std::move(thread_);
  }
  if (thread.joinable()) thread.join();
}

void DirRemover::Remove(std::string dir) {
  absl::MutexLock lock(&mutex_);
  dirs_.push_back(std::move(dir));
  if (!thread_.joinable()) thread_ = std::thread([this] { Run(); });
}

bool DirRemover::stopped() {
  absl::MutexLock lock(&mutex_);
  return stopped_;
}

void DirRemover::Run() {
  const auto has_work = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return stopped_ || !dirs_.empty();
  };
  while (true) {
    std::string dir;
    {
      absl::MutexLock lock(&mutex_);
      mutex_.Await(absl::Condition(&has_work));
      if (stopped_) return;
      dir = std::move(dirs_.front());
      dirs_.pop_front();
    }
    std::error_code error;
    for (fs::directory_iterator it(dir, error); !error && it != fs::directory_iterator();
         it.increment(error)) {
      if (stopped()) return;
      std::error_code ignored;
      fs::remove_all(it->path(), ignored);
    }
    fs::remove(dir, error);
  }
}

}  // namespace raftkv
