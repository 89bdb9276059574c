#include "server/rpc/poller.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>

#include "glog/logging.h"

namespace raftkv {

Poller::Poller() : epoll_(epoll_create1(EPOLL_CLOEXEC)), wake_(eventfd(0, EFD_CLOEXEC)) {
  PCHECK(epoll_ >= 0 && wake_ >= 0) << "epoll";
  // Edge-triggered: each write to it is one event, and it need not be read.
  epoll_event event = {.events = EPOLLIN | EPOLLET, .data = {.ptr = nullptr}};
  PCHECK(epoll_ctl(epoll_, EPOLL_CTL_ADD, wake_, &event) == 0) << "epoll_ctl";
}

Poller::~Poller() {
  close(wake_);
  close(epoll_);
}

void Poller::Watch(int fd, Owner* owner, bool for_writing) {
  epoll_event event = {.events = EPOLLIN | (for_writing ? EPOLLOUT : 0u), .data = {.ptr = owner}};
  if (epoll_ctl(epoll_, EPOLL_CTL_MOD, fd, &event) == 0) return;
  PCHECK(errno == ENOENT && epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event) == 0) << "epoll_ctl";
}

// One event at a time: its handler may close other sockets.
bool Poller::Poll(int timeout_ms) {
  epoll_event event = {};
  if (epoll_wait(epoll_, &event, 1, timeout_ms) != 1) return false;
  if (event.data.ptr == nullptr) return false;  // Wake
  static_cast<Owner*>(event.data.ptr)->OnReady();
  return true;
}

void Poller::Wait(absl::Duration timeout, const std::function<bool()>& ready) {
  waiting_ = true;
  if (!ready()) Poll(static_cast<int>(absl::ToInt64Milliseconds(timeout)));
  waiting_ = false;
}

void Poller::Wake() {
  if (!waiting_.exchange(false)) return;
  const uint64_t one = 1;
  PCHECK(write(wake_, &one, sizeof(one)) == sizeof(one)) << "eventfd";
}

}  // namespace raftkv
