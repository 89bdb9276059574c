// Requests as values, for Client::Call and Client::Start of raftkv.h. Each function of the client
// that makes one call has its request here, under the same name. The comments there explain
// arguments and results.
//
//   std::stop_source stop;
//   auto put = client->Call(PutRequest("colour", "blue"),
//                           {.deadline = absl::Now() + absl::Milliseconds(200),
//                            .cancel = stop.get_token()});
//
// Client::Start returns at once, and passes the result to a callback:
//
//   client->Start(PutRequest("colour", "blue"), [](absl::StatusOr<PutResult> put) { Use(put); });
//
// With a std::promise, it sets a future; in a coroutine's await_suspend, it resumes the coroutine
// (client/async_example.cc):
//
//   client->Start(request, [p = std::move(promise)](auto result) mutable { p.set_value(result); });
//   client->Start(request, [this, h](auto result) { result_ = std::move(result); h.resume(); });
//
// A request may be sent any number of times, also by several threads at the same time.
#ifndef RAFTKV_CLIENT_RAFTKV_REQUEST_H_
#define RAFTKV_CLIENT_RAFTKV_REQUEST_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "cluster.h"  // relative, because the installed headers have no folder client/
#include "kv.h"
#include "lease.h"

namespace raftkv::client {

struct CallOptions {
  // The call ends at this time at the latest. InfiniteFuture: `request_timeout` after its begin.
  // A deadline replaces `request_timeout`, so the call may also take longer.
  absl::Time deadline = absl::InfiniteFuture();
  // Ends the call with Cancelled at once when a stop is requested, from any thread. The server may
  // still execute the request: for a write that was sent, OutcomeUnknown() is true.
  std::stop_token cancel = {};
};

// One call that has not been made. `Result`: what it returns if it succeeds.
template <typename Result>
class Request {
 public:
  struct Rep;                                                                 // internal
  explicit Request(std::shared_ptr<const Rep> rep) : rep_(std::move(rep)) {}  // internal
  const std::shared_ptr<const Rep>& rep() const { return rep_; }              // internal

 private:
  std::shared_ptr<const Rep> rep_;  // never null
};

// Gets the result of a call that was started.
template <typename Result>
using Callback = absl::AnyInvocable<void(absl::StatusOr<Result>)>;

Request<PutResult> PutRequest(std::string_view key, std::string_view value,
                              const PutOptions& options = {});
Request<std::optional<KeyValue>> GetRequest(std::string_view key, const ReadOptions& options = {});
Request<RangeResult> RangeRequest(const Keys& keys, const ReadOptions& options = {});
Request<DeleteResult> DeleteRequest(const Keys& keys, const DeleteOptions& options = {});
Request<TxnResult> TxnRequest(const Transaction& transaction);
Request<CompactResult> CompactRequest(int64_t revision, bool physical = false);

Request<LeaseGrantResult> LeaseGrantRequest(int64_t ttl, int64_t id = 0);
Request<LeaseRevokeResult> LeaseRevokeRequest(int64_t id);
Request<LeaseKeepAliveResult> LeaseKeepAliveRequest(int64_t id);
Request<LeaseTimeToLiveResult> LeaseTimeToLiveRequest(int64_t id, bool keys = false);
Request<LeaseListResult> LeaseListRequest();

Request<MemberListResult> MemberListRequest();
Request<MemberAddResult> MemberAddRequest(const std::vector<std::string>& peer_urls,
                                          bool learner = false);
Request<MemberListResult> MemberRemoveRequest(uint64_t id);
Request<MemberListResult> MemberUpdateRequest(uint64_t id,
                                              const std::vector<std::string>& peer_urls);
Request<MemberListResult> MemberPromoteRequest(uint64_t id);
Request<AlarmResult> AlarmListRequest();
Request<AlarmResult> AlarmDisarmRequest(const Alarm& alarm);  // one alarm

Request<StatusResult> StatusRequest();
Request<HashKvResult> HashKvRequest(int64_t revision = 0);
Request<MoveLeaderResult> MoveLeaderRequest(uint64_t target);
Request<DefragmentResult> DefragmentRequest();

}  // namespace raftkv::client

#endif  // RAFTKV_CLIENT_RAFTKV_REQUEST_H_
