// What a member rejects: unknown peers, data that is damaged or belongs to another member, and
// wrong configurations. For each, the exit code and one line that says what to do. Also how a
// member stops.

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "proto/etcd/outcome.h"
#include "tests/e2e/cluster.h"

namespace raftkv::e2e {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

constexpr int kStopped = 0, kBadInput = 2, kDamaged = 66;

int LinesIn(const std::string& text) {
  return static_cast<int>(std::count(text.begin(), text.end(), '\n'));
}

class Rejections : public testing::Test {
 protected:
  void SetUp() override {
    if (ProductUnderTest() == Product::kEtcd) GTEST_SKIP() << "tests raftkv-server only";
  }

  Finished RunServer(const std::vector<std::string>& arguments, const std::string& directory = "") {
    Command command{.argv = {BuiltProgram("raftkv-server")}, .directory = directory};
    command.argv.insert(command.argv.end(), arguments.begin(), arguments.end());
    return RunToEnd(command);
  }

  // Expects the exit code, and one line on stderr that contains all of `words`.
  void ExpectRejected(const Finished& finished, int exit_code,
                      const std::vector<std::string>& words) {
    EXPECT_EQ(finished.exit_code, exit_code) << finished.err;
    EXPECT_EQ(LinesIn(finished.err), 1) << finished.err;
    for (const std::string& word : words) EXPECT_THAT(finished.err, HasSubstr(word));
  }

  // Writes a copy of the config file in which `what` is replaced by `with`. Returns its path.
  std::string Changed(const Cluster& cluster, const std::string& what, const std::string& with) {
    const std::string before = ReadFile(cluster.config_path());
    const std::string after = absl::StrReplaceAll(before, {{what, with}});
    EXPECT_NE(before, after) << what;
    const std::string path = cluster.dir() + "/changed.toml";
    WriteFile(path, after);
    return path;
  }
};

TEST_F(Rejections, PeersOfAnotherClusterOrForAnotherMember) {
  Cluster cluster({});
  cluster.StartAll();
  const int leader = cluster.WaitForLeader();
  ASSERT_GE(leader, 0);
  const auto before = cluster.Status(leader).response;
  const uint64_t self = before.header().member_id();
  const uint64_t peer = cluster.Status((leader + 1) % 3).response.header().member_id();

  Connection connection(cluster.peer_address(leader));
  const auto raft = raftkv::proto::Raft::NewStub(connection.channel);
  const auto vote = [&](uint64_t cluster_id, uint64_t from, uint64_t to) {
    raftkv::proto::RequestVoteRequest request;
    request.set_term(before.raftterm() + 1000);
    request.set_candidate_id(from);
    request.set_last_log_index(1'000'000);
    request.set_last_log_term(before.raftterm() + 1000);
    request.mutable_peer()->set_cluster_id(cluster_id);
    request.mutable_peer()->set_from(from);
    request.mutable_peer()->set_to(to);
    request.mutable_peer()->set_store_id(std::string(16, 's'));
    return Call(connection, *raft, &raftkv::proto::Raft::Stub::RequestVote, request).status;
  };
  const uint64_t cluster_id = before.header().cluster_id();
  for (const grpc::Status& status :
       {vote(cluster_id + 1, peer, self), vote(cluster_id, peer, self + 1), vote(0, 0, 0)}) {
    EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION) << status.error_message();
    EXPECT_NE(status.error_message(), "");
  }
  // The rejected messages had no effect.
  EXPECT_EQ(cluster.Status(leader).response.raftterm(), before.raftterm());
  EXPECT_TRUE(cluster.Put(leader, "k", "v").ok());
}

