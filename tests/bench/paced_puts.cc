#include "tests/bench/paced_puts.h"

#include <unistd.h>

#include <fstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"

namespace raftkv::e2e {

std::string Ms(const Histogram& times, double fraction) {
  return absl::StrFormat("%.1f", static_cast<double>(times.Percentile(fraction)) / 1000);
}

int64_t ResidentMiB(pid_t pid) {
  std::ifstream file(absl::StrCat("/proc/", pid, "/statm"));
  int64_t total = 0, resident = 0;
  file >> total >> resident;
  return (resident * sysconf(_SC_PAGESIZE)) >> 20;
}

PacedPuts::PacedPuts(const std::vector<std::unique_ptr<Connection>>* connections, int per_second,
                     std::function<std::string()> next_key)
    : connections_(*connections), per_second_(per_second), next_key_(std::move(next_key)) {}

void PacedPuts::Run(absl::Duration duration) {
  const absl::Time begin = absl::Now();
  for (int64_t sent = 0; !stopped_;) {
    const absl::Duration elapsed = absl::Now() - begin;
    if (elapsed >= duration) break;
    const auto due = static_cast<int64_t>(absl::ToDoubleSeconds(elapsed) * per_second_);
    for (; sent < due; ++sent) Send();
    absl::SleepFor(absl::Milliseconds(1));
  }
  absl::MutexLock lock(&mutex_);
  mutex_.Await(absl::Condition(
      +[](int64_t* pending) { return *pending == 0; }, &pending_));
}

void PacedPuts::Send() {
  auto* put = new Put;
  put->sent = absl::Now();
  put->request.set_key(next_key_());
  put->request.set_value(absl::StrFormat("%-256d", absl::ToUnixNanos(put->sent)));
  {
    absl::MutexLock lock(&mutex_);
    ++pending_;
  }
  Connection& connection = *connections_[next_++ % connections_.size()];
  connection.kv->async()->Put(&put->context, &put->request, &put->response,
                              [this, put](const grpc::Status& status) {
                                absl::MutexLock lock(&mutex_);
                                --pending_;
                                if (status.ok()) {
                                  times_.Add(absl::ToInt64Microseconds(absl::Now() - put->sent));
                                } else {
                                  ++failed_;
                                }
                                delete put;
                              });
}

}  // namespace raftkv::e2e
