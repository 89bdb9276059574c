// A few hundred random requests of KV, with every option there is, answered field by field as
// Debian's etcd answers them: codes, texts, headers, keys and values. Only the term may differ; ids
// are equal because both clusters have the same addresses and name. The seed is printed;
// RAFTKV_SEED replays it.

#include <gtest/gtest.h>

#include <cstdlib>
#include <iostream>
#include <random>
#include <variant>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "tests/e2e/cluster.h"

namespace raftkv::e2e {
namespace {

using etcdserverpb::DeleteRangeRequest;
using etcdserverpb::KV;
using etcdserverpb::PutRequest;
using etcdserverpb::RangeRequest;
using Request = std::variant<RangeRequest, PutRequest, DeleteRangeRequest>;

constexpr int kRequests = 600;

class Generator {
 public:
  explicit Generator(uint64_t seed) : random_(seed) {}

  Request Next() {
    const int dice = Below(10);
    if (dice < 4) return NextPut();
    if (dice < 5) return NextDelete();
    return NextRange();
  }

 private:
  int Below(int n) { return static_cast<int>(random_() % n); }
  bool Chance(int percent) { return Below(100) < percent; }

  // Few enough that reads meet writes, and that etcd's sort, which is stable up to twelve, has only
  // one right answer.
  std::string Key() {
    static const std::vector<std::string> kKeys = {
        "a", "b", "ab", "abc", "b/1", "b/2", "b/3", std::string("\0", 1), "\xff", "\xff\xff"};
    return kKeys[Below(static_cast<int>(kKeys.size()))];
  }
  std::string KeyOrEmpty() { return Chance(3) ? "" : Key(); }
  std::string RangeEnd() {
    const int dice = Below(10);
    if (dice < 3) return "";
    if (dice < 5) return std::string(1, '\0');  // everything from the key on
    return dice < 6 ? "b0" : Key();             // "b0" ends the prefix "b/"
  }
  int64_t Revision() { return Chance(50) ? 0 : Below(static_cast<int>(revision_) + 3) - 1; }
  int64_t Bound() { return Chance(85) ? 0 : Below(static_cast<int>(revision_) + 2); }

  Request NextRange() {
    RangeRequest request;
    request.set_key(KeyOrEmpty());
    request.set_range_end(RangeEnd());
    request.set_limit(Chance(60) ? 0 : Below(6) - 1);
    request.set_revision(Revision());
    if (Chance(40)) request.set_sort_order(static_cast<RangeRequest::SortOrder>(Below(3)));
    if (Chance(40)) request.set_sort_target(static_cast<RangeRequest::SortTarget>(Below(5)));
    request.set_serializable(Chance(30));
    request.set_keys_only(Chance(20));
    request.set_count_only(Chance(10));
    request.set_min_mod_revision(Bound());
    request.set_max_mod_revision(Bound());
    request.set_min_create_revision(Bound());
    request.set_max_create_revision(Bound());
    return request;
  }

  Request NextPut() {
    PutRequest request;
    request.set_key(KeyOrEmpty());
    if (!Chance(10)) request.set_value(absl::StrCat("v", Below(30)));
    request.set_prev_kv(Chance(30));
    if (Chance(10)) {
      request.set_ignore_value(true);
      if (!Chance(20)) request.clear_value();
    }
    if (Chance(5)) request.set_ignore_lease(true);
    if (Chance(4)) request.set_lease(Below(100));
    if (Chance(1)) request.set_value(std::string(1600 * 1024, 'x'));
    ++revision_;  // about: refused ones change nothing
    return request;
  }

  Request NextDelete() {
    DeleteRangeRequest request;
    request.set_key(KeyOrEmpty());
    request.set_range_end(Chance(50) ? "" : RangeEnd());
    request.set_prev_kv(Chance(50));
    ++revision_;
    return request;
  }

  std::mt19937_64 random_;
  int64_t revision_ = 1;
};

template <typename Response>
std::string Describe(Reply<Response> reply) {
  if (!reply.ok()) {
    return absl::StrCat("code ", reply.status.error_code(), ": ", reply.status.error_message());
  }
  reply.response.mutable_header()->set_raft_term(0);
  return reply.response.DebugString();
}

std::string Send(Connection& connection, const Request& request) {
  KV::Stub& kv = *connection.kv;
  if (const auto* range = std::get_if<RangeRequest>(&request)) {
    return Describe(Call(connection, kv, &KV::Stub::Range, *range));
  }
  if (const auto* put = std::get_if<PutRequest>(&request)) {
    return Describe(Call(connection, kv, &KV::Stub::Put, *put));
  }
  return Describe(
      Call(connection, kv, &KV::Stub::DeleteRange, std::get<DeleteRangeRequest>(request)));
}

// All through one member: what it has answered it has applied, so its serializable reads are fresh.
std::vector<std::string> SendAll(Product product, const std::vector<int>& ports, int member,
                                 const std::vector<Request>& requests) {
  Cluster cluster({.product = product, .name = "compat", .ports = ports});
  cluster.StartAll();
  std::vector<std::string> answers;
  if (cluster.WaitForLeader() < 0) {
    ADD_FAILURE() << "no leader";
    return answers;
  }
  for (const Request& request : requests) {
    answers.push_back(Send(cluster.connection(member), request));
  }
  EXPECT_TRUE(cluster.MembersAreEqual());
  return answers;
}

TEST(KvFields, RandomRequestsAnswerAsEtcdDoes) {
  ASSERT_NE(EtcdProgram(), "");
  uint64_t seed = absl::ToUnixMicros(absl::Now());
  const char* given = std::getenv("RAFTKV_SEED");
  ASSERT_TRUE(given == nullptr || absl::SimpleAtoi(given, &seed));
  std::cout << "RAFTKV_SEED=" << seed << std::endl;
  Generator generator(seed);
  std::vector<Request> requests;
  for (int i = 0; i < kRequests; ++i) requests.push_back(generator.Next());

  const std::vector<int> ports = FreePorts(6);
  const int member = static_cast<int>(seed % 3);
  const auto expected = SendAll(Product::kEtcd, ports, member, requests);
  const auto actual = SendAll(ProductUnderTest(), ports, member, requests);
  ASSERT_EQ(expected.size(), requests.size());
  ASSERT_EQ(actual.size(), requests.size());
  int different = 0;
  for (size_t i = 0; i < requests.size() && different < 5; ++i) {
    if (actual[i] == expected[i]) continue;
    ++different;
    std::visit(
        [&](const auto& request) {
          ADD_FAILURE() << "request " << i << " " << request.GetTypeName() << "\n"
                        << request.ShortDebugString().substr(0, 400) << "\netcd answers\n"
                        << expected[i] << "raftkv answers\n"
                        << actual[i];
        },
        requests[i]);
  }
}

}  // namespace
}  // namespace raftkv::e2e
