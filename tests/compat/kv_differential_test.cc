// The differential run: random KV requests, each sent to one of our three members in turn and to
// Debian's etcd, which has one member, at the same time. Both must answer the same, field by field
// (kv_exchange.h says what is left out), but for what differences.toml allows, and the run must
// have met everything that kv_histogram.h lists at least 50 times.
//
// A difference is asked again of new stores, with less and less before it: what is printed in the
// end is a list of requests as short as can be, also in a file that RAFTKV_REPLAY=FILE asks again.
//
// 20,000 requests and more; RAFTKV_SOAK=1 makes it 500,000, with our members killed, stopped and
// left behind between batches (`make soak`). The seed is printed; RAFTKV_SEED replays it, and
// RAFTKV_REQUESTS=n ends it after n (then without the histogram's demands).

#include <gtest/gtest.h>

#include <cstdlib>
#include <deque>
#include <iostream>
#include <optional>

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
constexpr size_t kRecent = 6;      // requests shown with a difference
constexpr size_t kHistory = 3000;  // requests kept: twelve keys have long been overwritten by then
constexpr int kDifferentMax = 3;   // then the run ends: what follows is only their consequence

uint64_t NumberFrom(const char* variable, uint64_t otherwise) {
  const char* text = std::getenv(variable);
  uint64_t number = otherwise;
  EXPECT_TRUE(text == nullptr || absl::SimpleAtoi(text, &number)) << variable << "=" << text;
  return number;
}

// The two products side by side.
class Duel {
 public:
  enum class Purpose { kRun, kAttempt };  // an attempt starts fast, and leaves no data behind
  // `allowed` may be null: then nothing is.
  Duel(uint64_t seed, Differences* allowed, Purpose purpose = Purpose::kRun)
      : ours_(Options(purpose, ProductUnderTest(), ProductUnderTest() == Product::kEtcd ? 1 : 3)),
        etcd_(Options(purpose, Product::kEtcd, 1)),
        generator_(seed, &knowledge_),
        allowed_(allowed),
        settled_(ours_.size(), true) {}

  // False, and a failure, if one of them does not come up.
  bool Start() {
    ours_.StartAll();
    etcd_.StartAll();
    const bool up = ours_.WaitForLeader() >= 0 && etcd_.WaitForLeader() >= 0;
    EXPECT_TRUE(up) << "no leader";
    for (int i = 0; up && i < ours_.size(); ++i) {
      ids_.push_back(ours_.Status(i).response.header());
    }
    return up;
  }

  // False once so much was different that going on proves nothing.
  bool Run(int requests) {
    for (int i = 0; i < requests && different_ < kDifferentMax; ++i) {
      if (asked_ % kFlushEvery == 0) Flush();
      Compare(NextMember(), generator_.Next());
    }
    return different_ < kDifferentMax;
  }

  // The first step that is answered differently.
  std::optional<size_t> Replay(const Transcript& transcript) {
    for (size_t i = 0; i < transcript.size(); ++i) {
      const Step& step = transcript[i];
      if (step.request.has_value()) {
        Compare(step.member % ours_.size(),
                Shifted(*step.request, knowledge_.revision() - step.revision));
      } else {
        Flush();
      }
      if (different_ > 0) return i;
    }
    return std::nullopt;
  }

  // Ours hold the same, and hash to the same, whatever of it each has compacted so far.
  void ExpectEqualMembers() {
    ASSERT_TRUE(ours_.MembersAreEqual());
    std::string expected;
    for (int i = 0; i < ours_.size(); ++i) {
      if (!ours_.Running(i)) continue;
      Settle(i);
      auto reply = Call(ours_.connection(i), *ours_.connection(i).maintenance,
                        &Maintenance::Stub::HashKV, etcdserverpb::HashKVRequest());
      ASSERT_TRUE(reply.ok()) << reply.status.error_message();
      reply.response.mutable_header()->clear_member_id();
      reply.response.mutable_header()->clear_raft_term();
      const std::string text = reply.response.ShortDebugString();
      if (expected.empty()) expected = text;
      EXPECT_EQ(text, expected) << "HashKV of member " << i;
    }
  }

