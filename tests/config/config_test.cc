#include "config/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "config/url.h"

namespace raftkv {
namespace {

// A file that exists as long as this object.
class TempFile {
 public:
  explicit TempFile(const std::string& text)
      : path_(absl::StrCat(testing::TempDir(), "raftkv_config_test_", getpid(), ".toml")) {
    std::ofstream(path_) << text;
  }
  ~TempFile() { std::remove(path_.c_str()); }
  const std::string& path() const { return path_; }

 private:
  const std::string path_;
};

absl::StatusOr<Config> Load(const std::string& text) { return LoadConfig(TempFile(text).path()); }

// The error message for `text`, with the path replaced by "F".
std::string ErrorOf(const std::string& text) {
  const TempFile file(text);
  const absl::StatusOr<Config> config = LoadConfig(file.path());
  if (config.ok()) return "no error";
  EXPECT_EQ(config.status().code(), absl::StatusCode::kInvalidArgument);
  return absl::StrReplaceAll(config.status().message(), {{file.path(), "F"}});
}

// A valid [[member]] of four lines. Tests append an invalid line.
std::string Member(const std::string& name, int port) {
  return absl::StrCat("[[member]]\nname = \"", name, "\"\npeer_url = \"http://127.0.0.1:", port + 1,
                      "\"\nclient_url = \"http://127.0.0.1:", port, "\"\n");
}

Config Shipped(const std::string& name) {
  const auto config = LoadConfig(absl::StrCat(RAFTKV_SOURCE_DIR, "/config/", name));
  EXPECT_TRUE(config.ok()) << config.status();
  return config.ok() ? *config : Config();
}

TEST(Config, OneMemberIsEnoughAndTheRestIsDefaults) {
  const auto config = Load(Member("a", 2379));
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->cluster_name, "default");
  EXPECT_EQ(config->heartbeat_interval, absl::Milliseconds(100));
  EXPECT_EQ(config->election_timeout, absl::Seconds(1));
  ASSERT_EQ(config->members.size(), 1u);
  EXPECT_EQ(config->members[0].listen_peer_url, "http://127.0.0.1:2380");
  EXPECT_EQ(config->members[0].listen_client_url, "http://127.0.0.1:2379");
  EXPECT_EQ(config->members[0].data_dir, "a.raftkv");
}

TEST(Config, EveryKeyIsRead) {
  const auto config = Load(absl::StrCat(R"([cluster]
name = "blue"
heartbeat_interval = "20ms"
election_timeout = "0.3s"
[limits]
max_request_bytes = 1_000_000
max_txn_ops = 7
max_response_bytes = 2_000_000
request_timeout = "1m30s"
disk_stall_timeout = "2s"
max_pending_requests = 9
watch_progress_notify_interval = "30s"
[storage]
cache_bytes = 1048576
quota_backend_bytes = 5000
min_free_bytes = 6000
auto_compaction_mode = "periodic"
auto_compaction_retention = "30m"
[log]
level = "warning"
format = "json"
)",
                                        Member("a", 2379), R"(listen_peer_url = "http://[::]:1"
listen_client_url = "http://0.0.0.0:2"
data_dir = "/var/lib/a"
)"));
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->cluster_name, "blue");
  EXPECT_EQ(config->heartbeat_interval, absl::Milliseconds(20));
  EXPECT_EQ(config->election_timeout, absl::Milliseconds(300));
  EXPECT_EQ(config->limits.max_request_bytes, 1000000);
  EXPECT_EQ(config->limits.max_txn_ops, 7);
  EXPECT_EQ(config->limits.max_response_bytes, 2000000);
  EXPECT_EQ(config->limits.request_timeout, absl::Seconds(90));
  EXPECT_EQ(config->limits.disk_stall_timeout, absl::Seconds(2));
  EXPECT_EQ(config->limits.max_pending_requests, 9);
  EXPECT_EQ(config->limits.watch_progress_notify_interval, absl::Seconds(30));
  EXPECT_EQ(config->storage.cache_bytes, 1048576);
  EXPECT_EQ(config->storage.quota_backend_bytes, 5000);
  EXPECT_EQ(config->storage.min_free_bytes, 6000);
  EXPECT_EQ(config->storage.auto_compaction_period, absl::Minutes(30));
  EXPECT_EQ(config->storage.auto_compaction_revisions, 0);
  EXPECT_EQ(config->log.level, "warning");
  EXPECT_EQ(config->log.format, "json");
  EXPECT_EQ(config->members[0].listen_peer_url, "http://[::]:1");
  EXPECT_EQ(config->members[0].listen_client_url, "http://0.0.0.0:2");
  EXPECT_EQ(config->members[0].data_dir, "/var/lib/a");
}

