// The differential test: sends random KV requests to raftkv and to an etcd at the same time, and
// compares the answers. The etcd is Debian's, or 3.7 in `make compat`. raftkv has three members,
// which get the requests in turn; etcd has one member. The answers must be equal, field by field
// (kv_exchange.h says what is not compared), except for what differences.toml allows. Each case
// that kv_histogram.h lists must occur at least 50 times.
//
// If an answer differs, the test repeats the last requests on new clusters and leaves out more and
// more of them. It prints the shortest list that still differs, and writes it to a file.
// RAFTKV_REPLAY=FILE repeats the requests of such a file.
//
// The test sends 22,000 requests. With RAFTKV_SOAK=1 (`make soak`) it sends 500,000, and kills,
// stops and restarts raftkv's members between batches. It prints its seed; RAFTKV_SEED=n repeats
// the run. RAFTKV_REQUESTS=n sends n requests (without the minimum number of occurrences).

#include <gtest/gtest.h>

#include <cstdlib>
#include <deque>
#include <iostream>
#include <optional>
#include <set>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "tests/compat/differences.h"
#include "tests/compat/kv_exchange.h"
#include "tests/compat/kv_generator.h"
#include "tests/compat/kv_histogram.h"
#include "tests/compat/kv_transcript.h"
#include "tests/e2e/cluster.h"

namespace raftkv::e2e {
namespace {

using etcdserverpb::Maintenance;
using etcdserverpb::RangeRequest;

constexpr int kBatch = 2000;
constexpr int kFlushEvery = 300;   // requests
constexpr size_t kRecent = 6;      // requests printed with a difference
constexpr size_t kHistory = 3000;  // requests kept for shortening: enough to overwrite every key
constexpr int kDifferentMax = 3;   // then the run ends: later differences are only consequences

uint64_t NumberFrom(const char* variable, uint64_t otherwise) {
  const char* text = std::getenv(variable);
  uint64_t number = otherwise;
  EXPECT_TRUE(text == nullptr || absl::SimpleAtoi(text, &number)) << variable << "=" << text;
  return number;
}

// One cluster of each product, and the comparison of their answers.
class DifferentialRun {
 public:
  enum class Purpose { kRun, kAttempt };  // kAttempt: elections are fast, and the data is deleted
  // `allowed` may be null: then no difference is allowed.
  DifferentialRun(uint64_t seed, Differences* allowed, Purpose purpose = Purpose::kRun)
      : raftkv_(Options(purpose, ProductUnderTest(), ProductUnderTest() == Product::kEtcd ? 1 : 3)),
        etcd_(Options(purpose, Product::kEtcd, 1)),
        generator_(seed, &knowledge_),
        allowed_(allowed),
        caught_up_(raftkv_.size(), true) {}

  std::string etcd_version() { return etcd_.Status(0).response.version(); }

  // Starts both clusters. Returns false, and fails the test, if one has no leader.
  bool Start() {
    raftkv_.StartAll();
    etcd_.StartAll();
    const bool up = raftkv_.WaitForLeader() >= 0 && etcd_.WaitForLeader() >= 0;
    EXPECT_TRUE(up) << "no leader";
    for (int i = 0; up && i < raftkv_.size(); ++i) {
      ids_.push_back(raftkv_.Status(i).response.header());
    }
    return up && GrantLeases();
  }

  // Revokes all leases. Before that, they must have the same keys on both sides, and afterwards the
  // stores must be equal.
  void RevokeLeases() {
    for (int64_t id = 1; id <= kLeases; ++id) {
      EXPECT_EQ(KeysOf(raftkv_, id), KeysOf(etcd_, id)) << "lease " << id;
      etcdserverpb::LeaseRevokeRequest request;
      request.set_id(id);
      int64_t revisions[2] = {};
      for (Cluster* cluster : {&raftkv_, &etcd_}) {
        Connection& connection = cluster->connection(0);
        const auto reply =
            Call(connection, *connection.lease, &etcdserverpb::Lease::Stub::LeaseRevoke, request);
        EXPECT_TRUE(reply.ok()) << reply.status.error_message();
        revisions[cluster == &etcd_] = reply.response.header().revision();
      }
      EXPECT_EQ(revisions[0], revisions[1]) << "lease " << id;
    }
    const auto everything = EverythingRequest(/*revision=*/0, /*serializable=*/false);
    auto ours = Range(raftkv_.connection(0), everything).response;
    auto theirs = Range(etcd_.connection(0), everything).response;
    ours.clear_header();
    theirs.clear_header();
    EXPECT_EQ(ours.SerializeAsString(), theirs.SerializeAsString());
  }

