#ifndef RAFTKV_SERVER_METRICS_H_
#define RAFTKV_SERVER_METRICS_H_

// The page /metrics, in the text format of Prometheus. Metrics that mean the same as one of etcd's
// have etcd's name, so that its dashboards and alerts work; the others begin with "raftkv_".
//
// Once a second, the loop publishes the values that only it may read. Calls and durations are
// counted where they happen, with atomic counters. Text reads all values, on any thread.

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "config/config.h"
#include "server/api/edge.h"
#include "server/member/events.h"
#include "server/member/member.h"
#include "server/rpc/method.h"
#include "storage/base/duration_histogram.h"
#include "storage/engine/engine.h"

namespace raftkv {

// The state of one member, as its loop sees it.
struct MemberFacts {
  MemberStatus status;
  raft::Index applied = 0;
  Revision revision = 0;
  Revision compacted_revision = 0;
  size_t members = 0;
  size_t leases = 0;
  size_t watch_streams = 0;
  size_t watches = 0;
  size_t watch_bytes = 0;  // events queued for watches
  uint64_t state_bytes = 0;
  bool disk_readers_in_use = false;
  EngineUsage log_engine, state_engine;
};

// What the client port counts.
struct ClientFacts {
  size_t connections = 0;
  int calls = 0;
  size_t unsent_bytes = 0;
};

class Metrics final : public MemberObserver {
 public:
  // All pointers must outlive this.
  Metrics(const Config* config, const MemberConfig* self, const Member* member,
          const api::Counters* counters);
  ~Metrics() override;

  // Counts the calls of these methods. Call it before they are served.
  void Observe(Methods* methods);

  // On the loop's thread.
  void OnEvent(const ReplicaEvent& event) override;
  void Publish(MemberFacts facts);
  // From any thread. How long one run of the applier took.
  void OnApplied(absl::Duration took) { applies_.Add(took); }

  // From any thread.
  std::string Text(const ClientFacts& clients) const;

 private:
  class Families;
  class MethodCounter;

  void AddMember(const MemberFacts& facts, Families* to) const;
  void AddStore(const MemberFacts& facts, Families* to) const;
  void AddEngines(const MemberFacts& facts, Families* to) const;
  void AddPeers(const MemberFacts& facts, Families* to) const;
  void AddCalls(const ClientFacts& clients, Families* to) const;

  const Config& config_;
  const MemberConfig& self_;
  const Member& member_;
  const api::Counters& counters_;
  std::map<std::string, std::unique_ptr<MethodCounter>> methods_;  // constant once served
  DurationHistogram applies_;
  std::atomic<uint64_t> leader_changes_{0};
  mutable absl::Mutex mutex_;
  MemberFacts facts_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace raftkv

#endif  // RAFTKV_SERVER_METRICS_H_