TEST(Config, RequestTimeoutFollowsElectionTimeout) {
  const auto config = Load(absl::StrCat("[cluster]\nelection_timeout = \"2s\"\n", Member("a", 1)));
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->limits.request_timeout, absl::Seconds(9));
}

// Another member becomes leader before a member with a failing disk exits; and it exits before its
// requests time out.
TEST(Config, DiskStallTimeoutLiesBetweenElectionAndRequestTimeout) {
  const auto with = [](const std::string& election, const std::string& limits) {
    return Load(absl::StrCat("[cluster]\nelection_timeout = \"", election, "\"\n[limits]\n", limits,
                             "\n", Member("a", 1)));
  };
  EXPECT_EQ(with("1s", "request_timeout = \"2s\"")->limits.disk_stall_timeout,
            absl::Milliseconds(1800));
  EXPECT_EQ(with("1s", "request_timeout = \"60s\"")->limits.disk_stall_timeout, absl::Seconds(5));
  EXPECT_EQ(with("9s", "")->limits.disk_stall_timeout, absl::Seconds(9));
  EXPECT_TRUE(with("1s", "disk_stall_timeout = \"1s\"").ok());
  EXPECT_FALSE(with("1s", "disk_stall_timeout = \"7s\"").ok());
}

// cluster.toml documents the defaults, so its values must be the defaults.
TEST(Config, ClusterTomlShowsTheDefaults) {
  const Config shipped = Shipped("cluster.toml");
  const Config defaults;
  EXPECT_EQ(shipped.heartbeat_interval, defaults.heartbeat_interval);
  EXPECT_EQ(shipped.election_timeout, defaults.election_timeout);
  EXPECT_EQ(shipped.limits.max_request_bytes, defaults.limits.max_request_bytes);
  EXPECT_EQ(shipped.limits.max_txn_ops, defaults.limits.max_txn_ops);
  EXPECT_EQ(shipped.limits.max_response_bytes, defaults.limits.max_response_bytes);
  EXPECT_EQ(shipped.limits.request_timeout, defaults.limits.request_timeout);
  EXPECT_EQ(shipped.limits.disk_stall_timeout, defaults.limits.disk_stall_timeout);
  EXPECT_EQ(shipped.limits.max_pending_requests, defaults.limits.max_pending_requests);
  EXPECT_EQ(shipped.limits.watch_progress_notify_interval,
            defaults.limits.watch_progress_notify_interval);
  EXPECT_EQ(shipped.storage.cache_bytes, defaults.storage.cache_bytes);
  EXPECT_EQ(shipped.storage.quota_backend_bytes, defaults.storage.quota_backend_bytes);
  EXPECT_EQ(shipped.storage.min_free_bytes, defaults.storage.min_free_bytes);
  EXPECT_EQ(shipped.storage.auto_compaction_period, defaults.storage.auto_compaction_period);
  EXPECT_EQ(shipped.storage.auto_compaction_revisions, defaults.storage.auto_compaction_revisions);
  EXPECT_EQ(shipped.log.level, defaults.log.level);
  EXPECT_EQ(shipped.log.format, defaults.log.format);
  ASSERT_EQ(shipped.members.size(), 3u);
  EXPECT_EQ(shipped.members[2].client_url, "http://127.0.0.1:32379");
  EXPECT_EQ(shipped.members[2].data_dir, "data/n3");
}

TEST(Config, FiveTomlIsTheFiveNodesOfTheExercise) {
  const Config five = Shipped("five.toml");
  ASSERT_EQ(five.members.size(), 5u);
  for (int n = 1; n <= 5; ++n) {
    const MemberConfig& member = five.members[n - 1];
    EXPECT_EQ(member.name, absl::StrCat("n", n));
    EXPECT_EQ(HostPort(member.client_url), absl::StrCat("127.0.0.1:", 3110 + n));
    EXPECT_EQ(HostPort(member.peer_url), absl::StrCat("127.0.0.1:", 13110 + n));
  }
}