  // Sends random requests. Returns false after kDifferentMax differences.
  bool Run(int requests) {
    for (int i = 0; i < requests && different_ < kDifferentMax; ++i) {
      if (asked_ % kFlushEvery == 0) Flush();
      Compare(NextMember(), generator_.Next());
    }
    return different_ < kDifferentMax;
  }

  // Repeats the steps of `transcript`. Returns the index of the first step whose answers differ.
  std::optional<size_t> Replay(const Transcript& transcript) {
    for (size_t i = 0; i < transcript.size(); ++i) {
      const Step& step = transcript[i];
      if (step.request.has_value()) {
        Compare(step.member % raftkv_.size(),
                Shifted(*step.request, knowledge_.revision() - step.revision));
      } else {
        Flush();
      }
      if (different_ > 0) return i;
    }
    return std::nullopt;
  }

  // Checks that raftkv's members have the same data and the same hash, even if their physical
  // compaction has not advanced equally far.
  void ExpectEqualMembers() {
    ASSERT_TRUE(raftkv_.MembersAreEqual());
    std::string expected;
    for (int i = 0; i < raftkv_.size(); ++i) {
      if (!raftkv_.Running(i)) continue;
      CatchUp(i);
      auto reply = Call(raftkv_.connection(i), *raftkv_.connection(i).maintenance,
                        &Maintenance::Stub::HashKV, etcdserverpb::HashKVRequest());
      ASSERT_TRUE(reply.ok()) << reply.status.error_message();
      reply.response.mutable_header()->clear_member_id();
      reply.response.mutable_header()->clear_raft_term();
      const std::string text = reply.response.ShortDebugString();
      if (expected.empty()) expected = text;
      EXPECT_EQ(text, expected) << "HashKV of member " << i;
    }
  }

  // Kills or stops some of raftkv's members between two batches, and restarts them. etcd keeps
  // running.
  void InjectFault(int number) {
    Remember({});  // a transcript cannot express a restart; a flush comes closest
    const int victim = number / 5 % raftkv_.size();
    const int other = (victim + 1) % raftkv_.size();
    if (down_ >= 0) Revive({std::exchange(down_, -1)});
    switch (number % 5) {
      case 0:
        raftkv_.Kill(victim);
        return Revive({victim});
      case 1:
        for (int i = 0; i < raftkv_.size(); ++i) raftkv_.Kill(i);
        return Revive({0, 1, 2});
      case 2:
        EXPECT_EQ(raftkv_.Terminate(victim), 0);
        return Revive({victim});
      case 3:  // stays down for one batch
        raftkv_.Kill(down_ = victim);
        ASSERT_GE(raftkv_.WaitForLeader(), 0);
        for (int i = 0; i < raftkv_.size(); ++i) {
          if (i != down_) CatchUp(i);
        }
        return;
      default:
        raftkv_.Kill(victim);
        raftkv_.Kill(other);
        return Revive({victim, other});
    }
  }

  // Writes a key to raftkv only, so that the answers must differ.
  void WriteToRaftkvOnly() { EXPECT_TRUE(raftkv_.Put(0, "a", "planted").ok()); }

  const Histogram& histogram() const { return histogram_; }
  int different() const { return different_; }
  // The first difference as text, and the last requests up to and including it.
  std::string first_difference() const { return first_difference_; }
  const Transcript& before_it() const { return before_it_; }

