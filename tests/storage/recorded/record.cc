// Writes tests/storage/recorded/v1: a log of cluster version 1 and what applying it gives. Usage:
//
//   record_log DIRECTORY
//
// It was run once, with the code that knew no other version, and is kept to show how the recording
// came about. Run again it must write the same bytes: recorded_test.cc applies them.
//
//   log      entries 1, 2, ..., each a 4-byte length and an encoded Command; length 0 is a no-op
//   results  after every 50 entries one line: index, revision, compacted revision, the running
//            digest, HashKV, Hash, and a checksum of all answers and errors so far

#include <cstdint>
#include <fstream>
#include <iostream>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "glog/logging.h"
#include "storage/base/checksum.h"
#include "storage/engine/memory_engine.h"
#include "storage/state_machine.h"
#include "tests/model/random_requests.h"
#include "tests/storage/testing.h"

namespace raftkv {
namespace {

constexpr int kRandomEntries = 600;
constexpr int kEntriesPerLine = 50;
// This many ranges over this many keys walk just less than version 1 allows one entry (1,048,576
// steps). One of the keys is large: with its bytes, which version 2 charges, they exceed the limit.
constexpr int kSmallKeys = 3200;
constexpr int kRangesOfAll = 327;
constexpr int kLargeKeyBytes = 24 << 10;

class Recorder {
 public:
  explicit Recorder(const std::string& dir)
      : log_(dir + "/log", std::ios::binary), results_(dir + "/results") {
    auto state = StateMachine::Open(
        std::make_unique<MemoryEngine>(std::make_shared<MemoryDisk>(), Durability::kFlushed));
    CHECK(state.ok()) << state.status();
    state_ = *std::move(state);
  }

  Model::Moment now() const { return {state_->revision(), state_->compacted_revision()}; }

  absl::Status Add(const proto::Command& command) {
    const std::string bytes = command.SerializeAsString();
    return Add(MakeEntry(1, state_->applied().index + 1, bytes), bytes);
  }
  void AddNoOp() {
    Add({{.term = 1, .index = state_->applied().index + 1}, raft::EntryType::kNoOp, {}}, "")
        .IgnoreError();
  }

 private:
  absl::Status Add(const raft::Entry& entry, const std::string& bytes) {
    std::string length;
    PutFixed32(&length, static_cast<uint32_t>(bytes.size()));
    log_ << length << bytes;
    const ApplyResult result = state_->Apply({entry}).front();
    answers_ = Hash64(result.status.ToString(), answers_);
    answers_ = Hash64(result.response.SerializeAsString(), answers_);
    if (entry.id.index % kEntriesPerLine == 0) {
      const auto snapshot = state_->Snapshot();
      results_ << absl::StrFormat("%d %d %d %016x %08x %08x %016x\n", entry.id.index,
                                  state_->revision(), state_->compacted_revision(),
                                  state_->digest(), snapshot->HashKv(0)->hash, *snapshot->Hash(),
                                  answers_);
    }
    if (entry.id.index % 7 == 0 && state_->compacting()) state_->CompactStep(/*events_max=*/20);
    return result.status;
  }

  std::ofstream log_;
  std::ofstream results_;
  std::unique_ptr<StateMachine> state_;
  uint64_t answers_ = 0;
};

proto::Command RangesOverAll(int count) {
  proto::Command command;
  command.mutable_txn()->add_success()->mutable_request_put()->set_key("done");
  for (int i = 0; i < count; ++i) {
    etcdserverpb::RangeRequest& range =
        *command.mutable_txn()->add_success()->mutable_request_range();
    range.set_key("n");
    range.set_range_end("o");
    range.set_min_mod_revision(1'000'000);  // none: it walks and answers nothing
  }
  return command;
}

void Record(Recorder* out) {
  RandomRequests random(/*seed=*/20);
  for (int i = 0; i < kRandomEntries; ++i) {
    if (random.OneIn(40)) {
      out->AddNoOp();
    } else {
      out->Add(random.Command(out->now())).IgnoreError();
    }
  }
  for (int key = 0; key < kSmallKeys;) {
    proto::Command command;
    for (int i = 0; i < 128 && key < kSmallKeys; ++i, ++key) {
      command.mutable_txn()->add_success()->mutable_request_put()->set_key(
          absl::StrCat("n", 1000 + key));
    }
    CHECK(out->Add(command).ok());
  }
  CHECK(out->Add(RangesOverAll(kRangesOfAll)).ok());
  CHECK(out->Add(PutCommand("n9" + std::string(kLargeKeyBytes, 'k'), "v")).ok());
  CHECK(out->Add(RangesOverAll(kRangesOfAll)).ok()) << "within the limit, as keys' bytes are free";
  CHECK(absl::IsResourceExhausted(out->Add(RangesOverAll(kRangesOfAll + 1))));
  for (int i = 0; i < 100; ++i) out->Add(random.Command(out->now())).IgnoreError();
  CHECK(out->Add(DeleteCommand("n", "o")).ok());
  for (int i = 0; i < 100; ++i) out->Add(random.Command(out->now())).IgnoreError();
  while (random.Below(50) != 0) out->AddNoOp();
}

}  // namespace
}  // namespace raftkv

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: record_log DIRECTORY\n";
    return 2;
  }
  raftkv::Recorder recorder(argv[1]);
  raftkv::Record(&recorder);
  return 0;
}