// The expected ids are what etcd 3.4.23 printed for the same URLs and --initial-cluster-token demo.
TEST(Config, IdsAreDerivedAsInEtcd) {
  const Config demo = Shipped("cluster.toml");
  ASSERT_EQ(demo.members.size(), 3u);
  EXPECT_EQ(demo.members[0].id, 0xd9f111f045b4f22fu);
  EXPECT_EQ(demo.members[1].id, 0x0b4b9e73ad799f34u);
  EXPECT_EQ(demo.members[2].id, 0x3e968b287f5ba20du);
  EXPECT_EQ(demo.cluster_id, 0x5e79e03b51962929u);
}

TEST(Config, DefaultIsOneMemberWithEtcdsIds) {
  const Config config = DefaultConfig();
  ASSERT_EQ(config.members.size(), 1u);
  EXPECT_EQ(config.members[0].name, "default");
  EXPECT_EQ(config.members[0].data_dir, "default.raftkv");
  EXPECT_EQ(config.members[0].listen_client_url, "http://127.0.0.1:2379");
  EXPECT_EQ(config.members[0].listen_peer_url, "http://127.0.0.1:2380");
  EXPECT_EQ(config.members[0].id, 0xe465deec0ce7f207u);
  EXPECT_EQ(config.cluster_id, 0x6c823175d967faefu);
}

TEST(Config, AMemberIsFoundByNameOrByPosition) {
  const Config three = Shipped("cluster.toml");
  EXPECT_EQ(FindMember(three, "n3").value(), 2u);
  EXPECT_EQ(FindMember(three, "1").value(), 0u);
  EXPECT_EQ(FindMember(DefaultConfig(), "").value(), 0u);
  EXPECT_EQ(FindMember(three, "").status().message(),
            "no member given; give -n one of n1, n2, n3, or a number from 1 to 3");
  for (const char* wrong : {"n4", "0", "4", "-1"}) {
    EXPECT_EQ(FindMember(three, wrong).status().message(),
              absl::StrCat("no member \"", wrong,
                           "\"; give -n one of n1, n2, n3, or a number from 1 to 3"));
  }
}

TEST(Config, AMissingFileIsNamed) {
  EXPECT_EQ(LoadConfig("/nowhere/x.toml").status().message(),
            "/nowhere/x.toml: cannot be read: No such file or directory; give a readable file "
            "with -c");
  EXPECT_EQ(LoadConfig("/").status().message(),
            "/: cannot be read: Is a directory; give a readable file with -c");
}

struct Row {
  std::string text;
  std::string error;
};

// Compares the whole message: file, line, what is wrong, how to fix it.
void ExpectErrors(const std::vector<Row>& rows) {
  for (const Row& row : rows) EXPECT_EQ(ErrorOf(row.text), row.error) << row.text;
}

TEST(Config, RetentionOfTheHistory) {
  const auto load = [](const std::string& mode, const std::string& retention) {
    return Load(absl::StrCat("[storage]\nauto_compaction_mode = \"", mode,
                             "\"\nauto_compaction_retention = \"", retention, "\"\n",
                             Member("a", 1)));
  };
  EXPECT_EQ(load("periodic", "24")->storage.auto_compaction_period, absl::Hours(24));
  EXPECT_EQ(load("periodic", "90s")->storage.auto_compaction_period, absl::Seconds(90));
  EXPECT_EQ(load("periodic", "0")->storage.auto_compaction_period, absl::ZeroDuration());
  EXPECT_EQ(load("revision", "1000")->storage.auto_compaction_revisions, 1000);
  EXPECT_EQ(load("revision", "1000")->storage.auto_compaction_period, absl::ZeroDuration());
  for (const auto& [mode, retention] :
       {std::pair{"periodic", "soon"}, std::pair{"periodic", "-1"}, std::pair{"periodic", "10ms"},
        std::pair{"revision", "1h"}, std::pair{"revision", "-1"}}) {
    const auto config = load(mode, retention);
    ASSERT_FALSE(config.ok()) << mode << " " << retention;
    EXPECT_NE(config.status().message().find("auto_compaction_retention"), std::string::npos);
  }
}

