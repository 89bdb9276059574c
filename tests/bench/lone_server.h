#ifndef RAFTKV_TESTS_BENCH_LONE_SERVER_H_
#define RAFTKV_TESTS_BENCH_LONE_SERVER_H_

// The server of a cluster of one member, on one thread and with one connection of a client. Serve
// does what the port's thread (server/port/port.h) and the loop (server/loop.h) do in a server, in
// a fixed order. Everything that a request passes is the server's: the HTTP/2 session, the calls,
// the API, the member, its log and its state in a data directory, the hub of watches, the metrics.

#include <map>
#include <memory>
#include <string>

#include "config/config.h"
#include "server/api/edge.h"
#include "server/api/watch_service.h"
#include "server/disk_readers.h"
#include "server/member/member.h"
#include "server/metrics.h"
#include "server/phase.h"
#include "server/port/calls.h"
#include "server/port/http2_connection.h"
#include "server/rpc/event_queue.h"
#include "storage/data_dir/data_dir.h"

namespace raftkv {

// A config of one member that has its data in `data_dir`.
Config LoneConfig(const std::string& data_dir);

class LoneServer final : private port::Router {
 public:
  // Returns when the member has become leader and has nothing left to do. Stops the clocks of the
  // calling thread (stopped_clock.h).
  explicit LoneServer(const Config& config);
  ~LoneServer();

  // Connects a client and returns its end of the connection, a socket that does not block. The
  // caller closes it.
  int Connect();
  // Reads what the client has sent and serves it, until nothing is left to do.
  void Serve();
  // Time passes without requests.
  void Pass(absl::Duration time);
  // Writes the state out to files.
  void Flush() { data_dir_.state->Flush(); }

 private:
  class NoPeers final : public Transport {
    void Send(PeerMessage /*message*/) override {}
    void SendSnapshot(raft::MemberId /*to*/, raft::Term /*term*/) override {}
    void StopSnapshots() override {}
  };

  // port::Router:
  absl::Status Open(const std::shared_ptr<port::GrpcStream>& stream) override;
  bool AdmitStream(bool /*of_stranger*/) override { return true; }
  void OnStreamClosed() override {}
  bool ChangeRequestBytes(int64_t change, int64_t of_stream, int64_t of_connection,
                          bool stranger) override {
    return commands_.ChargeRequest(change, of_stream, of_connection, stranger);
  }
  void OnSent(size_t bytes) override { commands_.unsent_bytes -= bytes; }
  bool HasPage(const std::string& /*path*/) const override { return false; }
  port::JsonGateway* json() override { return nullptr; }

  void RunEvents();
  void Apply();
  // Passes the answers to the connection, which sends them.
  void Answer();

  const Config config_;
  const MemberConfig& self_;
  PhaseValue phase_;
  DataDir data_dir_;
  NoPeers no_peers_;
  Member member_;
  api::Counters counters_;
  port::CommandQueue commands_;
  DiskReaders disk_readers_{[] { return 0; }};  // never in use
  api::Edge edge_;
  Metrics metrics_;
  EventQueue events_{[] {}};
  port::Group group_;
  std::shared_ptr<api::WatchService> watches_;
  std::map<std::string, const UnaryMethod*> unary_;
  std::map<std::string, const StreamMethod*> streams_;
  std::unique_ptr<port::Connection> connection_;
};

}  // namespace raftkv

#endif  // RAFTKV_TESTS_BENCH_LONE_SERVER_H_
