#include "tests/e2e/cluster.h"

#include <glog/logging.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"

namespace raftkv::e2e {
namespace {

std::string FromEnvironment(const char* name, const std::string& otherwise) {
  const char* value = std::getenv(name);
  return value != nullptr && *value != '\0' ? value : otherwise;
}

}  // namespace

Product ProductUnderTest() {
  return FromEnvironment("RAFTKV_E2E_AGAINST", "raftkv") == "etcd" ? Product::kEtcd
                                                                   : Product::kRaftkv;
}

std::string BuiltProgram(const std::string& name) {
  return FromEnvironment("RAFTKV_BIN", RAFTKV_BIN_DIR) + "/" + name;
}

std::string EtcdProgram() {
  const std::string path =
      FromEnvironment("RAFTKV_ETCD", RAFTKV_SOURCE_DIR "/build/etcd/usr/bin/etcd");
  if (std::filesystem::exists(path)) return path;
  ADD_FAILURE() << path
                << " is missing: run .ci/install-deps test, or set RAFTKV_ETCD to Debian's etcd";
  return "";
}

Connection::Connection(const std::string& address) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 50);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetMaxReceiveMessageSize(-1);
  channel = grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
  kv = etcdserverpb::KV::NewStub(channel);
  lease = etcdserverpb::Lease::NewStub(channel);
  cluster = etcdserverpb::Cluster::NewStub(channel);
  maintenance = etcdserverpb::Maintenance::NewStub(channel);
  watch = etcdserverpb::Watch::NewStub(channel);
  health = grpc::health::v1::Health::NewStub(channel);
}

bool Connection::Ready() {
  const auto deadline = std::chrono::system_clock::now() + std::chrono::milliseconds(200);
  return channel->GetState(/*try_to_connect=*/true) == GRPC_CHANNEL_READY ||
         channel->WaitForConnected(deadline);
}

std::unique_ptr<grpc::ClientContext> MakeContext(absl::Duration timeout) {
  auto context = std::make_unique<grpc::ClientContext>();
  context->set_deadline(absl::ToChronoTime(absl::Now() + timeout));
  return context;
}

Reply<etcdserverpb::RangeResponse> Range(Connection& connection,
                                         const etcdserverpb::RangeRequest& request,
                                         absl::Duration timeout) {
  return Call(connection, *connection.kv, &etcdserverpb::KV::Stub::Range, request, timeout);
}

Reply<etcdserverpb::PutResponse> Put(Connection& connection, const std::string& key,
                                     const std::string& value, absl::Duration timeout) {
  etcdserverpb::PutRequest request;
  request.set_key(key);
  request.set_value(value);
  return Call(connection, *connection.kv, &etcdserverpb::KV::Stub::Put, request, timeout);
}

Reply<etcdserverpb::DeleteRangeResponse> Delete(Connection& connection, const std::string& key,
                                                absl::Duration timeout) {
  etcdserverpb::DeleteRangeRequest request;
  request.set_key(key);
  return Call(connection, *connection.kv, &etcdserverpb::KV::Stub::DeleteRange, request, timeout);
}

etcdserverpb::RangeRequest GetRequest(const std::string& key, bool serializable) {
  etcdserverpb::RangeRequest request;
  request.set_key(key);
  request.set_serializable(serializable);
  return request;
}

etcdserverpb::RangeRequest EverythingRequest(int64_t revision, bool serializable) {
  etcdserverpb::RangeRequest request;
  request.set_key(std::string(1, '\0'));
  request.set_range_end(std::string(1, '\0'));
  request.set_revision(revision);
  request.set_serializable(serializable);
  return request;
}

Cluster::Cluster(ClusterOptions options)
    : options_(std::move(options)),
      dir_(options_.keep_data ? TempDir::Policy::kKeepOnFailure : TempDir::Policy::kRemove) {
  const std::vector<int> ports =
      options_.ports.empty() ? FreePorts(2 * (options_.size + options_.joining)) : options_.ports;
  CHECK_EQ(static_cast<int>(ports.size()), 2 * (options_.size + options_.joining));
  for (int i = 0; i < options_.size + options_.joining; ++i) {
    Member member;
    member.name = absl::StrCat("n", i + 1);
    member.client_port = ports[2 * i];
    member.peer_port = ports[2 * i + 1];
    member.connection =
        std::make_unique<Connection>(absl::StrCat("127.0.0.1:", member.client_port));
    members_.push_back(std::move(member));
  }
  WriteConfig();
}