// Two clusters whose configurations share addresses: each rejects the other and keeps working.
TEST_F(Rejections, AMemberOfAnotherClusterNeverJoins) {
  Cluster ours({});
  ours.StartAll();
  ASSERT_GE(ours.WaitForLeader(), 0);
  ASSERT_TRUE(ours.Put(0, "k", "ours").ok());
  // The other cluster has another name and its own n1, but the same addresses for n2 and n3.
  std::vector<int> ports = ours.ports();
  const std::vector<int> own = FreePorts(2);
  ports[0] = own[0];
  ports[1] = own[1];
  Cluster theirs({.name = "theirs", .ports = ports});
  theirs.Start(0);
  EXPECT_TRUE(Eventually(absl::Seconds(10), [&] {
    return testing::Value(
        theirs.log(0),
        AllOf(HasSubstr("rejected by n2"), HasSubstr("the member lists differ"),
              HasSubstr("the cluster is named \"theirs\" in the config file of n1, and \"e2e\" in "
                        "that of n2")));
  })) << theirs.log(0);
  EXPECT_EQ(theirs.Status(0).response.leader(), 0u);
  EXPECT_THAT(theirs.Status(0).response.errors(),
              testing::Contains(HasSubstr("first start: waiting for n2 and n3, whose data")));
  EXPECT_TRUE(ours.Put(1, "k", "still ours").ok());
  EXPECT_TRUE(ours.MembersAreEqual());
}

// At the first start one member has a config file with another address of n1.
TEST_F(Rejections, AWrongListOfMembersIsToldWithNames) {
  Cluster cluster({});
  cluster.Start(0);
  Command wrong = cluster.ServerCommand(2);
  wrong.argv[2] = Changed(cluster, absl::StrCat(cluster.ports()[1]), absl::StrCat(FreePorts(1)[0]));
  const std::string log = cluster.dir() + "/wrong.log";
  Process process(wrong, log);
  cluster.Start(1);
  const std::string only =
      "only the config file of n2 has n1 at http://" + cluster.peer_address(0) + "; only";
  EXPECT_TRUE(Eventually(absl::Seconds(20),
                         [&] {
                           return testing::Value(ReadFile(log), HasSubstr(only)) &&
                                  testing::Value(
                                      cluster.log(1),
                                      HasSubstr("only the config file of n3 has n1 at http"));
                         }))
      << ReadFile(log) << cluster.log(1);
}

