#ifndef RAFTKV_TESTS_E2E_LINKS_H_
#define RAFTKV_TESTS_E2E_LINKS_H_

// A proxy that carries the connections between the members of a cluster, in a thread of its own.
// Each direction between two members may be cut or slow. A byte that cannot be forwarded yet waits.
// No byte is lost.
//
//   Cluster cluster({.size = 3});
//   Links links(&cluster);  // before the members are started
//   links.StartAll();
//   links.Cut(0, 1);

#include <sys/types.h>

#include <atomic>
#include <list>
#include <map>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "tests/e2e/cluster.h"

namespace raftkv::e2e {

class Links {
 public:
  explicit Links(Cluster* cluster);
  ~Links();

  void StartAll();  // starts all members of the cluster

  void Cut(int from, int to);
  void HealAll();
  // At most so many bytes a second arrive in this direction. All connections share them equally.
  void Slow(int from, int to, int bytes_per_second);
  // How many bytes have arrived in this direction.
  uint64_t arrived(int from, int to) const { return arrived_[from * size_ + to]; }

 private:
  static constexpr size_t kBufferBytes = 64 << 10;

  // What one end sent and the other end has not got yet.
  struct Way {
    std::string buffer;
    bool ended = false;  // the sender has closed
  };
  struct Link {
    // The connection of the member that opened it, and the one to the other member.
    int ends[2] = {-1, -1};
    int members[2] = {-1, -1};
    Way ways[2];  // ways[i] carries what members[i] sends
  };
  struct Rate {
    int bytes_per_second = 0;
    double bytes = 0;  // that may be sent now
  };

  static void CloseBoth(const Link& link);
  void Run();
  std::list<Link>::iterator Close(std::list<Link>::iterator link);
  void Accept(int to);
  void Identify(Link* link) const;
  bool IsCut(const Link& link, int way) const;
  size_t MaySend(const Link& link, int way);
  void OnSent(const Link& link, int way, size_t bytes);
  bool Carry(Link* link);
  void AddTime();
  void Wait() const;

  Cluster* const cluster_;
  const int size_;
  std::vector<int> targets_;
  std::vector<int> listeners_;
  // The processes of the members. Their connections wait until these are known.
  std::vector<std::atomic<pid_t>> pids_;
  std::vector<std::atomic<uint64_t>> arrived_;
  mutable absl::Mutex mutex_;
  std::set<std::pair<int, int>> cuts_ ABSL_GUARDED_BY(mutex_);
  std::map<std::pair<int, int>, Rate> rates_ ABSL_GUARDED_BY(mutex_);
  // The thread uses these.
  std::list<Link> links_;
  absl::Time now_;
  bool moved_ = false;  // bytes, in this pass
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

}  // namespace raftkv::e2e

#endif  // RAFTKV_TESTS_E2E_LINKS_H_