std::string Cluster::client_address(int i) const {
  return absl::StrCat("127.0.0.1:", members_[i].client_port);
}

std::string Cluster::peer_address(int i) const {
  return absl::StrCat("127.0.0.1:", members_[i].peer_port);
}

std::vector<std::string> Cluster::client_addresses() const {
  std::vector<std::string> addresses;
  for (int i = 0; i < size(); ++i) addresses.push_back(client_address(i));
  return addresses;
}

std::vector<int> Cluster::ports() const {
  std::vector<int> ports;
  for (const Member& member : members_) {
    ports.push_back(member.client_port);
    ports.push_back(member.peer_port);
  }
  return ports;
}

void Cluster::WriteConfig() const {
  std::string text = absl::StrFormat(
      "[cluster]\nname = \"%s\"\nheartbeat_interval = \"%dms\"\nelection_timeout = \"%dms\"\n",
      options_.name, absl::ToInt64Milliseconds(options_.heartbeat_interval),
      absl::ToInt64Milliseconds(options_.election_timeout));
  std::string limits = options_.limits.empty() ? "" : "\n[limits]\n" + options_.limits + "\n";
  if (!options_.storage.empty()) absl::StrAppend(&limits, "\n[storage]\n", options_.storage, "\n");
  for (int i = 0; i < size(); ++i) {
    if (i == options_.size) {
      WriteFile(config_path(), text + limits);
      text = absl::StrReplaceAll(text, {{"[cluster]\n", "[cluster]\nstate = \"existing\"\n"}});
    }
    absl::StrAppendFormat(
        &text, "\n[[member]]\nname = \"%s\"\npeer_url = \"%s\"\nclient_url = \"http://%s\"\n",
        name(i), PeerUrl(i), client_address(i));
    absl::StrAppendFormat(&text, "data_dir = \"%s\"\n", name(i));
  }
  WriteFile(options_.joining > 0 ? joining_config_path() : config_path(), text + limits);
}

Command Cluster::EtcdCommand(int i) const {
  const bool joins = i >= options_.size;
  std::vector<std::string> everybody;
  for (int j = 0; j < options_.size; ++j) everybody.push_back(name(j) + "=" + PeerUrl(j));
  if (joins) everybody.push_back(name(i) + "=" + PeerUrl(i));
  const auto millis = [](absl::Duration d) { return absl::StrCat(absl::ToInt64Milliseconds(d)); };
  Command command;
  command.argv = {EtcdProgram(),
                  "--name=" + name(i),
                  "--data-dir=" + data_dir(i),
                  "--listen-client-urls=http://" + client_address(i),
                  "--advertise-client-urls=http://" + client_address(i),
                  "--listen-peer-urls=" + PeerUrl(i),
                  "--initial-advertise-peer-urls=" + PeerUrl(i),
                  "--initial-cluster=" + absl::StrJoin(everybody, ","),
                  "--initial-cluster-token=" + options_.name,
                  absl::StrCat("--initial-cluster-state=", joins ? "existing" : "new"),
                  "--heartbeat-interval=" + millis(options_.heartbeat_interval),
                  "--election-timeout=" + millis(options_.election_timeout),
                  "--pre-vote",
                  "--logger=zap",
                  "--log-level=warn"};
  command.directory = dir();
  return command;
}

Command Cluster::ServerCommand(int i) const {
  if (options_.product == Product::kEtcd) return EtcdCommand(i);
  if (i >= options_.size) return JoinCommand(i);
  Command command;
  command.argv = {BuiltProgram("raftkv-server"), "-c", config_path(), "-n", name(i)};
  command.directory = dir();
  return command;
}

Command Cluster::JoinCommand(int i) const {
  Command command;
  command.argv = {BuiltProgram("raftkv-server"), "-c", joining_config_path(), "-n", name(i)};
  command.directory = dir();
  return command;
}