TEST(ConfigErrors, UnknownKeysAndSections) {
  const std::string a = Member("a", 10);
  ExpectErrors({
      {"[cluster]\nhartbeat_interval = \"1s\"\n" + a,
       "F:2: unknown key \"hartbeat_interval\" in [cluster]; did you mean \"heartbeat_interval\"?"},
      {"[cluster]\nelection = \"1s\"\n" + a,
       "F:2: unknown key \"election\" in [cluster]; did you mean \"election_timeout\"?"},
      {"[cluster]\nstate = \"join\"\n" + a,
       "F:2: unknown state \"join\"; write one of \"new\", \"existing\""},
      {"[storage]\n\ncolour = 1\n" + a,
       "F:3: unknown key \"colour\" in [storage]; the keys here are cache_bytes, "
       "quota_backend_bytes, min_free_bytes, auto_compaction_mode, auto_compaction_retention"},
      {a + "peer_urls = \"x\"\n",
       "F:5: unknown key \"peer_urls\" in [[member]]; did you mean \"peer_url\"?"},
      {"[[member]]\nnmae = \"a\"\npeer_url = \"http://h:1\"\n",
       "F:2: unknown key \"nmae\" in [[member]]; did you mean \"name\"?"},
      {a + "[limit]\nmax_txn_ops = 1\n", "F:5: unknown section [limit]; did you mean [limits]?"},
      {"[Cluster]\nname = \"c\"\n" + a, "F:1: unknown section [Cluster]; did you mean [cluster]?"},
      {"[CLUSTER]\nname = \"c\"\n" + a, "F:1: unknown section [CLUSTER]; did you mean [cluster]?"},
      {"[clusters]\nname = \"c\"\n" + a,
       "F:1: unknown section [clusters]; did you mean [cluster]?"},
      {"[[Clusters]]\nname = \"c\"\n" + a,
       "F:1: unknown section [[Clusters]]; did you mean [cluster]?"},
      {"[[MEMBERS]]\nname = \"a\"\n",
       "F:1: unknown section [[MEMBERS]]; write [[member]], once for each member"},
      {"[Member]\nname = \"a\"\n",
       "F:1: unknown section [Member]; write [[member]], once for each member"},
      {"[general]\n" + a,
       "F:1: unknown section [general]; the sections are [cluster], [[member]], [limits], "
       "[storage], [log]"},
      {"[cluster]\nNAME = \"c\"\n" + a,
       "F:2: unknown key \"NAME\" in [cluster]; did you mean \"name\"?"},
      {a + "[tls]\n", "F:5: unknown section [tls]; TLS is not supported yet"},
      {"[storage]\nelection_timeout = \"2s\"\n" + a,
       "F:2: unknown key \"election_timeout\" in [storage]; put it under [cluster]"},
      {a + "max_txn_ops = 7\n",
       "F:5: unknown key \"max_txn_ops\" in [[member]]; put it under [limits]"},
      {"[log]\ndata_dir = \"x\"\n" + a,
       "F:2: unknown key \"data_dir\" in [log]; put it under [[member]]"},
      {"[limits]\nname = \"x\"\n" + a,
       "F:2: unknown key \"name\" in [limits]; put it under [cluster] or [[member]]"},
      {"name = \"x\"\n" + a,
       "F:1: unknown key \"name\" outside a section; put it under [cluster] or [[member]]"},
      {"election_timeout = \"2s\"\n" + a,
       "F:1: unknown key \"election_timeout\" outside a section; put it under [cluster]"},
      {"colour = 1\n" + a,
       "F:1: unknown key \"colour\" outside a section; put it under [cluster], [[member]], "
       "[limits], [storage] or [log]"},
  });
}

