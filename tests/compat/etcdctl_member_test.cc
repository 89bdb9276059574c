// etcdctl's verbs about members, in the same order against etcd and against raftkv: a learner is
// added, started, promoted, reached elsewhere, made the leader and removed; a voter is added and
// removed; at last the leader is removed. Output, errors and exit codes are compared.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <regex>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "tests/e2e/cluster.h"

namespace raftkv::e2e {
namespace {

constexpr absl::Duration kSoon = absl::Seconds(30);

class Story {
 public:
  Story(Product product, const std::vector<int>& ports)
      : cluster_({.product = product,
                  .size = 3,
                  .joining = 2,
                  .name = "compat",
                  .election_timeout = absl::Milliseconds(500),
                  .ports = ports}) {
    cluster_.StartAll();
    EXPECT_GE(cluster_.WaitForLeader(), 0);
    for (int i = 0; i < cluster_.options().size; ++i) ids_.push_back(IdOf(i));
  }

  std::vector<std::string> Tell() {
    for (const char* wrong : {"member remove 7", "member promote 7", "member update 7",
                              "member remove zz", "member add", "member add n4"}) {
      Run(wrong);
    }
    const std::string learner = absl::StrCat("member add n4 --learner --peer-urls=", PeerUrl(3));
    Until(learner);
    Run(learner);
    Run(absl::StrCat("member add n5 --learner --peer-urls=", PeerUrl(4)));
    Run("member promote ADDED");
    List();
    cluster_.Start(3);
    EXPECT_TRUE(Eventually(
        kSoon, [&] { return absl::StrContains(Etcdctl("member list").out, ", started, n4,"); }));
    Until("member promote ADDED");
    Run("member promote ADDED");
    List();
    Run("member update ADDED --peer-urls=http://127.0.0.1:1");
    Run("member list");
    Run(absl::StrCat("member update ADDED --peer-urls=", PeerUrl(3), " -w json"));
    Until("move-leader ADDED");
    Run(absl::StrCat("move-leader ", ids_[0]));
    Until("member remove ADDED");
    List();
    Until(absl::StrCat("member add n5 --peer-urls=", PeerUrl(4), " -w json"));
    List();
    Until("member remove ADDED");
    Until(absl::StrCat("member remove ", ids_[0]), /*but=*/0);
    EXPECT_TRUE(Eventually(kSoon, [&] { return cluster_.Put(1, "k", "v").ok(); }));
    return std::move(told_);
  }

 private:
  std::string PeerUrl(int i) const { return absl::StrCat("http://", cluster_.peer_address(i)); }
  std::string IdOf(int i) {
    return absl::StrCat(absl::Hex(cluster_.Status(i).response.header().member_id()));
  }

  // With all members of the start as endpoints, except for `but`.
  Finished Etcdctl(const std::string& text, int but = -1) {
    std::vector<std::string> endpoints;
    for (int i = 0; i < cluster_.options().size; ++i) {
      if (i != but) endpoints.push_back(cluster_.client_address(i));
    }
    return EtcdctlAt(endpoints, text);
  }
  Finished EtcdctlAt(const std::vector<std::string>& endpoints, const std::string& text) {
    Command command;
    command.argv = absl::StrSplit(absl::StrReplaceAll(text, {{"ADDED", added_}}), ' ');
    command.argv.insert(command.argv.begin(),
                        {"etcdctl", "--endpoints=" + absl::StrJoin(endpoints, ",")});
    command.environment = {{"ETCDCTL_API", "3"}};
    return RunToEnd(command);
  }

