// Writes results as etcdctl does: simple lines, JSON with etcd's field names (zero fields left out,
// byte strings in base64), tables. One Output per run of the CLI; errors do not pass through here.
#ifndef RAFTKV_CLIENT_CLI_OUTPUT_H_
#define RAFTKV_CLIENT_CLI_OUTPUT_H_

#include <ostream>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "client/raftkv.h"

namespace raftkv::client {

enum class Format { kSimple, kJson, kTable };

struct EndpointStatus {
  std::string endpoint;
  StatusResult status;
};

struct EndpointHealth {
  std::string endpoint;
  absl::Duration took;
  absl::Status error;  // OK: healthy
};

class Output {
 public:
  Output(std::ostream& out, std::ostream& err, Format format, bool hex)
      : out_(out), err_(err), format_(format), hex_(hex) {}

  Format format() const { return format_; }
  void Put(const PutResult& result);
  void Get(const RangeResult& result, bool value_only, bool count_only);
  void Delete(const DeleteResult& result);
  void Members(const MemberListResult& result);
  void Statuses(const std::vector<EndpointStatus>& statuses);
  void Healths(const std::vector<EndpointHealth>& healths);  // simple: the unhealthy go to stderr

 private:
  void Pair(const KeyValue& kv, bool value_only);

  std::ostream& out_;
  std::ostream& err_;
  const Format format_;
  const bool hex_;  // keys and values as \xNN, in simple format
};

}  // namespace raftkv::client

#endif  // RAFTKV_CLIENT_CLI_OUTPUT_H_
