#ifndef RAFTKV_SERVER_OPTIONS_H_
#define RAFTKV_SERVER_OPTIONS_H_

// The options of the server's parts, made from the configuration and from the identity of the data
// directory. The environment variables that only tests set (docs/testing.md) are read here.

#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "config/config.h"
#include "server/identity.h"
#include "server/member/member.h"
#include "server/peer/peers.h"
#include "server/port/port.h"
#include "storage/data_dir/data_dir.h"

namespace raftkv {

inline constexpr absl::Duration kTick = absl::Milliseconds(10);  // of the loop and of Raft

// FailedPrecondition: the limit of open files of this process is so low that connections could use
// up the file descriptors that the engine needs.
absl::Status CheckFileLimit();

MemberOptions MakeMemberOptions(const Config& config, const MemberConfig& self,
                                const Identity& identity, ParallelReads* parallel_reads);
PeersOptions MakePeersOptions(const Config& config, const MemberConfig& self,
                              const DataDir& data_dir, SnapshotHooks snapshots,
                              std::function<void()> send_answers);
port::PortOptions MakeClientPortOptions(const Config& config);
port::PortOptions MakePeerPortOptions();
DataDirOptions MakeDataDirOptions(const Config& config, const MemberConfig& self);

// Tests of rolling upgrades name a field in an environment variable. The field is then treated as
// if version 2 had added it. Called once, before anything else runs.
void AddFieldOfTests();

std::string AbsolutePath(const std::string& path);

}  // namespace raftkv

#endif  // RAFTKV_SERVER_OPTIONS_H_
