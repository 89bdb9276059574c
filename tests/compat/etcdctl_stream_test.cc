// etcdctl's commands that go on until they are told to end, against etcd and against raftkv: the
// interactive watch, and `lease keep-alive` without --once.

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <list>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "tests/e2e/cluster.h"

namespace raftkv::e2e {
namespace {

using etcdserverpb::Lease;

constexpr absl::Duration kLong = absl::Seconds(20);

Command CommandOf(const Cluster& cluster, int member, std::vector<std::string> words) {
  words.insert(words.begin() + 1, "--endpoints=" + cluster.client_address(member));
  return {.argv = std::move(words), .environment = {{"ETCDCTL_API", "3"}}};
}

// `etcdctl watch -i`, whose standard input stays open until Close.
class InteractiveWatch {
 public:
  explicit InteractiveWatch(const Cluster& cluster)
      : input_(cluster.dir() + "/input"), output_(cluster.dir() + "/output") {
    EXPECT_EQ(mkfifo(input_.c_str(), 0600), 0);
    // For reading, too: an open for writing alone would wait for the reader.
    writer_ = open(input_.c_str(), O_RDWR | O_CLOEXEC);
    EXPECT_GE(writer_, 0);
    Command command = CommandOf(cluster, 0, {"etcdctl", "watch", "-i"});
    command.input_file = input_;
    process_.emplace(command, output_);
  }
  ~InteractiveWatch() { Close(); }

