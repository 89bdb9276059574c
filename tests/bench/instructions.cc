// Requests whose instructions callgrind counts: tests/bench/instructions starts this program and
// docs/testing.md says what is counted. One thread runs the server, and a client between two
// requests. In each round, kTimes requests of each kind are counted, one after the other. Then
// callgrind writes a file with the name of the kind and the number of requests.
//
// The counts of two runs can be compared, because nothing in that thread depends on time or chance:
// its clocks are stopped, and there is one request at a time. What RocksDB's threads do is not
// counted, and they have nothing to do for the server while requests are counted.
//
// How long a search in a memtable takes depends on the heights that RocksDB draws
// (fixed_heights.cc). A change of the server that writes one row more changes all later heights.
// Each round has another memtable, so that the mean over the rounds hardly changes then.

#include <valgrind/callgrind.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/synchronization/mutex.h"
#include "proto/etcd/rpc.pb.h"
#include "server/member/renewals.h"
#include "tests/bench/http2_client.h"
#include "tests/bench/lone_server.h"
#include "tests/storage/testing.h"

namespace raftkv {
namespace {

using etcdserverpb::Compare;
using etcdserverpb::LeaseGrantRequest;
using etcdserverpb::LeaseGrantResponse;
using etcdserverpb::LeaseKeepAliveRequest;
using etcdserverpb::LeaseKeepAliveResponse;
using etcdserverpb::PutRequest;
using etcdserverpb::PutResponse;
using etcdserverpb::RangeRequest;
using etcdserverpb::RangeResponse;
using etcdserverpb::TxnRequest;
using etcdserverpb::TxnResponse;
using etcdserverpb::WatchRequest;
using etcdserverpb::WatchResponse;

// The state has a file for each round. With 8 files RocksDB would compact them.
constexpr int kRounds = 7;
constexpr int kTimes = 50;
constexpr int kKeys = 1000;
constexpr int kLeases = 100;
constexpr int64_t kTtl = 3600;  // of the leases, in seconds
constexpr int kWatches = 16;

std::string Key(int i) { return absl::StrFormat("/registry/key/%010d", i % kKeys); }
const std::string& Value() {
  static const std::string value(256, 'v');
  return value;
}

PutRequest PutOf(int i) {
  PutRequest request;
  request.set_key(Key(i));
  request.set_value(Value());
  return request;
}

RangeRequest GetOf(int i, bool serializable) {
  RangeRequest request;
  request.set_key(Key(i));
  request.set_serializable(serializable);
  return request;
}

// Large numbers, as etcd's clients get.
int64_t LeaseId(int i) { return 0x1234567890abcdef + int64_t{i % kLeases} * 0x0123456789abcd; }
LeaseKeepAliveRequest KeepAliveOf(int i) {
  LeaseKeepAliveRequest request;
  request.set_id(LeaseId(i));
  return request;
}

// A server and its client. Of the server's work, that of serving is counted.
class Requests {
 public:
  explicit Requests(const std::string& dir) : server_(LoneConfig(dir)) {
    Connect();
    for (int i = 0; i < kKeys; ++i) Put(i);
    for (int i = 0; i < kLeases; ++i) GrantLease(i);
  }

  // Begins a round: with a new memtable, and a new connection without streams.
  void Begin() {
    server_.Flush();
    Connect();
  }

  // Makes kTimes requests, request(i) for different i, and then once more. These are counted: what
  // they read is in RocksDB's cache.
  void Count(const std::string& kind, const std::function<void(int i)>& request) {
    for (int i = 0; i < kTimes; ++i) request(7 * i);
    CALLGRIND_ZERO_STATS;
    for (int i = 0; i < kTimes; ++i) request(7 * i);
    const std::string counted = absl::StrCat(kind, " ", kTimes);
    CALLGRIND_DUMP_STATS_AT(counted.c_str());
  }

  void Put(int i) {
    const auto answer = Unary<PutResponse>("/etcdserverpb.KV/Put", PutOf(i));
    CHECK_GT(answer.header().revision(), revision_);
    revision_ = revisions_[Key(i)] = answer.header().revision();
  }

  void Get(int i, bool serializable) {
    const auto answer = Unary<RangeResponse>("/etcdserverpb.KV/Range", GetOf(i, serializable));
    CHECK_EQ(answer.kvs_size(), 1);
    CHECK_EQ(answer.kvs(0).value(), Value());
  }

  // A put if the key was last changed in the revision that the client knows, else a get.
  void TxnOfCompareAndPut(int i) {
    TxnRequest request;
    Compare* const compare = request.add_compare();
    compare->set_target(Compare::MOD);
    compare->set_result(Compare::EQUAL);
    compare->set_key(Key(i));
    compare->set_mod_revision(revisions_.at(Key(i)));
    *request.add_success()->mutable_request_put() = PutOf(i);
    *request.add_failure()->mutable_request_range() = GetOf(i, /*serializable=*/false);
    revisions_[Key(i)] = Txn(request);
  }