TEST(ConfigErrors, NotTomlOrSectionsOfTheWrongShape) {
  const std::string a = Member("a", 10);
  ExpectErrors({
      {"[cluster]\nname = demo  # ours\n",
       "F:2: not TOML: Error while parsing value: could not determine value type; text and "
       "durations "
       "need double quotes: \"demo\""},
      {"[cluster]\nheartbeat_interval = 100ms\n",
       "F:2: not TOML: Error while parsing decimal integer: expected digit, saw 'm'; text and "
       "durations need double quotes: \"100ms\""},
      {"[cluster]\nname = n1\n",
       "F:2: not TOML: Error while parsing floating-point: expected 'nan', saw 'n1'; text and "
       "durations need double quotes: \"n1\""},
      {"[cluster\n" + a,
       "F:1: not TOML: Error while parsing table header: expected ']', saw '\\n'; fix this line "
       "or the one before it"},
      {"[cluster]\nname = \"x\"\nname = \"y\"\n" + a,
       "F:3: not TOML: Error while parsing key-value pair: cannot redefine existing string "
       "'name'; fix this line or the one before it"},
      {"[member]\nname = \"a\"\n",
       "F:1: \"member\" must be a list; write [[member]], once for each member"},
      {"[member]\nname = \"a\"\n[member]\nname = \"b\"\n",
       "F:3: not TOML: Error while parsing table header: cannot redefine existing table 'member'; "
       "write [[member]], not [member], above each member"},
      {"[member]\nname = \"a\"\n[[member]]\nname = \"b\"\n",
       "F:3: not TOML: Error while parsing table header: cannot redefine existing table 'member' "
       "as array-of-tables; write [[member]], not [member], above each member"},
      {"cluster = 3\n" + a,
       "F:1: \"cluster\" must be a section; write [cluster], once, with its keys below it"},
      {"[[cluster]]\nname = \"c\"\n" + a,
       "F:1: [[cluster]] is a list of sections; write [cluster], once, with its keys below it"},
      {"[cluster]\nname = \"c\"\n[cluster]\nstate = \"new\"\n" + a,
       "F:3: not TOML: Error while parsing table header: cannot redefine existing table 'cluster'; "
       "write each section once, with all its keys below it; only [[member]] is repeated"},
      {"", "F:1: no [[member]]; add one with name, peer_url and client_url"},
      {"[cluster]\nname = \"x\"\n",
       "F:1: no [[member]]; add one with name, peer_url and client_url"},
  });
}

TEST(ConfigErrors, TypesDurationsRangesAndChoices) {
  const std::string a = Member("a", 10);
  const std::string no_duration = "; write a number and ms, s, m or h, such as \"100ms\"";
  ExpectErrors({
      {"[cluster]\nname = 7\n" + a, "F:2: name must be a string; put it in double quotes"},
      {"[cluster]\nname = \"\"\n" + a, "F:2: name is empty; give it a value"},
      {"[cluster]\nelection_timeout = 1000\n" + a,
       "F:2: election_timeout must be a duration in quotes" + no_duration},
      {"[cluster]\nelection_timeout = \"1 second\"\n" + a,
       "F:2: election_timeout \"1 second\" is not a duration" + no_duration},
      {"[cluster]\nelection_timeout = \"1000\"\n" + a,
       "F:2: election_timeout \"1000\" is not a duration" + no_duration},
      {"[cluster]\nelection_timeout = \"inf\"\n" + a,
       "F:2: election_timeout \"inf\" is out of range; choose 50ms to 50s"},
      {"[cluster]\nheartbeat_interval = \"-1s\"\n" + a,
       "F:2: heartbeat_interval \"-1s\" is out of range; choose 10ms to 10s"},
      {"[cluster]\nelection_timeout = \"499ms\"\n" + a,
       "F:2: election_timeout 499ms is less than five times heartbeat_interval 100ms; raise it to "
       "500ms "
       "or lower heartbeat_interval"},
      {"[cluster]\nheartbeat_interval = \"1s\"\n" + a,
       "F:2: election_timeout 1s is less than five times heartbeat_interval 1s; raise it to 5s or "
       "lower "
       "heartbeat_interval"},
      {"[limits]\ndisk_stall_timeout = \"7s\"\n" + a,
       "F:2: disk_stall_timeout 7s is not from election_timeout 1s to less than request_timeout "
       "7s; "
       "choose a value within that range"},
      {"[limits]\ndisk_stall_timeout = \"900ms\"\n" + a,
       "F:2: disk_stall_timeout 900ms is not from election_timeout 1s to less than request_timeout "
       "7s; choose a value within that range"},
      {"[limits]\nrequest_timeout = \"1s\"\n" + a,
       "F:2: request_timeout 1s is not more than election_timeout 1s; raise it, so that requests "
       "can "
       "wait for an election"},
      {"[limits]\nmax_request_bytes = \"1MiB\"\n" + a,
       "F:2: max_request_bytes must be a whole number; write it in digits without quotes or unit, "
       "such as 1572864"},
      {"[limits]\nmax_txn_ops = 1.5\n" + a,
       "F:2: max_txn_ops must be a whole number; write it in digits without quotes or unit, such "
       "as 128"},
      {"[limits]\nmax_txn_ops = 0\n" + a,
       "F:2: max_txn_ops = 0 is out of range; choose 1 to 65536"},
      {"[log]\nlevel = \"debug\"\n" + a,
       "F:2: unknown level \"debug\"; write one of \"info\", \"warning\", \"error\""},
      {"[log]\nlevel = 1\n" + a,
       "F:2: level must be a string; write one of \"info\", \"warning\", \"error\""},
  });
}