  void Write(const std::string& line) {
    const std::string bytes = line + "\n";
    EXPECT_EQ(write(writer_, bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
  }
  // Waits for further output, and for its end.
  void Await(const std::string& end) {
    const size_t before = awaited_;
    EXPECT_TRUE(Eventually(kLong,
                           [&] {
                             awaited_ = output().size();
                             return awaited_ >= before + end.size() &&
                                    absl::EndsWith(output(), end);
                           }))
        << "no " << end << " in " << output();
  }
  void Close() {
    if (writer_ >= 0) close(writer_);
    writer_ = -1;
  }
  std::optional<int> Wait() { return process_->Wait(kLong); }
  std::string output() const { return ReadFile(output_); }

 private:
  const std::string input_, output_;
  int writer_ = -1;
  size_t awaited_ = 0;
  std::optional<Process> process_;
};

// Each event is awaited before the next one is caused, because etcdctl prints the events of
// different watches in any order. Watches start at a given revision, because etcdctl does not print
// that a watch was created.
std::string WatchInteractively(Product product) {
  Cluster cluster({.product = product, .size = 1, .name = "compat"});
  cluster.StartAll();
  EXPECT_EQ(cluster.WaitForLeader(), 0);
  const auto put = [&](const std::string& key, const std::string& value) {
    EXPECT_TRUE(cluster.Put(0, key, value).ok());
  };
  put("a", "1");
  put("dir/x", "1");
  put("k", "old");
  InteractiveWatch watch(cluster);
  watch.Write("watch a --rev=2");
  watch.Await("PUT\na\n1\n");
  watch.Write("watch --prefix dir/ --rev=3");
  watch.Await("PUT\ndir/x\n1\n");
  watch.Write("nonsense");
  watch.Await("(only support watch)\n");
  watch.Write("watch");
  watch.Await("(command type or key is not provided)\n");
  watch.Write("watch \"k\" --prev-kv --rev=5");
  put("k", "new");
  watch.Await("PUT\nk\nold\nk\nnew\n");
  watch.Write("watch c d --rev=6 -- echo ran");
  put("c1", "1");
  watch.Await("PUT\nc1\n1\nran\n");
  // All four watches still get their events.
  put("a", "2");
  watch.Await("PUT\na\n2\n");
  put("dir/y", "1");
  watch.Await("PUT\ndir/y\n1\n");
  EXPECT_TRUE(Delete(cluster.connection(0), "k").ok());
  watch.Await("DELETE\nk\nnew\nk\n\n");
  put("c2", "1");
  watch.Await("PUT\nc2\n1\nran\n");
  put("other", "1");
  put("a", "3");
  watch.Await("PUT\na\n3\n");
  watch.Close();
  const std::optional<int> code = watch.Wait();
  EXPECT_TRUE(code.has_value());
  return absl::StrCat(watch.output(), code.value_or(-1));
}

TEST(Etcdctl, WatchesInteractively) {
  ASSERT_NE(EtcdProgram(), "");
  EXPECT_EQ(WatchInteractively(ProductUnderTest()), WatchInteractively(Product::kEtcd));
}

// The output without repeated lines: how often a lease is renewed depends on the time.
std::string WithoutRepetitions(const std::string& text) {
  std::string result, last;
  for (const absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    if (line != last) absl::StrAppend(&result, line, "\n");
    last = std::string(line);
  }
  return result;
}

// Three members, and `lease keep-alive` of some programs, through a follower.
class LeaseKeepers {
 public:
  static constexpr int64_t kTtl = 3;

  LeaseKeepers(Product product, const std::vector<std::string>& programs)
      : cluster_(
            {.product = product, .name = "compat", .election_timeout = absl::Milliseconds(500)}) {
    cluster_.StartAll();
    leader_ = cluster_.WaitForLeader();
    EXPECT_GE(leader_, 0);
    for (const std::string& program : programs) {
      const int64_t id = kFirst + static_cast<int64_t>(keepers_.size());
      Grant(id);
      const std::string file = absl::StrCat(cluster_.dir(), "/keeper", id);
      Keeper& keeper = keepers_.emplace_back(id, file);
      keeper.process.emplace(CommandOf(cluster_, (leader_ + 1) % cluster_.size(),
                                       {program, "lease", "keep-alive", IdText(id)}),
                             file);
      EXPECT_TRUE(Eventually(kLong, [&] { return !ReadFile(file).empty(); }));
    }
  }

  // Grants a lease with a key, whose name is the lease's id.
  void Grant(int64_t id) {
    etcdserverpb::LeaseGrantRequest grant;
    grant.set_id(id);
    grant.set_ttl(kTtl);
    // Just after the start, a member may not have agreed on the newest cluster version.
    EXPECT_TRUE(Eventually(kLong, [&] {
      return Call(leader(), *leader().lease, &Lease::Stub::LeaseGrant, grant).ok();
    }));
    etcdserverpb::PutRequest put;
    put.set_key(absl::StrCat(id));
    put.set_lease(id);
    EXPECT_TRUE(Call(leader(), *leader().kv, &etcdserverpb::KV::Stub::Put, put).ok());
  }
  bool Exists(int64_t id) {
    const auto reply = cluster_.Get(leader_, absl::StrCat(id));
    EXPECT_TRUE(reply.ok()) << reply.status.error_message();
    return reply.response.count() == 1;
  }
  void ExpectAllKept() {
    for (Keeper& keeper : keepers_) {
      EXPECT_TRUE(Exists(keeper.id));
      EXPECT_TRUE(keeper.process->Running()) << ReadFile(keeper.file);
    }
  }
  void RevokeAll() {
    for (const Keeper& keeper : keepers_) {
      etcdserverpb::LeaseRevokeRequest revoke;
      revoke.set_id(keeper.id);
      EXPECT_TRUE(Call(leader(), *leader().lease, &Lease::Stub::LeaseRevoke, revoke).ok());
    }
  }
  // Waits for the ends of all programs.
  void ExpectEnds() {
    for (Keeper& keeper : keepers_) {
      EXPECT_EQ(keeper.process->Wait(kLong), 0);
      const std::string id = IdText(keeper.id);
      EXPECT_EQ(WithoutRepetitions(ReadFile(keeper.file)),
                absl::StrCat("lease ", id, " keepalived with TTL(", kTtl, ")\nlease ", id,
                             " expired or revoked.\n"));
    }
  }

 private:
  static constexpr int64_t kFirst = 0x7b0000;
  struct Keeper {
    Keeper(int64_t id, std::string file) : id(id), file(std::move(file)) {}
    const int64_t id;
    const std::string file;
    std::optional<Process> process;
  };

  static std::string IdText(int64_t id) { return absl::StrCat(absl::Hex(id, absl::kZeroPad16)); }
  Connection& leader() { return cluster_.connection(leader_); }

  Cluster cluster_;
  int leader_ = -1;
  std::list<Keeper> keepers_;
};

TEST(Etcdctl, KeepsALeaseAlive) {
  ASSERT_NE(EtcdProgram(), "");
  LeaseKeepers etcd(Product::kEtcd, {"etcdctl"});
  LeaseKeepers ours(ProductUnderTest(), {"etcdctl", BuiltProgram("raftkv")});
  // Two leases with the same time, one after the other, which nobody keeps alive.
  for (const int64_t id : {1, 2}) {
    for (LeaseKeepers* keepers : {&etcd, &ours}) keepers->Grant(id);
    for (LeaseKeepers* keepers : {&etcd, &ours}) {
      EXPECT_TRUE(Eventually(kLong, [&] { return !keepers->Exists(id); }));
    }
  }
  for (LeaseKeepers* keepers : {&etcd, &ours}) {
    keepers->ExpectAllKept();
    keepers->RevokeAll();
  }
  for (LeaseKeepers* keepers : {&etcd, &ours}) keepers->ExpectEnds();
}

}  // namespace
}  // namespace raftkv::e2e
