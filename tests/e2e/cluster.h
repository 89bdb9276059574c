#ifndef RAFTKV_TESTS_E2E_CLUSTER_H_
#define RAFTKV_TESTS_E2E_CLUSTER_H_

// A cluster of real processes on loopback: raftkv-server, or Debian's etcd as a reference. Members
// are numbered from 0 and named n1, n2, ... All their files are in one temporary directory, which
// is kept when the test fails. Calls use plain gRPC stubs, so that tests see codes, texts and
// headers as they are on the wire.
//
//   Cluster cluster({.size = 3});
//   cluster.StartAll();
//   const int leader = cluster.WaitForLeader();
//   ASSERT_GE(leader, 0);
//   EXPECT_TRUE(cluster.Put(leader, "k", "v").ok());
//
// Programs: raftkv-server from the build (RAFTKV_BIN overrides the directory), etcd from
// build/etcd/usr/bin/etcd (RAFTKV_ETCD overrides the path). With RAFTKV_E2E_AGAINST=etcd, the tests
// of etcd's behaviour run against etcd; the others are skipped. If a test fails against etcd, the
// test is wrong.

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "proto/etcd/health.grpc.pb.h"
#include "proto/etcd/rpc.grpc.pb.h"
#include "proto/raft.grpc.pb.h"
#include "tests/e2e/process.h"

namespace raftkv::e2e {

enum class Product { kRaftkv, kEtcd };

Product ProductUnderTest();
// Path of a program of the build: "raftkv-server", "raftkv", "raftkv_example".
std::string BuiltProgram(const std::string& name);
// The path of Debian's etcd server. If it is missing: an empty string and a test failure that says
// how to get it.
std::string EtcdProgram();

struct ClusterOptions {
  Product product = ProductUnderTest();
  int size = 3;     // members at the start
  int joining = 0;  // further ones, which a test adds to the cluster and then starts
  std::string name = "e2e";
  absl::Duration heartbeat_interval = absl::Milliseconds(100);
  absl::Duration election_timeout = absl::Seconds(1);
  std::string limits = "";      // lines of the section [limits]
  std::string storage = "";     // lines of the section [storage]
  bool keep_data = true;        // keep the directory when the test fails
  std::vector<int> ports = {};  // n1's client port, n1's peer port, n2's ...; empty: free ones
};

// The status of a call, and its response if the status is OK.
template <typename Response>
struct Reply {
  grpc::Status status;
  Response response;
  bool ok() const { return status.ok(); }
};

// One connection to one member.
struct Connection {
  explicit Connection(const std::string& address);
  // Connects if necessary. A channel connects only while a thread waits on it. Without this, calls
  // that fail fast would never notice that a member is back.
  bool Ready();

  std::shared_ptr<grpc::Channel> channel;
  std::unique_ptr<etcdserverpb::KV::Stub> kv;
  std::unique_ptr<etcdserverpb::Lease::Stub> lease;
  std::unique_ptr<etcdserverpb::Cluster::Stub> cluster;
  std::unique_ptr<etcdserverpb::Maintenance::Stub> maintenance;
  std::unique_ptr<etcdserverpb::Watch::Stub> watch;
  std::unique_ptr<grpc::health::v1::Health::Stub> health;
};

inline constexpr absl::Duration kCallTimeout = absl::Seconds(10);

std::unique_ptr<grpc::ClientContext> MakeContext(absl::Duration timeout = kCallTimeout);

// A unary call of any stub, as in Call(connection, *connection.kv, &KV::Stub::Range, ...). If the
// member is down, the call fails within 200 ms with kNotSent.
inline constexpr char kNotSent[] = "not connected: nothing was sent";
template <typename Stub, typename Request, typename Response>
Reply<Response> Call(Connection& connection, Stub& stub,
                     grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                     const Request& request, absl::Duration timeout = kCallTimeout) {
  Reply<Response> reply;
  reply.status = connection.Ready()
                     ? (stub.*method)(MakeContext(timeout).get(), request, &reply.response)
                     : grpc::Status(grpc::StatusCode::UNAVAILABLE, kNotSent);
  return reply;
}

Reply<etcdserverpb::RangeResponse> Range(Connection& connection,
                                         const etcdserverpb::RangeRequest& request,
                                         absl::Duration timeout = kCallTimeout);
Reply<etcdserverpb::PutResponse> Put(Connection& connection, const std::string& key,
                                     const std::string& value,
                                     absl::Duration timeout = kCallTimeout);
Reply<etcdserverpb::DeleteRangeResponse> Delete(Connection& connection, const std::string& key,
                                                absl::Duration timeout = kCallTimeout);
etcdserverpb::RangeRequest GetRequest(const std::string& key, bool serializable = false);
// All keys, at `revision` (0: the newest).
etcdserverpb::RangeRequest EverythingRequest(int64_t revision, bool serializable);

class Cluster {
 public:
  explicit Cluster(ClusterOptions options);
  Cluster(const Cluster&) = delete;
  Cluster& operator=(const Cluster&) = delete;