  // What happens to ours between two batches; etcd is left alone.
  void Strike(int number) {
    Remember({});  // as far as a list of requests can tell of it
    const int victim = number / 5 % ours_.size();
    const int other = (victim + 1) % ours_.size();
    if (down_ >= 0) Revive({std::exchange(down_, -1)});
    switch (number % 5) {
      case 0:
        ours_.Kill(victim);
        return Revive({victim});
      case 1:
        for (int i = 0; i < ours_.size(); ++i) ours_.Kill(i);
        return Revive({0, 1, 2});
      case 2:
        EXPECT_EQ(ours_.Terminate(victim), 0);
        return Revive({victim});
      case 3:  // stays away for a batch
        ours_.Kill(down_ = victim);
        ASSERT_GE(ours_.WaitForLeader(), 0);
        for (int i = 0; i < ours_.size(); ++i) {
          if (i != down_) Settle(i);
        }
        return;
      default:
        ours_.Kill(victim);
        ours_.Kill(other);
        return Revive({victim, other});
    }
  }

  // A write of which etcd never hears: the control.
  void PlantAWrite() { EXPECT_TRUE(ours_.Put(0, "a", "planted").ok()); }

  const Histogram& histogram() const { return histogram_; }
  int different() const { return different_; }
  // As text, and the last requests up to it.
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

  int NextMember() const {
    const int member = static_cast<int>(asked_ % ours_.size());
    return member == down_ ? (member + 1) % ours_.size() : member;
  }

  void Remember(Step step) {
    if (history_.size() == kHistory) history_.pop_front();
    history_.push_back(std::move(step));
  }

  void Compare(int member, const Request& request) {
    ++asked_;
    Remember({request, member, knowledge_.revision()});
    // What a member answers by itself may be old, and rightly so, unless it knows all that the
    // others were told.
    if (IsSerializable(request) && !settled_[member]) Settle(member);
    const auto [etcd, ours] = AskBoth(etcd_.connection(0), ours_.connection(member), request);
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
    if (changed) settled_.assign(ours_.size(), false);
    if (changed) settled_[member] = true;
  }

  bool IsAllowed(const Request& request, const std::string& expected, const std::string& actual) {
    return allowed_ != nullptr && allowed_->Allow(Describe(request), expected, actual);
  }

  bool IsOurs(const etcdserverpb::ResponseHeader& header, int member) const {
    return header.cluster_id() == ids_[member].cluster_id() &&
           header.member_id() == ids_[member].member_id() && header.raft_term() > 0;
  }

  void Report(int member, const std::string& expected, const std::string& actual) {
    const std::string text = absl::StrCat(
        "request ", asked_ - 1, " at revision ", knowledge_.revision(), ", compacted ",
        knowledge_.compacted(), ", to member ", member,
        "; it and what came before, with etcd's answers:\n", absl::StrJoin(recent_, ""),
        "\netcd answers\n", expected, "\nraftkv answers\n", actual, "\n");
    if (different_++ > 0) return;
    first_difference_ = text;
    before_it_.assign(history_.begin(), history_.end());
  }

  // Ours write what they hold into files, for reads look for it there in other ways than in memory.
  // By itself that happens too seldom for a short run: a defragmentation begins with it.
  void Flush() {
    Remember({});
    for (int i = 0; i < ours_.size(); ++i) {
      if (i == down_) continue;
      const auto reply = Call(ours_.connection(i), *ours_.connection(i).maintenance,
                              &Maintenance::Stub::Defragment, etcdserverpb::DefragmentRequest());
      EXPECT_TRUE(reply.ok()) << reply.status.error_message();
    }
  }

  // Member i has seen everything that anybody was told so far.
  void Settle(int i) {
    RangeRequest request = GetRequest("a");
    request.set_count_only(true);
    Reply<etcdserverpb::RangeResponse> reply;
    const bool ok = Eventually(absl::Seconds(30), [&] {
      reply = Range(ours_.connection(i), request);
      return reply.ok();
    });
    EXPECT_TRUE(ok) << "member " << i << ": " << reply.status.error_message();
    settled_[i] = true;
  }

  void Revive(const std::vector<int>& members) {
    for (int i : members) ours_.Start(i);
    ASSERT_GE(ours_.WaitForLeader(), 0);
    for (int i = 0; i < ours_.size(); ++i) Settle(i);
  }

  // A second etcd, to try the comparison itself, has one member too: members of etcd 3.4 disagree
  // about a transaction whose range asks for a compacted revision (only the one that was asked
  // refuses it), so three of them cannot be compared with anything.
  Cluster ours_;
  Cluster etcd_;
  Knowledge knowledge_;
  Generator generator_;
  Histogram histogram_;
  Differences* const allowed_;
  std::vector<etcdserverpb::ResponseHeader> ids_;  // of each member
  std::vector<bool> settled_;                      // of each member: see Settle
  int64_t asked_ = 0;
  int down_ = -1;  // the member that is away
  int different_ = 0;
  std::string first_difference_;
  Transcript before_it_;
  std::deque<std::string> recent_;
  std::deque<Step> history_;
};