TEST(ConfigErrors, NamesAndAddressesOfMembers) {
  const std::string a = Member("a", 10), b = Member("b", 20);
  const std::string own = "; give each URL of each member its own host or port";
  const std::string longest(248, 'n');
  EXPECT_TRUE(Load(Member(longest, 10)).ok());
  const std::string no_name =
      " is not a valid member name; use up to 248 letters, digits, '-', '_' and '.', a letter or "
      "digit first";
  ExpectErrors({
      {a + "\n[[member]]\nname = \"b\"\npeer_url = \"http://h:1\"\n",
       "F:6: [[member]] has no client_url; add client_url = \"...\" below this line"},
      {a + Member("a", 20),
       "F:6: name \"a\" is already used in line 2; give each member its own name"},
      {Member("2", 10),
       "F:2: name \"2\" is all digits; add a letter, such as \"n2\": a bare number means a "
       "position"},
      {Member("a/b", 10), "F:2: name \"a/b\"" + no_name},
      {Member("..", 10), "F:2: name \"..\"" + no_name},
      {Member(longest + "n", 10), "F:2: name \"" + longest + "n\"" + no_name},
      {a + Member("b", 9), "F:7: peer_url \"http://127.0.0.1:10\" is already used in line 4" + own},
      {a + "[[member]]\nname = \"b\"\npeer_url = \"http://h:10\"\nclient_url = "
           "\"http://127.0.0.1:10\"\n",
       "F:8: client_url \"http://127.0.0.1:10\" is already used in line 4" + own},
      {a + Member("b", 10),
       "F:7: peer_url \"http://127.0.0.1:11\" is already used in line 3" + own},
      {"[[member]]\nname = \"a\"\npeer_url = \"http://LOCALHOST:5\"\n"
       "client_url = \"http://127.0.0.1:5\"\n",
       "F:4: client_url \"http://127.0.0.1:5\" is already used in line 3" + own},
      {a + "listen_peer_url = \"http://127.0.0.1:10\"\n" + b,
       "F:5: peers and clients would share port 10; listen on two different ports"},
      {a + "listen_peer_url = \"http://0.0.0.0:10\"\n" + b,
       "F:5: peers and clients would share port 10; listen on two different ports"},
      {a + "listen_peer_url = \"http://0:10\"\n" + b,
       "F:5: peers and clients would share port 10; listen on two different ports"},
      {a + "listen_client_url = \"http://[::]:11\"\n" + b,
       "F:5: peers and clients would share port 11; listen on two different ports"},
      {a + "listen_metrics_urls = [\"http://127.0.0.1:12\", \"http://127.0.0.1:11\"]\n" + b,
       "F:5: listen_metrics_urls: \"http://127.0.0.1:11\" would share a port with "
       "\"http://127.0.0.1:11\"; give it a port of its own"},
      {a + "listen_metrics_urls = [\"http://0.0.0.0:10\"]\n" + b,
       "F:5: listen_metrics_urls: \"http://0.0.0.0:10\" would share a port with "
       "\"http://127.0.0.1:10\"; give it a port of its own"},
      {a + "listen_metrics_urls = [\"http://127.0.0.1:12\", \"http://127.0.0.1:12\"]\n" + b,
       "F:5: listen_metrics_urls: \"http://127.0.0.1:12\" would share a port with "
       "\"http://127.0.0.1:12\"; give it a port of its own"},
      {a + "listen_metrics_urls = [\"http://127.0.0.1:20\"]\n" + Member("b", 20),
       "F:5: listen_metrics_urls: \"http://127.0.0.1:20\" is already used in line 9; give it a "
       "port "
       "of its own"},
  });
}