  int size() const { return static_cast<int>(members_.size()); }  // also those that join
  const ClusterOptions& options() const { return options_; }
  const std::string& dir() const { return dir_.path(); }
  std::string config_path() const { return dir() + "/config.toml"; }
  std::string joining_config_path() const { return dir() + "/joining.toml"; }
  const std::string& name(int i) const { return members_[i].name; }
  std::string client_address(int i) const;  // "127.0.0.1:PORT"
  std::string peer_address(int i) const;
  std::string data_dir(int i) const { return dir() + "/" + name(i); }
  std::string log(int i) const { return ReadFile(log_path(i)); }
  // The lines of its log with the level WARNING or above, except for those about the place of its
  // directory.
  std::vector<std::string> Warnings(int i) const;
  std::vector<std::string> client_addresses() const;
  std::vector<int> ports() const;

  // The command that starts member i. One that joins has a config file of its own, with all members
  // and state = "existing".
  Command ServerCommand(int i) const;
  Command JoinCommand(int i) const;
  void Start(int i, const std::map<std::string, std::string>& environment = {});
  void StartAll();   // but not those that join
  void Join(int i);  // also a member of the start, after it was removed and wiped
  void Kill(int i) { members_[i].process->Kill(); }  // -9
  void Pause(int i);                                 // SIGSTOP; it has stopped
  void Resume(int i);                                // SIGCONT
  void Wipe(int i);                                  // removes its data directory; it must be down
  std::optional<int> Terminate(int i);               // SIGTERM; its exit code
  bool Running(int i) { return members_[i].process && members_[i].process->Running(); }
  Process& process(int i) { return *members_[i].process; }

  Connection& connection(int i) { return *members_[i].connection; }
  Reply<etcdserverpb::PutResponse> Put(int i, const std::string& key, const std::string& value,
                                       absl::Duration timeout = kCallTimeout) {
    return e2e::Put(connection(i), key, value, timeout);
  }
  Reply<etcdserverpb::RangeResponse> Get(int i, const std::string& key, bool serializable = false,
                                         absl::Duration timeout = kCallTimeout) {
    return e2e::Range(connection(i), GetRequest(key, serializable), timeout);
  }
  Reply<etcdserverpb::StatusResponse> Status(int i, absl::Duration timeout = absl::Seconds(1));

  // Waits until a majority names the same running leader in the same term. Returns that member; -1
  // after `timeout`.
  int WaitForLeader(absl::Duration timeout = absl::Seconds(20));
  // Waits until all running members have the same revision, then compares all their keys.
  testing::AssertionResult MembersAreEqual(absl::Duration timeout = absl::Seconds(20));

 private:
  struct Member {
    std::string name;
    int client_port = 0;
    int peer_port = 0;
    std::unique_ptr<Connection> connection;
    std::unique_ptr<Process> process;
  };

  std::string log_path(int i) const { return dir() + "/" + name(i) + ".log"; }
  std::string PeerUrl(int i) const { return "http://" + peer_address(i); }
  void WriteConfig() const;
  Command EtcdCommand(int i) const;
  int FindLeader();

  const ClusterOptions options_;
  TempDir dir_;  // before members_, so that it outlives their processes
  std::vector<Member> members_;
};

}  // namespace raftkv::e2e

#endif  // RAFTKV_TESTS_E2E_CLUSTER_H_
