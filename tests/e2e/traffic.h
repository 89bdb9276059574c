#ifndef RAFTKV_TESTS_E2E_TRAFFIC_H_
#define RAFTKV_TESTS_E2E_TRAFFIC_H_

// Clients that put, delete, get, compare-and-swap and run transactions, single keys and prefixes,
// over a few keys (TrafficKey) through all members while a test breaks things, and the history of
// what they saw. About half the calls only read; each put writes a value of its own. A client goes
// on to another member after an error, and every call has a deadline, so nobody ever hangs. One
// more client, if asked for, compacts the store all along, having read what it is about to lose,
// the evidence for the checker, and has members write what they hold to files now and then.

#include <atomic>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "tests/e2e/cluster.h"
#include "tests/e2e/witness.h"

namespace raftkv::e2e {

// The keys by number. Each five begin with a plain one; the others have a long prefix that is one
// of them, and beyond it nothing, the least byte, the greatest byte, and more.
std::string TrafficKey(int number);

struct TrafficOptions {
  int clients = 8;
  int keys = 10;  // at most 50
  uint64_t seed = 1;
  bool serializable_reads = false;                      // the control: such reads may be stale
  absl::Duration compact_every = absl::ZeroDuration();  // zero: never
  absl::Duration call_timeout = absl::Seconds(2);
};

class Traffic {
 public:
  // Starts at once. The cluster must hold no keys yet; nobody else may write to it.
  Traffic(Cluster* cluster, const TrafficOptions& options);
  ~Traffic();

  int64_t acknowledged() const { return acknowledged_; }
  // Waits for `count` more acknowledgements; false if they do not come in time.
  bool WaitForAcknowledged(int64_t count, absl::Duration timeout);

  void Stop();

  // After Stop, and once the running members are equal: what the clients saw and what the test has
  // Recorded of its own calls, with evidence of every revision, read from the members in turn, and
  // a last get of every key through each that runs.
  History Collect();
  void Record(Operation op) { recorded_.push_back(std::move(op)); }
  // Compactions that were acknowledged; after Stop.
  int64_t compactions() const { return compactions_; }

 private:
  void RunClient(int client);
  void RunReader();
  void RunCompactor();
  std::vector<std::unique_ptr<Connection>> Connect() const;  // to every member
  // Evidence of all revisions up to `end`, from any members that answer.
  void ReadEvidence(int64_t end);

  Cluster* const cluster_;
  const TrafficOptions options_;
  std::atomic<bool> stop_{false};
  std::atomic<int64_t> acknowledged_{0};
  std::vector<std::vector<Operation>> seen_;  // by each client
  std::vector<Operation> recorded_;           // by the test itself
  std::vector<std::thread> threads_;

  // The reader's, and the test's once it has stopped.
  std::vector<std::unique_ptr<Connection>> evidence_connections_;
  std::vector<Change> evidence_;
  std::map<std::string, std::string> evidence_state_;  // at evidence_end_
  std::atomic<int64_t> evidence_end_{1};               // an empty store's revision

  // The compactor's.
  std::vector<Operation> compactor_seen_;
  int64_t compactions_ = 0;
};

// One call through one connection, timed and judged: `op` says what to ask, the result what came.
Operation Perform(Connection& connection, Operation op, bool serializable = false,
                  absl::Duration timeout = kCallTimeout);
// The same for a put, delete or get; `value` is for puts.
Operation Observe(Connection& connection, Operation::Kind kind, const std::string& key,
                  const std::string& value = "", bool serializable = false,
                  absl::Duration timeout = kCallTimeout);

}  // namespace raftkv::e2e

#endif  // RAFTKV_TESTS_E2E_TRAFFIC_H_