 private:
  static ClusterOptions Options(Purpose purpose, Product product, int size) {
    ClusterOptions options = {.product = product, .size = size, .name = "compat"};
    if (purpose == Purpose::kRun) return options;
    options.heartbeat_interval = absl::Milliseconds(30);
    options.election_timeout = absl::Milliseconds(300);
    options.keep_data = false;
    return options;
  }

  // Puts name leases from 1 to 100, so some of them find their lease.
  static constexpr int64_t kLeases = 20;
  bool GrantLeases() {
    etcdserverpb::LeaseGrantRequest request;
    request.set_ttl(1'000'000);
    for (int64_t id = 1; id <= kLeases; ++id) {
      request.set_id(id);
      for (Cluster* cluster : {&raftkv_, &etcd_}) {
        Connection& connection = cluster->connection(0);
        // Just after the start, raftkv's members may not have agreed on their newest version.
        const bool granted = Eventually(absl::Seconds(20), [&] {
          return Call(connection, *connection.lease, &etcdserverpb::Lease::Stub::LeaseGrant,
                      request)
              .ok();
        });
        EXPECT_TRUE(granted) << "no lease";
        if (!granted) return false;
      }
    }
    return true;
  }

  static std::multiset<std::string> KeysOf(Cluster& cluster, int64_t lease) {
    etcdserverpb::LeaseTimeToLiveRequest request;
    request.set_id(lease);
    request.set_keys(true);
    Connection& connection = cluster.connection(0);
    const auto reply =
        Call(connection, *connection.lease, &etcdserverpb::Lease::Stub::LeaseTimeToLive, request);
    EXPECT_TRUE(reply.ok()) << reply.status.error_message();
    return {reply.response.keys().begin(), reply.response.keys().end()};
  }

  int NextMember() const {
    const int member = static_cast<int>(asked_ % raftkv_.size());
    return member == down_ ? (member + 1) % raftkv_.size() : member;
  }

  void Remember(Step step) {
    if (history_.size() == kHistory) history_.pop_front();
    history_.push_back(std::move(step));
  }

  void Compare(int member, const Request& request) {
    ++asked_;
    Remember({request, member, knowledge_.revision()});
    // A serializable read may return old data. So the member first catches up with all writes.
    if (IsSerializable(request) && !caught_up_[member]) CatchUp(member);
    const auto [etcd, ours] = AskBoth(etcd_.connection(0), raftkv_.connection(member), request);
    const std::string expected = Describe(etcd), actual = Describe(ours);
    if (recent_.size() == kRecent) recent_.pop_front();
    recent_.push_back(absl::StrCat(Describe(request), "\n  ", expected, "\n"));
    histogram_.Count(request, etcd, knowledge_);
    if (actual != expected && !IsAllowed(request, expected, actual)) {
      Report(member, expected, actual);
    } else if (ours.ok() && !IsOurs(ours.header(), member)) {
      Report(member, "its ids", ours.header().ShortDebugString());
    }
    if (!etcd.ok()) return;
    const bool changed = etcd.header().revision() != knowledge_.revision() ||
                         std::holds_alternative<etcdserverpb::CompactionRequest>(request);
    knowledge_.Learn(request, etcd);
    if (changed) caught_up_.assign(raftkv_.size(), false);
    if (changed) caught_up_[member] = true;
  }

  bool IsAllowed(const Request& request, const std::string& expected, const std::string& actual) {
    return allowed_ != nullptr && allowed_->Allow(Describe(request), expected, actual);
  }

  bool IsOurs(const etcdserverpb::ResponseHeader& header, int member) const {
    return header.cluster_id() == ids_[member].cluster_id() &&
           header.member_id() == ids_[member].member_id() && header.raft_term() > 0;
  }

