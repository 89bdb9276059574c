#include "server/stop_limit.h"

#include <unistd.h>

#include <utility>

#include "glog/logging.h"
#include "server/log_writer.h"
#include "storage/base/disk_operations.h"

namespace raftkv {

StopLimit::StopLimit(StopLimitOptions options)
    : options_(std::move(options)), thread_([this] { Run(); }) {}

StopLimit::~StopLimit() {
  stopped_.Notify();
  thread_.join();
}

void StopLimit::Run() {
  if (stopped_.WaitForNotificationWithTimeout(options_.limit)) return;
  LOG(ERROR) << "the stop has not ended within " << absl::FormatDuration(options_.limit)
             << ": it still " << options_.step()
             << (WaitForSpace::Any() ? ", and a write waits for space, because the disk is full"
                                     : "")
             << "; the process ends now; nothing that was acknowledged is lost";
  LogWriter::FlushInstalled();
  if (options_.end_process) return options_.end_process();
  _exit(1);
}

}  // namespace raftkv