  void TxnOf8Puts(int i) {
    TxnRequest request;
    for (int j = 8 * i; j < 8 * i + 8; ++j) {
      *request.add_success()->mutable_request_put() = PutOf(j);
    }
    const int64_t revision = Txn(request);
    for (int j = 8 * i; j < 8 * i + 8; ++j) revisions_[Key(j)] = revision;
  }

  // Creates watches of all keys, on a stream each.
  void WatchAll() {
    WatchRequest request;
    request.mutable_create_request()->set_key("/");
    request.mutable_create_request()->set_range_end("0");
    for (int i = 0; i < kWatches; ++i) {
      watches_.push_back(client_->Call("/etcdserverpb.Watch/Watch", request, /*only=*/false));
      Serve();
      CHECK(client_->Take<WatchResponse>(watches_.back()).created());
    }
  }
  void PutWatched(int i) {
    Put(i);
    for (const int32_t watch : watches_) {
      const auto answer = client_->Take<WatchResponse>(watch);
      CHECK_EQ(answer.events_size(), 1);
      CHECK_EQ(answer.events(0).kv().mod_revision(), revision_);
    }
  }

  void OpenKeepAlives() {
    server_.Pass(Renewals::kInterval);
    keep_alives_ =
        client_->Call("/etcdserverpb.Lease/LeaseKeepAlive", KeepAliveOf(0), /*only=*/false);
    TakeKeepAlive();
  }
  void KeepAlive(int i) {
    server_.Pass(Renewals::kInterval);  // otherwise it waits for further keep-alives
    client_->Send(keep_alives_, KeepAliveOf(i));
    TakeKeepAlive();
  }

 private:
  void Connect() {
    client_ = std::make_unique<Http2Client>(server_.Connect());
    watches_.clear();
  }

  void GrantLease(int i) {
    LeaseGrantRequest grant;
    grant.set_id(LeaseId(i));
    grant.set_ttl(kTtl);
    CHECK_EQ(Unary<LeaseGrantResponse>("/etcdserverpb.Lease/LeaseGrant", grant).ttl(), kTtl);
  }

  // The server reads what the client has sent and answers it. This is what is counted.
  void Serve() {
    CALLGRIND_TOGGLE_COLLECT;
    server_.Serve();
    CALLGRIND_TOGGLE_COLLECT;
    client_->Receive();
  }

  template <typename Answer, typename Request>
  Answer Unary(const std::string& method, const Request& request) {
    const int32_t call = client_->Call(method, request, /*only=*/true);
    Serve();
    return client_->Take<Answer>(call);
  }

  int64_t Txn(const TxnRequest& request) {
    const auto answer = Unary<TxnResponse>("/etcdserverpb.KV/Txn", request);
    CHECK(answer.succeeded());
    CHECK_GT(answer.header().revision(), revision_);
    return revision_ = answer.header().revision();
  }

  void TakeKeepAlive() {
    Serve();
    CHECK_EQ(client_->Take<LeaseKeepAliveResponse>(keep_alives_).ttl(), kTtl);
  }

  LoneServer server_;
  std::unique_ptr<Http2Client> client_;
  int64_t revision_ = 0;                      // the newest one
  std::map<std::string, int64_t> revisions_;  // by key
  std::vector<int32_t> watches_;
  int32_t keep_alives_ = 0;
};

void Run() {
  const TempDir dir;
  Requests requests(dir / "data");
  requests.Begin();
  // Once only: the memtable is empty, so their counts do not depend on heights.
  requests.Count("linearizable_get", [&](int i) { requests.Get(i, /*serializable=*/false); });
  requests.Count("serializable_get", [&](int i) { requests.Get(i, /*serializable=*/true); });
  for (int round = 0; round < kRounds; ++round) {
    if (round > 0) requests.Begin();
    requests.Count("put", [&](int i) { requests.Put(i); });
    requests.Count("txn_of_compare_and_put", [&](int i) { requests.TxnOfCompareAndPut(i); });
    requests.Count("txn_of_8_puts", [&](int i) { requests.TxnOf8Puts(i); });
    requests.OpenKeepAlives();
    requests.Count("lease_keep_alive", [&](int i) { requests.KeepAlive(i); });
    requests.WatchAll();
    requests.Count(absl::StrCat("put_for_", kWatches, "_watches"),
                   [&](int i) { requests.PutWatched(i); });
  }
}

}  // namespace
}  // namespace raftkv

int main() {
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);  // as in raftkv-server
  raftkv::Run();
  return 0;
}