  void Report(int member, const std::string& expected, const std::string& actual) {
    const std::string text =
        absl::StrCat("request ", asked_ - 1, " at revision ", knowledge_.revision(), ", compacted ",
                     knowledge_.compacted(), ", to member ", member,
                     "; the last requests with etcd's answers:\n", absl::StrJoin(recent_, ""),
                     "\netcd answers\n", expected, "\nraftkv answers\n", actual, "\n");
    if (different_++ > 0) return;
    first_difference_ = text;
    before_it_.assign(history_.begin(), history_.end());
  }

  // Makes raftkv's members flush their memory to files, because reads of files take other code
  // paths. In a short run that would happen too rarely by itself. A defragmentation begins with a
  // flush.
  void Flush() {
    Remember({});
    for (int i = 0; i < raftkv_.size(); ++i) {
      if (i == down_) continue;
      const auto reply = Call(raftkv_.connection(i), *raftkv_.connection(i).maintenance,
                              &Maintenance::Stub::Defragment, etcdserverpb::DefragmentRequest());
      EXPECT_TRUE(reply.ok()) << reply.status.error_message();
    }
  }

  // Waits until member i has applied all writes that were answered so far.
  void CatchUp(int i) {
    RangeRequest request = GetRequest("a");
    request.set_count_only(true);
    Reply<etcdserverpb::RangeResponse> reply;
    const bool ok = Eventually(absl::Seconds(30), [&] {
      reply = Range(raftkv_.connection(i), request);
      return reply.ok();
    });
    EXPECT_TRUE(ok) << "member " << i << ": " << reply.status.error_message();
    caught_up_[i] = true;
  }

  void Revive(const std::vector<int>& members) {
    for (int i : members) raftkv_.Start(i);
    ASSERT_GE(raftkv_.WaitForLeader(), 0);
    for (int i = 0; i < raftkv_.size(); ++i) CatchUp(i);
  }