  // Masks the id of the added member, which is random, and what depends on elections.
  std::string Mask(std::string text) const {
    uint64_t id = 0;
    if (absl::SimpleHexAtoi(added_, &id)) {
      text = absl::StrReplaceAll(text, {{added_, "ADDED"}, {absl::StrCat(id), "ADDED"}});
      text = std::regex_replace(text, std::regex(" +ADDED"), " ADDED");  // a short id is padded
    }
    text = std::regex_replace(text, std::regex(R"re("(raft_term|member_id)":\d+)re"), "\"$1\":X");
    text = std::regex_replace(text, std::regex("transferred from [0-9a-f]+"), "transferred from X");
    // In etcd a second addition within the same second has the same id.
    text = absl::StrReplaceAll(text, {{"member ID already exist", "Peer URLs already exists"}});
    static const std::regex kCluster("ETCD_INITIAL_CLUSTER=\"([^\"]*)\"");
    if (std::smatch found; std::regex_search(text, found, kCluster)) {
      std::vector<std::string> members = absl::StrSplit(found[1].str(), ',');
      std::sort(members.begin(), members.end());
      text.replace(found.position(1), found.length(1), absl::StrJoin(members, ","));
    }
    return Sorted(text);
  }

  // Members are listed in the order of their ids, of which one is random.
  static std::string Sorted(const std::string& text) {
    std::vector<std::string> parts =
        absl::StrSplit(absl::StrReplaceAll(text, {{"},{", "\n"}, {"[{", "\n"}, {"}]}", "\n"}}),
                       '\n', absl::SkipEmpty());
    if (parts.size() > 1) std::sort(parts.begin(), parts.end());
    return absl::StrJoin(parts, "\n");
  }

  void Note(const std::string& text, const Finished& finished) {
    std::smatch added;
    static const std::regex kText("Member +([0-9a-f]+) added"),
        kJson(R"re("member":\{"ID":(\d+))re");
    if (std::regex_search(finished.out, added, kText)) added_ = added[1];
    uint64_t id = 0;
    if (std::regex_search(finished.out, added, kJson) && absl::SimpleAtoi(added[1].str(), &id)) {
      added_ = absl::StrCat(absl::Hex(id));
    }
    // Only the last line of the errors counts. The lines before it are log lines.
    const std::vector<std::string> errors = absl::StrSplit(finished.err, '\n', absl::SkipEmpty());
    told_.push_back(absl::StrCat(text, ": ", finished.exit_code, " ", Mask(finished.out),
                                 errors.empty() ? "" : Mask(errors.back())));
  }

  void Run(const std::string& text) { Note(text, Etcdctl(text)); }
  // Repeats it until it succeeds, as an operator does: etcd waits until connections are some
  // seconds old, and a learner is promoted once it has caught up.
  void Until(const std::string& text, int but = -1) {
    Finished finished;
    EXPECT_TRUE(Eventually(kSoon,
                           [&] {
                             finished = Etcdctl(text, but);
                             return finished.exit_code == 0;
                           }))
        << text << "\n"
        << finished.err;
    Note(text, finished);
  }
  // Each member lists what it has applied itself, and a follower applies a change a little later
  // than the leader.
  void List() {
    EXPECT_TRUE(Eventually(kSoon, [&] {
      std::set<std::string> lists;
      for (int i = 0; i < cluster_.options().size; ++i) {
        lists.insert(EtcdctlAt({cluster_.client_address(i)}, "member list").out);
      }
      return lists.size() == 1;
    }));
    for (const char* format : {"simple", "json", "table"}) {
      Run(absl::StrCat("member list -w ", format));
    }
  }

  Cluster cluster_;
  std::vector<std::string> ids_;
  std::string added_ = "none";
  std::vector<std::string> told_;
};

TEST(Etcdctl, ChangesTheMembers) {
  ASSERT_NE(EtcdProgram(), "");
  const std::vector<int> ports = FreePorts(10);
  const std::vector<std::string> expected = Story(Product::kEtcd, ports).Tell();
  const std::vector<std::string> actual = Story(ProductUnderTest(), ports).Tell();
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) EXPECT_EQ(actual[i], expected[i]);
}

}  // namespace
}  // namespace raftkv::e2e
