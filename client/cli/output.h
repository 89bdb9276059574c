// Writes results as etcdctl does: simple lines, tables, and the formats of json.h and fields.h. One
// Output per run of the CLI. Errors that end a run do not pass through here; endpoints that failed
// where others did not are named on `err`.
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
  void Members(const MemberListResult& result);
  void Statuses(const std::vector<EndpointStatus>& rows);
  void Healths(const std::vector<EndpointHealth>& rows);  // simple: the unhealthy go to err
  void Hashes(const std::vector<EndpointHash>& rows);
  // Row by row as they are done, then all of them; simple prints the rows, the others the whole.
  void DefragRow(const EndpointDefrag& row);
  void Defrags(const std::vector<EndpointDefrag>& rows);

 private:
  // Writes json or fields; false if the format is another.
  template <typename Result>
  bool ForPrograms(const Result& result);
  void Pair(const KeyValue& kv, bool value_only);
  // Rows of cells: lines of them, or a table with `header`.
  void Rows(std::vector<std::string> header, const std::vector<std::vector<std::string>>& rows);

  std::ostream& out_;
  std::ostream& err_;
  const Format format_;
  const bool hex_;  // keys and values as \xNN, in simple format
};

}  // namespace raftkv::client

#endif  // RAFTKV_CLIENT_CLI_OUTPUT_H_
