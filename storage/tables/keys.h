#ifndef RAFTKV_STORAGE_TABLES_KEYS_H_
#define RAFTKV_STORAGE_TABLES_KEYS_H_

// The table of the multi-version key-value store: puts, deletions, transactions, compactions, and
// the raised revision of a restored store. The code that reads and writes versions is in
// storage/mvcc; this class connects it to the state machine. tables.h explains the functions of a
// table.

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "proto/command.pb.h"
#include "storage/mvcc/range.h"
#include "storage/mvcc/txn.h"
#include "storage/mvcc/writer.h"
#include "storage/rules/meter.h"
#include "storage/tables/state.h"

namespace raftkv {

// A revision is not raised above this by a BumpRevision, so that writes never run out of revisions.
inline constexpr Revision kRevisionMax = Revision{1} << 62;

class Keys {
 public:
  explicit Keys(Shared* shared);

  absl::Status Load() { return writer_.Load(); }
  // InvalidArgument, NotFound and OutOfRange as in etcd. ResourceExhausted: the entry exceeds the
  // rules in force.
  absl::Status Check(const proto::Command& command, Meter* meter);
  void Apply(const proto::Command& command, proto::CommandResponse* response);
  // Adds the keys whose heads Check and Apply of the command will need.
  static void AddKeys(const proto::Command& command, std::vector<std::string_view>* keys);
  void FetchHeads(std::vector<std::string_view> keys, const Limits& limits, ParallelReads* reads) {
    writer_.FetchHeads(std::move(keys), limits, reads);
  }
  static absl::Status Hash(const View& view, const State& state, Meter* meter, std::string* out);

  // The table of leases calls these in its Check and Apply. The first one returns the keys that are
  // attached to these leases (see Writer); the second one deletes them, in one revision.
  std::vector<mvcc::Attached> FindAttached(absl::Span<const int64_t> leases, Meter* meter) const {
    return writer_.FindAttached(leases, meter);
  }
  void DeleteAttached(absl::Span<const mvcc::Attached> keys);

  // Call them before and after the batch is written; see Writer.
  void CompleteBatch() { writer_.CompleteBatch(); }
  void EndBatch() { writer_.EndBatch(); }
  size_t TakeLoadedBytes() { return writer_.TakeLoadedBytes(); }

  // Adds the next deletions of the physical compaction to the batch, which must be empty. Advances
  // compaction_next and compaction_done.
  void CompactSome(Meter* meter);
  // The steps (Meter) of physical compaction that are due because of earlier writes: events and
  // their bytes.
  int64_t steps_owed() const { return steps_owed_; }
  void set_steps_owed(int64_t steps) { steps_owed_ = steps; }

 private:
  mvcc::ReadState Before() const;
  absl::Status CheckCompaction(const etcdserverpb::CompactionRequest& request) const;
  absl::Status CheckBump(const proto::BumpRevision& request) const;
  void ApplyCompaction(const etcdserverpb::CompactionRequest& request);
  // Call it after the changes of an entry. `batch_bytes`: the size of the batch before them.
  void EndEntry(size_t batch_bytes);

  Shared& shared_;
  mvcc::Writer writer_;
  std::optional<mvcc::Transaction> transaction_;  // the one that was checked last
  int64_t steps_owed_ = 0;
};

}  // namespace raftkv

#endif  // RAFTKV_STORAGE_TABLES_KEYS_H_
