#include "server/options.h"

#include <sys/resource.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <random>
#include <system_error>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "config/url.h"
#include "glog/logging.h"
#include "storage/base/disk_space.h"

namespace raftkv {

namespace {

uint64_t RandomNumber() {
  std::random_device device;
  return (static_cast<uint64_t>(device()) << 32) | device();
}

// Differs at each process start.
uint64_t BootId() {
  static const uint64_t id = RandomNumber();
  return id;
}

// Tests of rolling upgrades set this variable to make a member behave like one of an older release
// (docs/testing.md).
ClusterVersion NewestVersion() {
  const char* older = getenv("RAFTKV_TEST_NEWEST_VERSION");
  ClusterVersion version = kNewestVersion;
  if (older == nullptr || !absl::SimpleAtoi(older, &version)) return kNewestVersion;
  return std::clamp(version, kFirstVersion, kNewestVersion);
}

// Tests set this variable to the number of entries that the log keeps. Then the state is flushed
// often, too, because the log keeps every entry that is not flushed (docs/testing.md).
void UseTestLog(MemberOptions* options) {
  const char* entries = getenv("RAFTKV_TEST_LOG_ENTRIES");
  if (entries == nullptr || !absl::SimpleAtoi(entries, &options->replica.tail.entries_max)) return;
  options->replica.tail.step_entries = options->replica.tail.entries_max / 2 + 1;
  options->replica.tail.held_bytes_max = 0;
  options->flush_interval = absl::Milliseconds(100);
}

// On a small volume the log must leave space for the state.
void FitLog(const MemberConfig& self, LogTail* tail) {
  const absl::StatusOr<DiskSpace> space = ReadDiskSpace(AbsolutePath(self.data_dir));
  if (!space.ok()) return;
  tail->bytes_max = std::min(tail->bytes_max, space->volume_bytes / 16);
  tail->step_bytes = std::min(tail->step_bytes, space->volume_bytes / 64);
}

int Ticks(absl::Duration duration) { return static_cast<int>(duration / kTick); }

// A client's message is rejected if it is more than half a megabyte larger than max_request_bytes,
// as in etcd.
size_t ClientMessageBytesMax(const Config& config) {
  return static_cast<size_t>(config.limits.max_request_bytes + (512 << 10));
}

constexpr size_t kPeerConnectionsMax = 256;
// With a lower limit, connections could use up the file descriptors that the engine needs, and the
// engine would end the process.
constexpr size_t kFilesMin = 4 * kPeerConnectionsMax;

size_t FileLimit() {
  rlimit limit = {};
  PCHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0) << "getrlimit";
  return limit.rlim_cur;
}

// The number of connections of clients. Some file descriptors are left for the engine's files and
// for peers.
size_t ClientConnectionsMax() {
  constexpr size_t kMax = 10'000, kLeft = 1024;
  const size_t files = FileLimit();
  return std::min(kMax, files < 2 * kLeft ? files / 2 : files - kLeft);
}

}  // namespace

void AddFieldOfTests() {
  const char* field = getenv("RAFTKV_TEST_NEW_FIELD");
  if (field != nullptr) FieldVersions().push_back({field, 2});
}

absl::Status CheckFileLimit() {
  const size_t files = FileLimit();
  if (files >= kFilesMin) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("this process may open ", files, " files, and needs at least ", kFilesMin,
                   ", because connections use file descriptors, too; raise the limit: ulimit -n, "
                   "or LimitNOFILE in a unit of systemd"));
}

