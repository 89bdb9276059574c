#include "server/disk_readers.h"

#include <sys/resource.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "proto/parse_command.h"

namespace raftkv {

namespace {

// Disks read several blocks at the same time in about the time of one.
constexpr int kThreads = 8;
constexpr size_t kWaitingMax = 1024;
// In use if this number of blocks was read in a second: about a hundred reads of a table's block.
constexpr int64_t kBlocksMin = 1000;
// Of one entry, at most this number of keys is read ahead.
constexpr size_t kKeysMax = 256;
// The entries that wait to be read ahead are not larger than this.
constexpr size_t kAheadBytesMax = 16 << 20;

void AddKeys(const etcdserverpb::TxnRequest& txn, std::vector<std::string_view>* keys);

void AddKeys(const google::protobuf::RepeatedPtrField<etcdserverpb::RequestOp>& ops,
             std::vector<std::string_view>* keys) {
  for (const etcdserverpb::RequestOp& op : ops) {
    if (keys->size() >= kKeysMax) return;
    if (op.has_request_put()) keys->push_back(op.request_put().key());
    if (op.has_request_delete_range()) keys->push_back(op.request_delete_range().key());
    if (op.has_request_range()) keys->push_back(op.request_range().key());
    if (op.has_request_txn()) AddKeys(op.request_txn(), keys);
  }
}

void AddKeys(const etcdserverpb::TxnRequest& txn, std::vector<std::string_view>* keys) {
  for (const etcdserverpb::Compare& compare : txn.compare()) {
    if (keys->size() >= kKeysMax) return;
    keys->push_back(compare.key());
  }
  AddKeys(txn.success(), keys);
  AddKeys(txn.failure(), keys);
}

// The keys whose newest versions the command reads when it is applied. Of a range: its first key.
std::vector<std::string_view> KeysOf(const proto::Command& command) {
  std::vector<std::string_view> keys;
  if (command.has_put()) keys.push_back(command.put().key());
  if (command.has_delete_range()) keys.push_back(command.delete_range().key());
  if (command.has_txn()) AddKeys(command.txn(), &keys);
  return keys;
}

}  // namespace

int64_t BlocksReadByThisThread() {
  rusage usage = {};
  return getrusage(RUSAGE_THREAD, &usage) == 0 ? usage.ru_inblock : 0;
}

DiskReaders::DiskReaders(DiskReadersOptions options)
    : options_(std::move(options)), ahead_(kThreads, kWaitingMax), reads_(kThreads, kWaitingMax) {}

void DiskReaders::EverySecond() {
  const int64_t before = std::exchange(loop_blocks_, options_.blocks_read());
  const int64_t blocks = loop_blocks_ - before + blocks_.exchange(0, std::memory_order_relaxed);
  in_use_.store(blocks >= kBlocksMin, std::memory_order_relaxed);
}

bool DiskReaders::Run(std::function<void()> read, const std::string& client) {
  return in_use() && reads_.Run([this, read = std::move(read)] { Count(read); }, client);
}

void DiskReaders::OnSaving(absl::Span<const raft::Entry> entries) {
  if (!in_use()) return;
  // Few tasks, because each wakes a thread.
  const size_t part = (entries.size() + kThreads - 1) / kThreads;
  for (; !entries.empty(); entries.remove_prefix(std::min(part, entries.size()))) {
    const absl::Span<const raft::Entry> some = entries.first(std::min(part, entries.size()));
    size_t bytes = 0;
    for (const raft::Entry& entry : some) bytes += entry.payload.size();
    if (ahead_bytes_.load() + bytes > kAheadBytesMax) return;
    ahead_bytes_ += bytes;
    const bool accepted =
        ahead_.Run([this, bytes, some = std::vector<raft::Entry>(some.begin(), some.end())] {
          Count([&] { ReadAhead(some); });
          ahead_bytes_ -= bytes;
        });
    if (!accepted) ahead_bytes_ -= bytes;
  }
}

void DiskReaders::ReadAhead(absl::Span<const raft::Entry> entries) {
  for (const raft::Entry& entry : entries) {
    proto::Command command;
    if (entry.type != raft::EntryType::kCommand || !ParseCommand(entry.payload.view(), &command)) {
      continue;
    }
    for (const std::string_view key : KeysOf(command)) options_.read(key);
  }
}

// Runs the read, and counts the blocks that it reads from the disk.
void DiskReaders::Count(const std::function<void()>& read) {
  const int64_t before = options_.blocks_read();
  read();
  blocks_.fetch_add(options_.blocks_read() - before, std::memory_order_relaxed);
}

void DiskReaders::Stop() {
  ahead_.Stop();
  reads_.Stop();
}

}  // namespace raftkv