TEST_F(Rejections, DataOfAnotherMemberOrCluster) {
  Cluster cluster({.size = 1});
  cluster.Start(0);
  ASSERT_GE(cluster.WaitForLeader(), 0);
  ExpectRejected(RunServer({"-c", cluster.config_path()}, cluster.dir()), kBadInput,
                 {"in use by process", "stop it"});
  const Finished in_use =
      RunServer({"-c", cluster.config_path(), "-n", "n1", "--check-config"}, cluster.dir());
  EXPECT_EQ(in_use.exit_code, kStopped) << in_use.err;
  EXPECT_THAT(in_use.out, HasSubstr("belongs to this member; log not read: in use by process"));
  ASSERT_TRUE(Eventually(absl::Seconds(20), [&] {
    return testing::Value(cluster.log(0), HasSubstr("the members that vote are"));
  }));
  ASSERT_EQ(cluster.Terminate(0), kStopped);

  // The config file was edited after the first start. --check-config finds that, too.
  const auto expect_both = [&](const std::string& path, const std::vector<std::string>& words) {
    ExpectRejected(RunServer({"-c", path}, cluster.dir()), kBadInput, words);
    ExpectRejected(RunServer({"-c", path, "-n", "n1", "--check-config"}, cluster.dir()), kBadInput,
                   words);
  };
  expect_both(Changed(cluster, "name = \"e2e\"", "name = \"other\""),
              {cluster.data_dir(0), "cluster \"e2e\"", "\"other\"",
               "if the config file was edited, restore it"});
  const std::string port = absl::StrCat(FreePorts(1)[0]);
  const std::string peer_port = absl::StrCat(cluster.ports()[1]);
  {
    // The log has the members by now, so it decides where this one is reached.
    Command moved = cluster.ServerCommand(0);
    moved.argv[2] = Changed(cluster, peer_port, port);
    const std::string log = cluster.dir() + "/moved.log";
    Process process(moved, log);
    EXPECT_TRUE(Eventually(absl::Seconds(20), [&] {
      return testing::Value(ReadFile(log), HasSubstr("raftkv member update"));
    })) << ReadFile(log);
    ASSERT_TRUE(Eventually(absl::Seconds(20), [&] { return cluster.Put(0, "k", "v").ok(); }));
    process.Signal(SIGTERM);
    EXPECT_EQ(process.Wait(absl::Seconds(20)), kStopped);
    const Finished check =
        RunServer({"-c", moved.argv[2], "-n", "n1", "--check-config"}, cluster.dir());
    EXPECT_EQ(check.exit_code, kStopped) << "as the start: it only warns";
    EXPECT_THAT(check.out, HasSubstr(": ok, member n1"));
    EXPECT_THAT(check.err, HasSubstr("raftkv-server: warning: the config file has peer_url "));
    EXPECT_THAT(check.err, HasSubstr("raftkv member update"));
  }
  const Finished good =
      RunServer({"-c", cluster.config_path(), "-n", "n1", "--check-config"}, cluster.dir());
  EXPECT_EQ(good.exit_code, kStopped) << good.err;
  EXPECT_EQ(good.err, "");
  EXPECT_THAT(good.out, HasSubstr(cluster.data_dir(0) +
                                  " belongs to this member, and its log is intact, up to entry "));

  cluster.Start(0);  // the rejected starts did no harm
  EXPECT_GE(cluster.WaitForLeader(), 0);
  // The start lines.
  EXPECT_THAT(cluster.log(0),
              AllOf(HasSubstr("raftkv-server 0.1.0"), HasSubstr(": member n1 ("),
                    HasSubstr("configured by " + cluster.config_path()),
                    HasSubstr("new data directory " + cluster.data_dir(0) + ": the log ends at "),
                    HasSubstr("] data directory " + cluster.data_dir(0) + ": the log ends at ")));
}

