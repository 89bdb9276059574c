// Writes results in etcdctl's formats: simple lines, tables, json (json.h) and fields (fields.h).
// Each run of the CLI makes one Output. Errors that end a run are not written here, but endpoints
// that failed are: to `err`, in the simple format.
#ifndef RAFTKV_CLIENT_CLI_OUTPUT_H_
#define RAFTKV_CLIENT_CLI_OUTPUT_H_

#include <ostream>
#include <string>
#include <vector>

#include "client/cli/rows.h"
#include "client/raftkv.h"

namespace raftkv::client {

enum class Format { kSimple, kJson, kTable, kFields };

class Output {
 public:
  Output(std::ostream& out, std::ostream& err, Format format, bool hex)
      : out_(out), err_(err), format_(format), hex_(hex) {}

  void Put(const PutResult& result);
  void Get(const RangeResult& result, bool value_only, bool count_only);
  void Delete(const DeleteResult& result);
  void Txn(const TxnResult& result);
  void Compact(const CompactResult& result, int64_t revision);
  void Grant(const LeaseGrantResult& result);
  void Revoke(const LeaseRevokeResult& result, int64_t id);
  void KeepAlive(const LeaseKeepAliveResult& result);
  void TimeToLive(const LeaseTimeToLiveResult& result, bool keys);
  void Leases(const LeaseListResult& result);
  void Watch(const WatchBatch& batch);
  // `leader`: a member's id, 0: not known. Only the table shows it.
  void Members(const MemberListResult& result, uint64_t leader);
  void Alarms(const AlarmResult& result);
  void AddedMember(const MemberAddResult& result, const std::string& name);
  // `done`: "removed from", for example.
  void ChangedMember(const MemberListResult& result, uint64_t id, const std::string& done);
  void MovedLeader(uint64_t from, uint64_t to);
  void AlreadyLeader(uint64_t member);
  // `failed`: the endpoints that did not answer.
  void Statuses(const std::vector<EndpointStatus>& rows, const std::vector<std::string>& failed);
  void Healths(const std::vector<EndpointHealth>& rows);  // simple: unhealthy endpoints go to err
  void Hashes(const std::vector<EndpointHash>& rows);
  void Backup(const BackupStatus& backup);
  // Call DefragRow() when an endpoint is done, and Defrags() at the end. The simple format prints
  // each row at once; the other formats print all rows at the end.
  void DefragRow(const EndpointDefrag& row);
  void Defrags(const std::vector<EndpointDefrag>& rows);

 private:
  // Writes the result as json or fields. Returns false if the format is a different one.
  template <typename Result>
  bool WriteForPrograms(const Result& result);
  void Pair(const KeyValue& kv, bool value_only);
  // Writes rows of cells: as lines or, in the table format, as a table with `header`.
  void Rows(std::vector<std::string> header, const std::vector<std::vector<std::string>>& rows);

  std::ostream& out_;
  std::ostream& err_;
  const Format format_;
  const bool hex_;  // print keys and values as \xNN, in the simple format
};

}  // namespace raftkv::client

#endif  // RAFTKV_CLIENT_CLI_OUTPUT_H_