// Others connect to these URLs, so a wildcard address (0.0.0.0, ::) makes no sense there.
TEST(ConfigErrors, AWildcardIsNotAnAddressToConnectTo) {
  for (const char* wildcard : {"0.0.0.0", "000.0.0.0", "0", "0.0", "0x0", "[::]", "[0:0::0]"}) {
    for (const std::string key : {"peer_url", "client_url"}) {
      const std::string text =
          absl::StrReplaceAll(Member("a", 10), {{absl::StrCat(key, " = \"http://127.0.0.1"),
                                                 absl::StrCat(key, " = \"http://", wildcard)}});
      const std::string port = key == "peer_url" ? "11" : "10";
      EXPECT_EQ(ErrorOf(text),
                absl::StrCat("F:", key == "peer_url" ? 3 : 4, ": ", key, " \"http://", wildcard,
                             ":", port,
                             "\" is not an address to connect to; write the address where others "
                             "reach this member, and add listen_",
                             key, " = \"http://", wildcard, ":", port, "\""));
    }
  }
}

TEST(ConfigErrors, TwoMembersOnOneMachineMustNotShareADirectory) {
  const std::string shared = "data_dir = \"/var/lib/raftkv\"\n";
  EXPECT_EQ(ErrorOf(Member("a", 10) + shared + Member("b", 20) + shared),
            "F:10: data_dir \"/var/lib/raftkv\" is already used in line 5; give each member on one "
            "machine its own directory");
  for (const char* same : {"da/", "./da", "da//", "x/../da", "da/."}) {
    EXPECT_EQ(
        ErrorOf(Member("a", 10) + "data_dir = \"da\"\n" + Member("b", 20) + "data_dir = \"" + same +
                "\"\n"),
        absl::StrCat(
            "F:10: data_dir \"", same,
            "\" is already used in line 5; give each member on one machine its own directory"));
  }
  // Nor may one lie in the directory of another.
  const auto two = [](const std::string& first, const std::string& second) {
    return ErrorOf(Member("a", 10) + "data_dir = \"" + first + "\"\n" + Member("b", 20) +
                   "data_dir = \"" + second + "\"\n");
  };
  const std::string own = "; give each member on one machine its own directory";
  EXPECT_EQ(two("d/a", "./d/a/x"),
            "F:10: data_dir \"./d/a/x\" lies in the directory of line 5" + own);
  EXPECT_EQ(two("/d/a/x", "/d"), "F:10: data_dir \"/d\" contains the directory of line 5" + own);
  EXPECT_EQ(two(".", "x"), "F:10: data_dir \"x\" lies in the directory of line 5" + own);
  EXPECT_EQ(two("/", "/x"), "F:10: data_dir \"/x\" lies in the directory of line 5" + own);
  for (const auto& [first, second] :
       {std::pair{"d/a", "d/ab"}, std::pair{"d/a", "../d/a/x"}, std::pair{"/d/a", "/d/b"}}) {
    EXPECT_EQ(two(first, second), "no error");
  }
  const std::string elsewhere = absl::StrReplaceAll(Member("b", 20), {{"127.0.0.1", "10.0.0.2"}});
  EXPECT_EQ(ErrorOf(Member("a", 10) + shared + elsewhere + shared), "no error");
}

TEST(ConfigErrors, ADirectoryIsNoShellWord) {
  for (const char* dir : {"~", "~/n1"}) {
    EXPECT_EQ(ErrorOf(Member("a", 10) + "data_dir = \"" + dir + "\"\n"),
              absl::StrCat("F:5: data_dir \"", dir,
                           "\": \"~\" is not replaced by a home directory; write the whole path"));
  }
  for (const char* dir : {"$HOME/n1", "${HOME}/n1"}) {
    EXPECT_EQ(ErrorOf(Member("a", 10) + "data_dir = \"" + dir + "\"\n"),
              absl::StrCat("F:5: data_dir \"", dir,
                           "\": variables are not expanded; write the whole path"));
  }
}