TEST_F(Rejections, APortInUse) {
  for (bool client_port : {true, false}) {
    Cluster cluster({.size = 1});
    const int port = cluster.ports()[client_port ? 0 : 1];
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ASSERT_EQ(bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    ASSERT_EQ(listen(fd, 1), 0);
    const Finished finished = RunServer({"-c", cluster.config_path()}, cluster.dir());
    close(fd);
    EXPECT_EQ(finished.exit_code, kBadInput);
    EXPECT_THAT(finished.err,
                AllOf(HasSubstr(absl::StrCat("127.0.0.1:", port)), HasSubstr("in use by process"),
                      HasSubstr(absl::StrCat(getpid())), HasSubstr("change the URL")));
    EXPECT_FALSE(fs::exists(cluster.data_dir(0))) << "the rejected start left files";
  }
}

TEST_F(Rejections, AddressesThatCannotBeListenedOn) {
  Cluster cluster({.size = 1});
  const std::string listen = "\nlisten_client_url = \"http://";
  const auto start = [&](const std::string& address) {
    return RunServer({"-c", Changed(cluster, "data_dir = \"n1\"",
                                    "data_dir = \"n1\"" + listen + address + "\"")},
                     cluster.dir());
  };
  // No machine has an address of TEST-NET-3 (RFC 5737); .invalid (RFC 2606) never resolves.
  ExpectRejected(
      start("203.0.113.1:1234"), kBadInput,
      {"203.0.113.1:1234", "listen_client_url", "this machine has no address 203.0.113.1"});
  ExpectRejected(start("nowhere.invalid:1234"), kBadInput,
                 {"nowhere.invalid:1234", "listen_client_url", "cannot be resolved"});
  // The file does not show that two of its names are one address.
  const std::string shared =
      "data_dir = \"n1\"\nlisten_metrics_urls = [\"http://127.1:" +
      cluster.client_address(0).substr(cluster.client_address(0).rfind(':') + 1) + "\"]";
  ExpectRejected(
      RunServer({"-c", Changed(cluster, "data_dir = \"n1\"", shared)}, cluster.dir()), kBadInput,
      {"(listen_metrics_urls): port ", " is that of another URL of this member; change one of"});
  EXPECT_FALSE(fs::exists(cluster.data_dir(0)));
}

TEST_F(Rejections, ADataDirectoryThatMayNotBeWritten) {
  Cluster cluster({.size = 1});
  WriteFile(cluster.dir() + "/file", "");
  // Not even root may create a directory in /sys or /proc.
  const std::string file = cluster.dir() + "/file";
  const std::vector<std::pair<std::string, std::string>> errors = {
      {"/sys/n1", "; let user "},
      {"/proc/n1", "No such file or directory; set data_dir to another directory"},
      {"file", ": data_dir of member n1: " + file + ": is not a directory; set data_dir to"},
      {"file/n1", ": data_dir of member n1: " + file + ": is not a directory; set data_dir to"}};
  for (const auto& [dir, error] : errors) {
    const std::string changed = Changed(cluster, "data_dir = \"n1\"", "data_dir = \"" + dir + "\"");
    for (const bool check : {true, false}) {
      std::vector<std::string> arguments = {"-c", changed, "-n", "n1"};
      if (check) arguments.push_back("--check-config");
      ExpectRejected(
          RunServer(arguments, cluster.dir()), kBadInput,
          {changed + ": data_dir of member n1: ", error, "set data_dir to another directory"});
    }
  }
}

// A check creates no directory, and neither does --force-new-cluster, which continues with the data
// of a member: a directory without data may be a disk that is not mounted.
TEST_F(Rejections, NothingIsCreatedWithoutAStart) {
  Cluster cluster({.size = 1});
  const std::string path = cluster.config_path();
  const Finished check = RunServer({"-c", path, "-n", "n1", "--check-config"}, cluster.dir());
  EXPECT_EQ(check.exit_code, kStopped) << check.err;
  EXPECT_THAT(check.out, HasSubstr("the first start creates it"));
  EXPECT_FALSE(fs::exists(cluster.data_dir(0)));
  const auto force = [&](const std::string& config) {
    const Finished forced =
        RunServer({"-c", config, "-n", "n1", "--force-new-cluster"}, cluster.dir());
    EXPECT_EQ(forced.exit_code, kBadInput) << forced.err;
    EXPECT_THAT(forced.err, AllOf(HasSubstr(cluster.data_dir(0)), HasSubstr("has no data"),
                                  HasSubstr("mounted")));
  };
  force(path);
  EXPECT_FALSE(fs::exists(cluster.data_dir(0)));
  fs::create_directory(cluster.data_dir(0));
  force(path);
  // With state = "existing", too, the member asks no cluster to join.
  force(Changed(cluster, "name = \"e2e\"", "name = \"e2e\"\nstate = \"existing\""));
  EXPECT_TRUE(fs::is_empty(cluster.data_dir(0)));
}

class DamagedLog : public Rejections {
 protected:
  void SetUp() override {
    Rejections::SetUp();
    if (IsSkipped()) return;
    cluster_.Start(0);
    ASSERT_GE(cluster_.WaitForLeader(), 0);
    for (int i = 0; i < 200; ++i) {
      ASSERT_TRUE(cluster_.Put(0, absl::StrCat("k", i), std::string(100, 'v')).ok());
    }
    cluster_.Kill(0);
  }

  // The largest write-ahead log file. It has the newest entries.
  fs::path WalFile() {
    fs::path found;
    for (const auto& entry : fs::directory_iterator(cluster_.data_dir(0) + "/log")) {
      if (entry.path().extension() != ".log") continue;
      if (found.empty() || fs::file_size(entry) > fs::file_size(found)) found = entry.path();
    }
    EXPECT_FALSE(found.empty());
    return found;
  }

  void ExpectDamaged() {
    const std::vector<std::string> start = {"-c", cluster_.config_path(), "-n", "n1"};
    std::vector<std::string> check = start;
    check.push_back("--check-config");
    const Finished checked = RunServer(check, cluster_.dir());
    EXPECT_EQ(checked.exit_code, kDamaged) << checked.out;
    const Finished finished = RunServer(start, cluster_.dir());
    EXPECT_EQ(finished.exit_code, kDamaged) << finished.err;
    EXPECT_THAT(finished.err, HasSubstr("raftkv-server: "));
    EXPECT_THAT(finished.err, HasSubstr(checked.err)) << "the check says the same";
  }

  Cluster cluster_{{.size = 1}};
};

TEST_F(DamagedLog, AFlippedByteIsNotServed) {
  const fs::path wal = WalFile();
  std::string bytes = ReadFile(wal);
  ASSERT_GT(bytes.size(), 10000u);
  bytes[bytes.size() / 2] ^= 1;
  WriteFile(wal, bytes);
  ExpectDamaged();
}

TEST_F(DamagedLog, AShortenedLogIsNotServed) {
  const fs::path wal = WalFile();
  fs::resize_file(wal, fs::file_size(wal) / 2);
  ExpectDamaged();
}

TEST_F(DamagedLog, AMissingLogIsNotServed) {
  fs::remove(WalFile());
  ExpectDamaged();
}

// Shows that the three tests above fail because of the damage.
TEST_F(DamagedLog, AnIntactLogIsServed) {
  cluster_.Start(0);
  ASSERT_GE(cluster_.WaitForLeader(), 0);
  EXPECT_EQ(Range(cluster_.connection(0), EverythingRequest(0, false)).response.count(), 200);
}

TEST_F(Rejections, WrongConfigurations) {
  Cluster cluster({});
  const std::string path = cluster.config_path();
  const auto check = [&](const std::string& what, const std::string& with) {
    return RunServer({"-c", Changed(cluster, what, with), "--check-config"});
  };
  const Finished good = RunServer({"-c", path, "--check-config"});
  EXPECT_EQ(good.exit_code, kStopped) << good.err;
  EXPECT_THAT(good.out, HasSubstr("ok, cluster \"e2e\" with 3 members\n"));
  const Finished member = RunServer({"-c", path, "-n", "2", "--check-config"});
  EXPECT_EQ(member.exit_code, kStopped);
  EXPECT_THAT(member.out, HasSubstr("n2"));

  ExpectRejected(check("heartbeat_interval", "hartbeat_interval"), kBadInput,
                 {"changed.toml:3", "hartbeat_interval"});
  ExpectRejected(check("\"100ms\"", "\"100 apples\""), kBadInput, {"changed.toml:3", "100 apples"});
  ExpectRejected(check("\"100ms\"", "100"), kBadInput, {"changed.toml:3", "heartbeat_interval"});
  ExpectRejected(check("\"100ms\"", "\"900ms\""), kBadInput, {"election_timeout"});
  ExpectRejected(check("name = \"n2\"", "name = \"n1\""), kBadInput, {"n1"});
  ExpectRejected(check("name = \"n2\"", "name = \"2\""), kBadInput, {"\"2\""});
  ExpectRejected(check(cluster.peer_address(1), cluster.peer_address(0)), kBadInput,
                 {cluster.peer_address(0)});
  ExpectRejected(check("http://" + cluster.client_address(2), "ftp://nowhere"), kBadInput,
                 {"ftp://nowhere"});
  ExpectRejected(check("[[member]]", "[[membr]]"), kBadInput, {"membr"});
  ExpectRejected(check("[cluster]", "[cluster"), kBadInput, {"changed.toml:1"});
  ExpectRejected(RunServer({"-c", cluster.dir() + "/none.toml"}), kBadInput, {"none.toml"});
  ExpectRejected(RunServer({"-c", path}), kBadInput, {"-n", "n1, n2, n3"});
  ExpectRejected(RunServer({"-c", path, "-n", "n9"}), kBadInput, {"n9", "n1, n2, n3"});
  ExpectRejected(RunServer({"-c", path, "-n", "4"}), kBadInput, {"4"});
  ExpectRejected(RunServer({"-n", "n1"}), kBadInput, {"no config file", "-n", "-c FILE"});
  ExpectRejected(RunServer({"--check-config"}), kBadInput, {"no config file", "-c FILE"});
  const std::vector<std::string> restore = {"-c", path, "-n", "n1", "--restore", "f"};
  const auto with = [&](std::vector<std::string> flags) {
    flags.insert(flags.begin(), restore.begin(), restore.end());
    return RunServer(flags);
  };
  for (const char* flag : {"--join", "--force-new-cluster", "--check-config"}) {
    ExpectRejected(with({flag}), kBadInput, {"--restore", flag, "excludes"});
  }
  ExpectRejected(RunServer({"-c", path, "-n", "n1", "--join", "--force-new-cluster"}), kBadInput,
                 {"--join", "--force-new-cluster", "excludes"});
  const std::string alone = cluster.dir() + "/alone.toml";
  const std::vector<int> ports = FreePorts(2);
  WriteFile(alone, absl::StrCat("[cluster]\nname = \"c\"\n[[member]]\nname = \"n1\"\n"
                                "data_dir = \"alone\"\nclient_url = \"http://127.0.0.1:",
                                ports[0], "\"\npeer_url = \"http://127.0.0.1:", ports[1], "\"\n"));
  ExpectRejected(RunServer({"-c", alone, "-n", "n1", "--join"}, cluster.dir()), kBadInput,
                 {"n1", "names no other member", "[[member]]"});
  ExpectRejected(with({"--mark-compacted", "--bump-revision", "0"}), kBadInput,
                 {"--bump-revision", "0 is not a number from 1 on"});
  ExpectRejected(RunServer({"--data-dir", "/x"}), kBadInput,
                 {"unknown flag --data-dir; settings are in the config file: data_dir", "--help"});
  ExpectRejected(RunServer({"--advertise-client-urls=http://h:1"}), kBadInput,
                 {"unknown flag --advertise-client-urls; ", "config file: client_url; see"});
  ExpectRejected(RunServer({"-c", path, "--name", "n1"}), kBadInput,
                 {"unknown flag --name; -n NAME chooses the member of the config file"});
  ExpectRejected(RunServer({"--frob"}), kBadInput,
                 {"unknown flag --frob; settings are in the config file; see"});
  ExpectRejected(RunServer({"a", "b"}), kBadInput, {"unexpected argument \"a\"; see", "--help"});
  ExpectRejected(RunServer({"-c", path, "-n", "n1", "-n", "n2"}), kBadInput,
                 {"--member is given more than once"});
  ExpectRejected(RunServer({"-c"}), kBadInput, {"--config needs a value"});
  ExpectRejected(
      RunServer(
          {"-c", Changed(cluster, "data_dir = \"n1\"", "data_dir = \"/proc/none\""), "-n", "n1"}),
      kBadInput, {"/proc/none"});
}

TEST_F(Rejections, VersionAndHelpAreNotErrors) {
  const Finished version = RunServer({"--version"});
  EXPECT_EQ(version.exit_code, kStopped);
  EXPECT_THAT(version.out, AllOf(testing::StartsWith("raftkv-server version: 0.1.0"),
                                 HasSubstr("API version: 3.7\n")));
  const Finished help = RunServer({"--help"});
  EXPECT_EQ(help.exit_code, kStopped);
  EXPECT_THAT(help.out, AllOf(HasSubstr("--config"), HasSubstr("--check-config")));
}

class Stopping : public Rejections {};

TEST_F(Stopping, ByEitherSignalEndsWithZero) {
  for (int signal : {SIGTERM, SIGINT}) {
    Cluster cluster({.size = 1});
    cluster.Start(0);
    ASSERT_GE(cluster.WaitForLeader(), 0);
    ASSERT_TRUE(cluster.Put(0, "k", "v").ok());
    cluster.process(0).Signal(signal);
    EXPECT_EQ(cluster.process(0).Wait(absl::Seconds(15)), kStopped);
    EXPECT_THAT(cluster.log(0), HasSubstr("stopped"));
  }
}

TEST_F(Stopping, AnswersRequestsThatCannotFinish) {
  Cluster cluster({});
  cluster.Start(0);  // one of three members: there is no leader
  ASSERT_TRUE(Eventually(absl::Seconds(10), [&] { return cluster.Status(0).ok(); }));
  grpc::CompletionQueue queue;
  const auto put_context = MakeContext(), get_context = MakeContext();
  etcdserverpb::PutRequest put_request;
  put_request.set_key("k");
  const auto put = cluster.connection(0).kv->AsyncPut(put_context.get(), put_request, &queue);
  const auto get = cluster.connection(0).kv->AsyncRange(get_context.get(), GetRequest("k"), &queue);
  grpc::Status statuses[2];
  etcdserverpb::PutResponse put_response;
  etcdserverpb::RangeResponse get_response;
  put->Finish(&put_response, &statuses[0], &statuses[0]);
  get->Finish(&get_response, &statuses[1], &statuses[1]);
  ASSERT_TRUE(cluster.Status(0).ok());  // on the same connection, so both arrived before it
  EXPECT_EQ(cluster.Terminate(0), kStopped);
  for (int i = 0; i < 2; ++i) {
    void* tag = nullptr;
    bool ok = false;
    ASSERT_TRUE(queue.Next(&tag, &ok));
    const grpc::Status& status = *static_cast<grpc::Status*>(tag);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
    EXPECT_EQ(status.error_message(), &status == &statuses[0] ? "there is no connection available"
                                                              : "etcdserver: server stopped");
  }
  // The answer says that the put was never proposed.
  EXPECT_EQ(put_context->GetServerTrailingMetadata().count(kOutcomeKey), 1);
  // Without a leader, the stop does not wait for the requests.
  EXPECT_THAT(cluster.log(0), HasSubstr("no leader: 2 waiting requests are answered now"));
}

bool IsListening(int port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const bool listening = connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0;
  close(fd);
  return listening;
}

TEST(WithoutArguments, ASingleMemberServesFromAnEmptyDirectory) {
  if (ProductUnderTest() == Product::kEtcd) GTEST_SKIP() << "tests raftkv-server only";
  if (IsListening(2379) || IsListening(2380)) GTEST_SKIP() << "ports 2379 and 2380 are taken";
  TempDir dir;
  const Command command{.argv = {BuiltProgram("raftkv-server")}, .directory = dir.path()};
  Connection connection("127.0.0.1:2379");
  for (int run = 1; run <= 2; ++run) {
    Process server(command, dir.path() + "/log");
    ASSERT_TRUE(Eventually(absl::Seconds(15), [&] {
      return Put(connection, "k", absl::StrCat(run)).ok();
    })) << ReadFile(dir.path() + "/log");
    EXPECT_EQ(Range(connection, GetRequest("k")).response.kvs(0).version(), run);
    EXPECT_TRUE(fs::exists(dir.path() + "/default.raftkv"));
    server.Signal(SIGTERM);
    EXPECT_EQ(server.Wait(absl::Seconds(15)), kStopped);
  }
}

}  // namespace
}  // namespace raftkv::e2e
