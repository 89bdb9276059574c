#ifndef RAFTKV_TESTS_E2E_TRAFFIC_H_
#define RAFTKV_TESTS_E2E_TRAFFIC_H_

// Clients for tests that break a cluster, and the history of what they saw. They put, delete, get,
// compare-and-swap and run transactions, over a few keys (TrafficKey) and prefixes, through all
// members. About half of the calls only read; each put writes a unique value. After an error a
// client uses another member. Every call has a deadline, so no client hangs.
//
// Optionally a further client compacts the store regularly. Before that, all revisions that a
// compaction removes are read, as evidence for the checker (linearizability.h). It also makes
// members flush their memory tables to files now and then.

#include <atomic>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "glog/logging.h"
#include "tests/e2e/cluster.h"
#include "tests/e2e/linearizability.h"

namespace raftkv::e2e {

// The keys by number, in groups of five. The first key of a group is short. The other four share a
// long prefix: the prefix itself, and the prefix followed by byte 0, by byte 255, and by a word.
std::string TrafficKey(int number);

struct TrafficOptions {
  int clients = 8;
  int keys = 10;  // at most 50
  uint64_t seed = 1;
  bool serializable_reads = false;                      // to test the checker: they may be stale
  absl::Duration compact_every = absl::ZeroDuration();  // zero: never
  absl::Duration call_timeout = absl::Seconds(2);
  // The revision of the store at the start. Keys from "l" on may exist then; the traffic neither
  // uses nor reads them.
  int64_t start_revision = 1;
};

class Traffic {
 public:
  // Starts the clients. The cluster must have no keys below "l", and nothing else may write to it.
  Traffic(Cluster* cluster, const TrafficOptions& options);
  ~Traffic();

  int64_t acknowledged() const { return acknowledged_; }
  // Waits for `count` more acknowledgements; false if they do not come in time.
  bool WaitForAcknowledged(int64_t count, absl::Duration timeout);

  void Stop();

  // Call it after Stop, when the running members are equal. Returns the operations of the clients
  // and those that the test passed to Record, a last get of every key through every running member,
  // and evidence of every revision, read from the members in turn.
  History Collect();
  // The key must be below "l": there is evidence only of these keys, so a write of unknown outcome
  // to another one would leave a revision that nothing explains.
  void Record(Operation op) {
    CHECK_LT(op.key, "l");
    recorded_.push_back(std::move(op));
  }
  // The number of acknowledged compactions. Call it after Stop.
  int64_t compactions() const { return compactions_; }

 private:
  void RunClient(int client);
  void RunReader();
  void RunCompactor();
  std::vector<std::unique_ptr<Connection>> Connect() const;  // to every member
  // Reads the evidence of all revisions up to `end`, from members that answer.
  void ReadEvidence(int64_t end);

  Cluster* const cluster_;
  const TrafficOptions options_;
  std::atomic<bool> stop_{false};
  std::atomic<int64_t> acknowledged_{0};
  std::vector<std::vector<Operation>> seen_;  // by each client
  std::vector<Operation> recorded_;           // passed to Record
  std::vector<std::thread> threads_;

  // Used by RunReader, and after Stop by the test.
  std::vector<std::unique_ptr<Connection>> evidence_connections_;
  std::vector<Change> evidence_;
  std::map<std::string, std::string> evidence_state_;  // at evidence_end_
  std::atomic<int64_t> evidence_end_;

  // Used by RunCompactor, and after Stop by the test.
  std::vector<Operation> compactor_seen_;
  int64_t compactions_ = 0;
};

// Makes one call through one connection. `op` describes the request. Returns it with the times, the
// outcome and the answer filled in.
Operation Perform(Connection& connection, Operation op, bool serializable = false,
                  absl::Duration timeout = kCallTimeout);
// The same for a put, delete or get; `value` is for puts.
Operation Observe(Connection& connection, Operation::Kind kind, const std::string& key,
                  const std::string& value = "", bool serializable = false,
                  absl::Duration timeout = kCallTimeout);

}  // namespace raftkv::e2e

#endif  // RAFTKV_TESTS_E2E_TRAFFIC_H_