TEST(ConfigErrors, Urls) {
  const std::string a = Member("a", 10);
  const std::string no_url = "; write \"http://HOST:PORT\", such as \"http://127.0.0.1:2380\"";
  for (const char* url : {"127.0.0.1:1", "http://", "http://:1", "http://:", "http:///x",
                          "http://h:x", "http://h h:1", "http://[::1:1", "http://::1:1",
                          "http://[:]:1", "http://[h]:1", "http://[h]", "http://u@h:1", ""}) {
    EXPECT_EQ(ErrorOf(a + "listen_peer_url = \"" + url + "\"\n"),
              absl::StrCat("F:5: listen_peer_url \"", url, "\" is not a URL", no_url));
  }
  for (const char* url : {"http://h", "http://h:", "http://h/"}) {
    EXPECT_EQ(ErrorOf(a + "listen_peer_url = \"" + url + "\"\n"),
              absl::StrCat("F:5: listen_peer_url \"", url,
                           "\" has no port; write \"http://h:PORT\", such as port 2380"));
  }
  ExpectErrors({
      {a + "listen_peer_url = \"http://[::1]\"\n",
       "F:5: listen_peer_url \"http://[::1]\" has no port; write \"http://[::1]:PORT\", such as "
       "port 2380"},
      {a + "listen_peer_url = \"http://h:1/v3/\"\n",
       "F:5: listen_peer_url \"http://h:1/v3/\" has a path; remove \"/v3/\" after the port"},
      {a + "listen_peer_url = 5\n",
       "F:5: listen_peer_url must be a string; put it in double quotes"},
      {a + "listen_peer_url = \"https://h:1\"\n",
       "F:5: listen_peer_url \"https://h:1\" needs TLS, which is not supported yet; write http:// "
       "instead of https://"},
      {a + "listen_peer_url = \"http://h:0\"\n",
       "F:5: listen_peer_url \"http://h:0\" has a port that is out of range; choose a port from 1 "
       "to 65535"},
      {a + "listen_peer_url = \"http://h:65536\"\n",
       "F:5: listen_peer_url \"http://h:65536\" has a port that is out of range; choose a port "
       "from "
       "1 to 65535"},
  });
}

TEST(ConfigErrors, AnErrorIsOneLineWhateverTheFileSays) {
  const std::string a = Member("a", 10);
  ExpectErrors({
      {a + "listen_peer_url = \"http://h:1\\n\\u0007\"\n",
       "F:5: listen_peer_url \"http://h:1\\n\\007\" is not a URL; write \"http://HOST:PORT\", such "
       "as "
       "\"http://127.0.0.1:2380\""},
      {a + "\"a\\nb\" = 1\n",
       "F:5: unknown key \"a\\nb\" in [[member]]; the keys here are name, peer_url, client_url, "
       "listen_peer_url, listen_client_url, listen_metrics_urls, data_dir"},
  });
}

TEST(ConfigErrors, TheExampleOfAUrlHasThePortOfItsKey) {
  for (const auto& [key, port] :
       {std::pair{"listen_peer_url", 2380}, std::pair{"listen_client_url", 2379}}) {
    const std::string line = absl::StrCat(Member("a", 10), key, " = ");
    EXPECT_EQ(
        ErrorOf(absl::StrCat(line, "\"http://h\"\n")),
        absl::StrCat("F:5: ", key,
                     " \"http://h\" has no port; write \"http://h:PORT\", such as port ", port));
    EXPECT_EQ(ErrorOf(absl::StrCat(line, "\"h\"\n")),
              absl::StrCat("F:5: ", key,
                           " \"h\" is not a URL; write \"http://HOST:PORT\", such as "
                           "\"http://127.0.0.1:",
                           port, "\""));
  }
  EXPECT_EQ(ErrorOf(Member("a", 10) + "listen_metrics_urls = [\"http://h\"]\n"),
            "F:5: listen_metrics_urls \"http://h\" has no port; write \"http://h:PORT\", such as "
            "port 2381");
  EXPECT_EQ(ErrorOf("[[member]]\nname = \"a\"\npeer_url = \"http://h:1\"\n"
                    "client_url = \"http://h\"\n"),
            "F:4: client_url \"http://h\" has no port; write \"http://h:PORT\", such as port 2379");
}

TEST(ConfigErrors, TheFirstMistakeIsReported) {
  EXPECT_EQ(ErrorOf("[log]\nlevel = 1\n[cluster]\nname = 1\n" + Member("a", 1)),
            "F:2: level must be a string; write one of \"info\", \"warning\", \"error\"");
}

}  // namespace
}  // namespace raftkv