MemberOptions MakeMemberOptions(const Config& config, const MemberConfig& self,
                                const Identity& identity, ParallelReads* parallel_reads) {
  MemberOptions member;
  member.parallel_reads = parallel_reads;
  ReplicaOptions& options = member.replica;
  options.newest_version = NewestVersion();
  options.store_id = identity.store_id;
  options.boot_id = BootId();
  options.raft.id = self.id;
  options.raft.heartbeat_ticks = Ticks(config.heartbeat_interval);
  options.raft.election_timeout_ticks = Ticks(config.election_timeout);
  options.raft.seed = RandomNumber();
  if (identity.restored) options.base_index = identity.restored->base.index;
  for (const MemberConfig& other : config.members) {
    if (!identity.joined) options.configuration.voters.push_back(other.id);
  }
  std::sort(options.configuration.voters.begin(), options.configuration.voters.end());
  for (const MemberConfig& member : config.members) {
    if (identity.joined) break;
    etcdserverpb::Member& info = options.first_members.emplace_back();
    info.set_id(member.id);
    info.set_name(member.name);
    info.add_peerurls(member.peer_url);
    info.add_clienturls(member.client_url);
  }
  options.self.set_id(self.id);
  options.self.set_name(self.name);
  options.self.add_clienturls(self.client_url);
  options.tick = kTick;
  options.request_timeout = config.limits.request_timeout;
  options.pending_max = static_cast<size_t>(config.limits.max_pending_requests);
  options.space.low_bytes = static_cast<uint64_t>(config.storage.min_free_bytes);
  options.space.quota_bytes = static_cast<uint64_t>(config.storage.quota_backend_bytes);
  options.auto_compaction.period = config.storage.auto_compaction_period;
  options.auto_compaction.revisions = config.storage.auto_compaction_revisions;
  FitLog(self, &options.tail);
  UseTestLog(&member);
  return member;
}

port::PortOptions MakeClientPortOptions(const Config& config) {
  port::PortOptions options;
  options.connections_max = ClientConnectionsMax();
  options.connection.message_bytes_max = ClientMessageBytesMax(config);
  return options;
}

// Each peer opens three connections to this port: for large messages, for small ones, and for
// snapshots. On each it has at most two streams and 8 unary calls, and it rarely resets them. All
// connections may be of strangers, each with the streams that a stranger may have; that is half of
// the calls. The windows are large, so that a distant peer can send fast.
port::PortOptions MakePeerPortOptions() {
  port::PortOptions options;
  options.connections_max = kPeerConnectionsMax;
  options.streams_max = 16'384;
  options.calls_max = 8192;
  options.request_bytes_max = 512 << 20;
  options.connection = {.for_peers = true,
                        .message_bytes_max = kPeerMessageBytesMax,
                        .metadata_bytes_max = 16 << 10,
                        .streams_max = 64,
                        .stream_window = 8 << 20,
                        .connection_window = 16 << 20,
                        .resets_burst = 100,
                        .resets_rate = 10,
                        .gzip = false,  // peers do not compress
                        .vanished = absl::Seconds(12)};
  return options;
}

PeersOptions MakePeersOptions(const Config& config, const MemberConfig& self,
                              const DataDir& data_dir, SnapshotHooks snapshots,
                              std::function<void()> send_answers) {
  const Identity& identity = data_dir.identity;
  PeersOptions options;
  options.boot_id = BootId();
  options.snapshots = std::move(snapshots);
  options.send_answers = std::move(send_answers);
  options.cluster_id = config.cluster_id;
  options.self = self.id;
  options.store_id = identity.store_id;
  options.newest_version = NewestVersion();
  options.vote_timeout = config.election_timeout;
  options.reached = data_dir.log->reached();
  options.names = config.joined_names;
  options.listed.set_name(self.name);
  if (identity.joined) return options;  // the cluster says who its members are
  for (const MemberConfig& member : config.members) {
    if (member.id == self.id) continue;
    options.peers.push_back({member.id, member.name, HostPort(member.peer_url)});
  }
  options.listed.set_cluster_name(config.cluster_name);
  for (const MemberConfig& member : config.members) {
    proto::ListedMember* listed = options.listed.add_members();
    listed->set_name(member.name);
    listed->set_peer_url(member.peer_url);
  }
  if (identity.restored) options.listed.set_restored_from(identity.restored->token);
  return options;
}

DataDirOptions MakeDataDirOptions(const Config& config, const MemberConfig& self) {
  return {.dir = AbsolutePath(self.data_dir),
          .cluster_id = config.cluster_id,
          .cluster_name = config.cluster_name,
          .member_id = self.id,
          .member_name = self.name,
          .has_peers = config.members.size() > 1,
          .min_free_bytes = static_cast<uint64_t>(config.storage.min_free_bytes),
          .cache_bytes = static_cast<size_t>(config.storage.cache_bytes),
          .newest_version = NewestVersion()};
}

std::string AbsolutePath(const std::string& path) {
  std::error_code error;  // the working directory may be gone
  const std::filesystem::path absolute = std::filesystem::absolute(path, error);
  return error ? path : absolute.lexically_normal().string();
}

}  // namespace raftkv