  // When etcd itself is under test, to check the comparison, raftkv_ is an etcd of one member.
  // Three members of etcd 3.4 cannot be compared with anything: if a transaction reads at a
  // compacted revision, only the member that was asked rejects it, and afterwards their data
  // differ.
  Cluster raftkv_;
  Cluster etcd_;
  Knowledge knowledge_;
  Generator generator_;
  Histogram histogram_;
  Differences* const allowed_;
  std::vector<etcdserverpb::ResponseHeader> ids_;  // for each member
  std::vector<bool> caught_up_;                    // for each member: see CatchUp
  int64_t asked_ = 0;
  int down_ = -1;  // the member that is down
  int different_ = 0;
  std::string first_difference_;
  Transcript before_it_;
  std::deque<std::string> recent_;
  std::deque<Step> history_;
};

// The shortest part of a transcript whose answers still differ, and the difference. The search is
// limited to two minutes, because every attempt starts new processes.
struct Shortest {
  Transcript transcript;
  std::string difference;
  int attempts = 0;
};

Shortest Shorten(const Transcript& transcript, Differences* allowed) {
  constexpr int kAttemptsMax = 150;
  const absl::Time deadline = absl::Now() + absl::Minutes(2);
  Shortest shortest;
  shortest.transcript = Shortened(transcript, [&](const Transcript& part) {
    std::optional<size_t> at;
    if (shortest.attempts == kAttemptsMax || absl::Now() > deadline) return at;
    ++shortest.attempts;
    DifferentialRun run(/*seed=*/0, allowed, DifferentialRun::Purpose::kAttempt);
    if (run.Start()) at = run.Replay(part);
    if (at.has_value()) shortest.difference = run.first_difference();
    return at;
  });
  return shortest;
}

void ShortenAndPrint(const DifferentialRun& run, Differences* allowed) {
  std::cout << run.first_difference() << "shortening the list of requests\n";
  const Shortest shortest = Shorten(run.before_it(), allowed);
  if (shortest.transcript.empty()) {
    std::cout << "the last " << kHistory << " requests give no difference on new clusters\n";
    return;
  }
  const std::string file = testing::TempDir() + "raftkv-difference.txt";
  WriteFile(file, Print(shortest.transcript));
  std::cout << shortest.transcript.size() << " steps that differ, found in " << shortest.attempts
            << " attempts, in " << file << ":\n";
  for (const Step& step : shortest.transcript) {
    std::cout << (step.request.has_value()
                      ? absl::StrCat("to member ", step.member, ": ", Describe(*step.request))
                      : "flush")
              << "\n";
  }
  std::cout << shortest.difference << std::endl;
}

TEST(KvDifferential, RandomRequestsHaveTheSameAnswersAsEtcd) {
  ASSERT_NE(EtcdProgram(), "");
  constexpr int kRowMin = 50;
  const bool soak = std::getenv("RAFTKV_SOAK") != nullptr;
  const uint64_t seed = NumberFrom("RAFTKV_SEED", absl::ToUnixMicros(absl::Now()));
  const int whole = soak ? 500'000 : 22'000;
  const int requests = static_cast<int>(NumberFrom("RAFTKV_REQUESTS", whole));
  std::cout << "RAFTKV_SEED=" << seed << std::endl;
  Differences allowed;
  const bool against_etcd = ProductUnderTest() == Product::kEtcd;
  DifferentialRun run(seed, against_etcd ? nullptr : &allowed);
  ASSERT_TRUE(run.Start());
  allowed.Read(ReadFile(RAFTKV_SOURCE_DIR "/tests/compat/differences.toml"), run.etcd_version());
  if (const char* replay = std::getenv("RAFTKV_REPLAY")) {
    EXPECT_EQ(run.Replay(Parse(ReadFile(replay))), std::nullopt) << run.first_difference();
    return;
  }

  for (int done = 0, faults = 0; done < requests; done += kBatch) {
    if (soak && done > 0) run.InjectFault(faults++);
    const bool go_on = run.Run(std::min(kBatch, requests - done));
    if (go_on) run.ExpectEqualMembers();
    if (!go_on || HasFailure()) break;
    if (soak) std::cout << done + kBatch << " requests" << std::endl;
  }

  if (run.different() == 0 && !HasFailure()) run.RevokeLeases();
  EXPECT_EQ(run.different(), 0) << "RAFTKV_SEED=" << seed;
  if (run.different() > 0) ShortenAndPrint(run, &allowed);
  run.histogram().Print(std::cout);
  if (HasFailure() || requests < whole) return;
  for (const std::string& row : run.histogram().RowsBelow(kRowMin)) {
    ADD_FAILURE() << "occurred fewer than " << kRowMin << " times: " << row;
  }
  EXPECT_GE(run.histogram().changes(), 0.4 * requests);
  for (const Differences::Entry& entry : allowed.entries()) {
    std::cout << entry.met << " answers that differ, allowed by \"" << entry.id << "\"\n";
    EXPECT_TRUE(entry.met > 0 || against_etcd) << "differences.toml: never needed";
  }
}

// Checks that the comparison can fail.
TEST(KvDifferential, NoticesAWriteThatOnlyRaftkvHas) {
  ASSERT_NE(EtcdProgram(), "");
  DifferentialRun run(/*seed=*/1, /*allowed=*/nullptr);
  ASSERT_TRUE(run.Start());
  run.WriteToRaftkvOnly();
  run.Run(100);
  EXPECT_GT(run.different(), 0);
}

// Without allowed differences, one of them occurs soon. It must be shortened to a single request.
TEST(KvDifferential, ShortensADifferenceToOneRequest) {
  ASSERT_NE(EtcdProgram(), "");
  if (ProductUnderTest() == Product::kEtcd) GTEST_SKIP() << "etcd does not differ from itself";
  DifferentialRun run(/*seed=*/3, /*allowed=*/nullptr);
  ASSERT_TRUE(run.Start());
  while (run.different() == 0) run.Run(1);
  const Shortest shortest = Shorten(run.before_it(), /*allowed=*/nullptr);
  EXPECT_EQ(shortest.transcript.size(), 1u) << Print(shortest.transcript);
  EXPECT_NE(shortest.difference, "");
}

}  // namespace
}  // namespace raftkv::e2e