// The shortest part of a list that still differs, and how, as far as a few minutes tell: every
// attempt takes new processes.
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
    Duel duel(/*seed=*/0, allowed, Duel::Purpose::kAttempt);
    if (duel.Start()) at = duel.Replay(part);
    if (at.has_value()) shortest.difference = duel.first_difference();
    return at;
  });
  return shortest;
}

void Explain(const Duel& duel, Differences* allowed) {
  std::cout << duel.first_difference() << "shortening it\n";
  const Shortest shortest = Shorten(duel.before_it(), allowed);
  if (shortest.transcript.empty()) {
    std::cout << "the last " << kHistory << " requests, of new stores, do not differ again\n";
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

TEST(KvDifferential, RandomRequestsAnswerAsEtcdDoes) {
  ASSERT_NE(EtcdProgram(), "");
  constexpr int kRowMin = 50;
  const bool soak = std::getenv("RAFTKV_SOAK") != nullptr;
  const uint64_t seed = NumberFrom("RAFTKV_SEED", absl::ToUnixMicros(absl::Now()));
  const int whole = soak ? 500'000 : 22'000;
  const int requests = static_cast<int>(NumberFrom("RAFTKV_REQUESTS", whole));
  std::cout << "RAFTKV_SEED=" << seed << std::endl;
  Differences allowed(ReadFile(RAFTKV_SOURCE_DIR "/tests/compat/differences.toml"));
  const bool against_etcd = ProductUnderTest() == Product::kEtcd;
  Duel duel(seed, against_etcd ? nullptr : &allowed);
  ASSERT_TRUE(duel.Start());
  if (const char* replay = std::getenv("RAFTKV_REPLAY")) {
    EXPECT_EQ(duel.Replay(Parse(ReadFile(replay))), std::nullopt) << duel.first_difference();
    return;
  }

  for (int done = 0, strikes = 0; done < requests; done += kBatch) {
    if (soak && done > 0) duel.Strike(strikes++);
    const bool go_on = duel.Run(std::min(kBatch, requests - done));
    if (go_on) duel.ExpectEqualMembers();
    if (!go_on || HasFailure()) break;
    if (soak) std::cout << done + kBatch << " requests" << std::endl;
  }

  EXPECT_EQ(duel.different(), 0) << "RAFTKV_SEED=" << seed;
  if (duel.different() > 0) Explain(duel, &allowed);
  duel.histogram().Print(std::cout);
  if (HasFailure() || requests < whole) return;
  for (const std::string& row : duel.histogram().RowsBelow(kRowMin)) {
    ADD_FAILURE() << "met less than " << kRowMin << " times: " << row;
  }
  EXPECT_GE(duel.histogram().changes(), 0.4 * requests);
  for (const Differences::Entry& entry : allowed.entries()) {
    std::cout << entry.met << " answers that differ as \"" << entry.id << "\" allows\n";
    EXPECT_TRUE(entry.met > 0 || against_etcd) << "differences.toml: never met";
  }
}

// The control: a comparison that cannot fail proves nothing.
TEST(KvDifferential, NoticesAWriteThatOnlyOneOfThemKnows) {
  ASSERT_NE(EtcdProgram(), "");
  Duel duel(/*seed=*/1, /*allowed=*/nullptr);
  ASSERT_TRUE(duel.Start());
  duel.PlantAWrite();
  duel.Run(100);
  EXPECT_GT(duel.different(), 0);
}

// Another: where nothing may differ, one request that may otherwise remains of a hundred.
TEST(KvDifferential, ShortensWhatDiffersToARequest) {
  ASSERT_NE(EtcdProgram(), "");
  if (ProductUnderTest() == Product::kEtcd) GTEST_SKIP() << "etcd does not differ from itself";
  Duel duel(/*seed=*/3, /*allowed=*/nullptr);
  ASSERT_TRUE(duel.Start());
  while (duel.different() == 0) duel.Run(1);
  const Shortest shortest = Shorten(duel.before_it(), /*allowed=*/nullptr);
  EXPECT_EQ(shortest.transcript.size(), 1u) << Print(shortest.transcript);
  EXPECT_NE(shortest.difference, "");
}

}  // namespace
}  // namespace raftkv::e2e
