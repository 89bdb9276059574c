#ifndef RAFTKV_TESTS_STORAGE_STORE_TEST_H_
#define RAFTKV_TESTS_STORAGE_STORE_TEST_H_

// The fixture of the state machine's tests: a state machine on a disk in memory that can crash,
// commands in protobuf's text format, and answers as text.

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "google/protobuf/text_format.h"
#include "gtest/gtest.h"
#include "storage/engine/memory_engine.h"
#include "storage/state_machine.h"
#include "tests/storage/testing.h"

namespace raftkv {

template <typename Message>
Message Parse(const std::string& text) {
  Message message;
  CHECK(google::protobuf::TextFormat::ParseFromString(text, &message)) << text;
  return message;
}

inline proto::Command CompactCommand(Revision revision) {
  proto::Command command;
  command.mutable_compaction()->set_revision(revision);
  return command;
}

inline etcdserverpb::RangeRequest AllKeys(Revision revision = 0) {
  etcdserverpb::RangeRequest request;
  request.set_key(std::string(1, '\0'));
  request.set_range_end(std::string(1, '\0'));
  request.set_revision(revision);
  return request;
}

class StoreTest : public testing::Test {
 protected:
  StoreTest() { Reopen(); }

  // Crashes and opens it again. Of the batches that were not flushed, only the first `kept`
  // survive.
  void Reopen(uint64_t kept = 0) {
    state_.reset();
    disk_->Crash(kept);
    auto state = StateMachine::Open(std::make_unique<MemoryEngine>(disk_, Durability::kFlushed));
    ASSERT_TRUE(state.ok()) << state.status();
    state_ = *std::move(state);
  }

  ApplyResult Apply(const proto::Command& command) {
    return state_->Apply({MakeEntry(1, state_->applied().index + 1, command)}).front();
  }
  // In one batch.
  void ApplyAll(const std::vector<proto::Command>& commands) {
    std::vector<raft::Entry> entries;
    for (const proto::Command& command : commands) {
      entries.push_back(MakeEntry(1, state_->applied().index + 1 + entries.size(), command));
    }
    state_->Apply(entries);
  }
  ApplyResult ApplyText(const std::string& command) {
    return Apply(Parse<proto::Command>(command));
  }
  // The whole answer in one line, or the status' message.
  std::string Answer(const std::string& command) {
    const ApplyResult result = ApplyText(command);
    if (!result.status.ok()) return std::string(result.status.message());
    return result.response.ShortDebugString();
  }

  // Keys and values, "k=v k=v ", or the status' message.
  std::string Range(const etcdserverpb::RangeRequest& request,
                    const Limits& budget = Limits()) const {
    etcdserverpb::RangeResponse response;
    const absl::Status status = state_->Snapshot()->Range(request, budget, &response);
    if (!status.ok()) return std::string(status.message());
    std::string out;
    for (const mvccpb::KeyValue& kv : response.kvs()) out += kv.key() + "=" + kv.value() + " ";
    return out;
  }

  // The rows of one table in the engine, for tests of the layout. Only one engine can use the disk,
  // so this flushes and closes the state machine, and opens it again.
  std::vector<std::pair<std::string, std::string>> Table(char table) {
    std::vector<std::pair<std::string, std::string>> rows;
    state_->Flush();
    state_.reset();
    {
      MemoryEngine engine(disk_, Durability::kFlushed);
      const absl::Status status = engine.Scan(std::string(1, table), std::string(1, table + 1),
                                              [&](std::string_view key, std::string_view value) {
                                                rows.emplace_back(key, value);
                                                return absl::OkStatus();
                                              });
      CHECK(status.ok());
    }
    Reopen();
    return rows;
  }

  std::shared_ptr<MemoryDisk> disk_ = std::make_shared<MemoryDisk>();
  std::unique_ptr<StateMachine> state_;
};

}  // namespace raftkv

#endif  // RAFTKV_TESTS_STORAGE_STORE_TEST_H_