void Cluster::Start(int i, const std::map<std::string, std::string>& environment) {
  Command command = ServerCommand(i);
  CHECK(std::filesystem::exists(command.argv[0]))
      << command.argv[0] << " is missing: build it first";
  command.environment = environment;
  members_[i].process = std::make_unique<Process>(command, log_path(i));
}

void Cluster::Join(int i) {
  members_[i].process = std::make_unique<Process>(JoinCommand(i), log_path(i));
}

void Cluster::StartAll() {
  for (int i = 0; i < options_.size; ++i) Start(i);
}

std::vector<std::string> Cluster::Warnings(int i) const {
  std::vector<std::string> lines = absl::StrSplit(log(i), '\n');
  std::erase_if(lines, [](const std::string& line) {
    const bool warns = absl::StrContains(line, " WARNING ") || absl::StrContains(line, " ERROR ");
    return !warns || absl::StrContains(line, ": is on ");
  });
  return lines;
}

void Cluster::Pause(int i) { process(i).Pause(); }

void Cluster::Resume(int i) { process(i).Signal(SIGCONT); }

void Cluster::Wipe(int i) {
  CHECK(!Running(i));
  std::filesystem::remove_all(data_dir(i));
}

std::optional<int> Cluster::Terminate(int i) {
  process(i).Signal(SIGTERM);
  return process(i).Wait(absl::Seconds(15));
}

Reply<etcdserverpb::StatusResponse> Cluster::Status(int i, absl::Duration timeout) {
  return Call(connection(i), *connection(i).maintenance, &etcdserverpb::Maintenance::Stub::Status,
              etcdserverpb::StatusRequest(), timeout);
}

int Cluster::FindLeader() {
  std::map<std::pair<uint64_t, uint64_t>, int> followers;  // number of them by (leader, term)
  std::map<uint64_t, int> index_of;
  for (int i = 0; i < size(); ++i) {
    if (!Running(i)) continue;
    const auto reply = Status(i, absl::Milliseconds(300));
    if (!reply.ok()) continue;
    index_of[reply.response.header().member_id()] = i;
    if (reply.response.leader() != 0) {
      ++followers[{reply.response.leader(), reply.response.raftterm()}];
    }
  }
  for (const auto& [leader_and_term, count] : followers) {
    const auto leader = index_of.find(leader_and_term.first);
    if (count > options_.size / 2 && leader != index_of.end()) return leader->second;
  }
  return -1;
}

int Cluster::WaitForLeader(absl::Duration timeout) {
  int leader = -1;
  Eventually(timeout, [&] { return (leader = FindLeader()) >= 0; });
  return leader;
}

testing::AssertionResult Cluster::MembersAreEqual(absl::Duration timeout) {
  std::vector<etcdserverpb::RangeResponse> states(size());
  std::string difference;
  const bool equal = Eventually(timeout, [&] {
    int first = -1;
    for (int i = 0; i < size(); ++i) {
      if (!Running(i)) continue;
      auto reply = Range(connection(i), EverythingRequest(0, /*serializable=*/true));
      if (!reply.ok()) {
        difference = absl::StrCat(name(i), ": ", reply.status.error_message());
        return false;
      }
      states[i] = std::move(reply.response);
      if (first < 0) first = i;
      if (states[i].header().revision() != states[first].header().revision()) {
        difference = absl::StrFormat("%s is at revision %d, %s at %d", name(first),
                                     states[first].header().revision(), name(i),
                                     states[i].header().revision());
        return false;
      }
    }
    return first >= 0;
  });
  if (!equal) return testing::AssertionFailure() << difference;
  std::string expected, whose;
  for (int i = 0; i < size(); ++i) {
    if (!Running(i)) continue;
    states[i].mutable_header()->set_member_id(0);
    states[i].mutable_header()->set_raft_term(0);
    const std::string text = states[i].DebugString();
    if (whose.empty()) {
      expected = text;
      whose = name(i);
    } else if (text != expected) {
      return testing::AssertionFailure() << whose << " holds\n"
                                         << expected << name(i) << " holds\n"
                                         << text;
    }
  }
  return testing::AssertionSuccess();
}

}  // namespace raftkv::e2e
