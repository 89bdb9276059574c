// Streams on which a leader sends a snapshot.

#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/clock.h"
#include "storage/base/checksum.h"
#include "storage/data_dir/data_dir.h"
#include "tests/peer/node.h"

namespace raftkv {
namespace {

// A stream on which n2 sends a snapshot to `to`.
class SnapshotCall {
 public:
  explicit SnapshotCall(Node* to)
      : to_(*to),
        stub_(proto::Raft::NewStub(
            grpc::CreateChannel(to->address, grpc::InsecureChannelCredentials()))),
        stream_(stub_->PrepareAsyncInstallSnapshot(&context_, &to->queue)) {
    Do([this](void* tag) { stream_->StartCall(tag); });
  }
  ~SnapshotCall() {
    context_.TryCancel();
    grpc::Status status;
    Do([&](void* tag) { stream_->Finish(&status, tag); });
  }
  // False: the stream ended.
  bool Write(proto::InstallSnapshotRequest request) {
    if (!std::exchange(introduced_, true)) {
      *request.mutable_peer() = Who(kCluster, 2, 1, std::string(16, '2'));
    }
    return Do([&](void* tag) { stream_->Write(request, tag); });
  }
  bool Read() {
    return Do([this](void* tag) { stream_->Read(&answer, tag); });
  }
  bool Ask(const proto::InstallSnapshotRequest& request) { return Write(request) && Read(); }

  proto::InstallSnapshotResponse answer;

 private:
  struct Step final : Completion {
    void OnComplete(bool is_ok) override { done = true, ok = is_ok; }
    bool done = false, ok = false;
  };
  bool Do(const std::function<void(void*)>& start) {
    Step step;
    start(static_cast<Completion*>(&step));
    EXPECT_TRUE(Eventually({&to_}, [&] { return step.done; }));
    return step.ok;
  }

  Node& to_;
  const std::unique_ptr<proto::Raft::Stub> stub_;
  grpc::ClientContext context_;
  const std::unique_ptr<
      grpc::ClientAsyncReaderWriter<proto::InstallSnapshotRequest, proto::InstallSnapshotResponse>>
      stream_;
  bool introduced_ = false;
};

proto::InstallSnapshotRequest Offer() {
  proto::InstallSnapshotRequest offer;
  offer.set_term(7);
  offer.set_last_included_index(20);
  offer.set_last_included_term(6);
  for (const char* name : {"CURRENT", "000001.sst"}) {
    offer.add_files()->set_name(name);
    offer.mutable_files()->rbegin()->set_size(5);
  }
  return offer;
}

proto::InstallSnapshotRequest Chunk(uint32_t file, uint64_t offset, const std::string& data) {
  proto::InstallSnapshotRequest chunk;
  chunk.set_file(file);
  chunk.set_offset(offset);
  chunk.set_data(data);
  chunk.set_crc32c(Crc32c(data));
  return chunk;
}

TEST(SnapshotStream, ReachesTheMemberWhenItIsWhole) {
  Node to(1, {2, "n2", "127.0.0.1:1"});
  SnapshotCall call(&to);
  ASSERT_TRUE(call.Ask(Offer()));
  EXPECT_EQ(call.answer.peer().from(), 1);
  ASSERT_TRUE(call.Ask(Chunk(0, 0, "12345")));
  ASSERT_TRUE(call.Ask(Chunk(1, 0, "123")));
  EXPECT_EQ(to.Count<SnapshotArrived>(), 0);
  ASSERT_TRUE(call.Ask(Chunk(1, 3, "45")));
  ASSERT_TRUE(Eventually({&to}, [&] { return to.Count<SnapshotArrived>() == 1; }));
  auto& arrived = std::get<SnapshotArrived>(to.inputs.back());
  EXPECT_EQ(arrived.message.from.id, 2);
  EXPECT_EQ(arrived.snapshot->base().id, (raft::EntryId{6, 20}));
  EXPECT_EQ(std::get<raft::Message>(arrived.message.body).term, 7);
  EXPECT_FALSE(call.answer.installed());
  arrived.done(true);
  ASSERT_TRUE(call.Read());
  EXPECT_TRUE(call.answer.installed());
}

TEST(SnapshotStream, AMalformedOfferEndsIt) {
  Node to(1, {2, "n2", "127.0.0.1:1"});
  int malformed = 0;
  for (const auto& change : std::vector<std::function<void(proto::InstallSnapshotRequest*)>>{
           [](auto* offer) { offer->clear_files(); },
           [](auto* offer) { offer->mutable_files(1)->set_name("../000001.sst"); },
           [](auto* offer) { offer->mutable_files(1)->set_name("CURRENT"); },
           [](auto* offer) { offer->mutable_files(1)->set_size(uint64_t{1} << 41); },
           [](auto* offer) { offer->set_last_included_index(0); },
           [](auto* offer) { offer->set_last_included_term(8); },
           [](auto* offer) { *offer = Chunk(0, 0, "12345"); }}) {
    proto::InstallSnapshotRequest offer = Offer();
    change(&offer);
    SnapshotCall call(&to);
    EXPECT_FALSE(call.Ask(offer));
    EXPECT_EQ(to.peers.rejections().of(Rejections::Reason::kMalformed), ++malformed);
  }
  EXPECT_TRUE(to.inputs.empty());
}

TEST(SnapshotStream, AChunkThatDoesNotFitEndsIt) {
  Node to(1, {2, "n2", "127.0.0.1:1"});
  proto::InstallSnapshotRequest damaged = Chunk(0, 2, "345");
  damaged.set_crc32c(damaged.crc32c() + 1);
  for (const auto& chunk :
       {Chunk(0, 0, "12345"), Chunk(0, 3, "45"), Chunk(1, 2, "345"), Chunk(UINT32_MAX, 2, "345"),
        Chunk(0, UINT64_MAX, "345"), Chunk(0, 2, "3456"), Chunk(0, 2, ""), damaged}) {
    SnapshotCall call(&to);
    ASSERT_TRUE(call.Ask(Offer()));
    ASSERT_TRUE(call.Ask(Chunk(0, 0, "12")));
    EXPECT_FALSE(call.Ask(chunk));
  }
  EXPECT_TRUE(to.inputs.empty());
}

TEST(SnapshotStream, ASecondOneEndsTheFirst) {
  Node to(1, {2, "n2", "127.0.0.1:1"});
  SnapshotCall first(&to), second(&to);
  ASSERT_TRUE(first.Ask(Offer()));
  ASSERT_TRUE(second.Ask(Offer()));
  first.Write(Chunk(0, 0, "12345"));  // may still be sent
  EXPECT_FALSE(first.Read());
  ASSERT_TRUE(second.Ask(Chunk(0, 0, "12345")));
  ASSERT_TRUE(second.Ask(Chunk(1, 0, "12345")));
  EXPECT_TRUE(Eventually({&to}, [&] { return to.Count<SnapshotArrived>() == 1; }));
  EXPECT_EQ(to.peers.rejections().total(), 0);
}

PeersOptions WithChunkMax(absl::Duration chunk_max) {
  PeersOptions options;
  options.snapshots.chunk_max = chunk_max;
  return options;
}

// Its process was stopped, for example. What has arrived must not stay on the disk.
TEST(SnapshotStream, ASenderThatSendsNoMoreChunksIsGivenUp) {
  Node to(1, {2, "n2", "127.0.0.1:1"}, WithChunkMax(absl::Milliseconds(50)));
  {
    SnapshotCall call(&to);
    ASSERT_TRUE(call.Ask(Offer()));
    ASSERT_TRUE(call.Ask(Chunk(0, 0, "12")));
    EXPECT_FALSE(std::filesystem::is_empty(to.dir.path()));
    EXPECT_TRUE(Eventually({&to}, [&] {
      to.peers.EverySecond();
      return to.port.running() == 0 && std::filesystem::is_empty(to.dir.path());
    }));
    EXPECT_FALSE(call.Read());
  }
  SnapshotCall again(&to);
  EXPECT_TRUE(again.Ask(Offer()));
  EXPECT_TRUE(again.Ask(Chunk(0, 0, "12345")));
}

// Sends an offer and chunks over twice the time in which a chunk must come. False: the test itself
// was once too slow, which shows nothing.
bool SendChunksInTime(absl::Duration chunk_max) {
  Node to(1, {2, "n2", "127.0.0.1:1"}, WithChunkMax(chunk_max));
  SnapshotCall call(&to);
  MonotonicTime before = MonotonicNow();
  EXPECT_TRUE(call.Ask(Offer()));
  for (uint64_t i = 0; i < 4; ++i) {
    absl::SleepFor(chunk_max / 2);
    to.peers.EverySecond();
    const MonotonicTime now = MonotonicNow();
    if (now - before >= chunk_max) return false;
    before = now;
    EXPECT_TRUE(call.Ask(Chunk(0, i, "1"))) << i;
  }
  return true;
}

TEST(SnapshotStream, EachChunkInTimeKeepsTheStream) {
  absl::Duration chunk_max = absl::Milliseconds(100);
  while (!SendChunksInTime(chunk_max) && chunk_max < absl::Seconds(20)) chunk_max *= 2;
  EXPECT_LT(chunk_max, absl::Seconds(20));
}

// n2. It takes the offer of a snapshot, and answers no chunk.
class MuteReceiver final : public proto::Raft::Service {
 public:
  const PeerAddress& address() const { return server_.address; }
  int offers() const { return offers_; }

  grpc::Status InstallSnapshot(
      grpc::ServerContext* context,
      grpc::ServerReaderWriter<proto::InstallSnapshotResponse, proto::InstallSnapshotRequest>*
          stream) override {
    proto::InstallSnapshotRequest request;
    if (!stream->Read(&request)) return grpc::Status::CANCELLED;
    proto::InstallSnapshotResponse answer;
    *answer.mutable_peer() = Who(kCluster, 2, 1, std::string(16, '2'));
    stream->Write(answer);
    ++offers_;
    while (!context->IsCancelled()) absl::SleepFor(absl::Milliseconds(5));
    return grpc::Status::CANCELLED;
  }

 private:
  std::atomic<int> offers_{0};
  const ServerOfN2 server_{this};
};

size_t Entries(const std::string& dir) {
  return std::distance(std::filesystem::directory_iterator(dir),
                       std::filesystem::directory_iterator());
}

TEST(SnapshotStream, AReceiverThatAnswersNoChunkIsGivenUp) {
  MuteReceiver receiver;
  const TempDir dir;
  const std::string path = dir / "data";
  absl::StatusOr<DataDir> data = OpenDataDir({.dir = path,
                                              .cluster_id = kCluster,
                                              .cluster_name = "c",
                                              .member_id = 1,
                                              .member_name = "n1"});
  ASSERT_TRUE(data.ok()) << data.status();
  const raft::Entry entry = MakeEntry(1, 1, PutCommand("k", "v"));
  data->log->Save(raft::HardState{1, 1, 0}, {entry});
  data->state->Apply({&entry, 1});
  const size_t entries = Entries(path);
  PeersOptions options = WithChunkMax(absl::Milliseconds(200));
  options.snapshots.take = [&] { return data->states->Take(*data->state); };
  options.snapshots.tip_at = [](raft::EntryId id) { return LogStore::Tip{id, 0}; };
  Node node(1, receiver.address(), options);
  for (int transfer = 1; transfer <= 2; ++transfer) {
    node.peers.SendSnapshot(2, /*term=*/1);
    EXPECT_TRUE(Eventually({&node}, [&] { return receiver.offers() == transfer; }));
    EXPECT_GT(Entries(path), entries) << "the checkpoint";
    EXPECT_TRUE(Eventually({&node}, [&] {
      node.peers.EverySecond();
      return node.Count<SnapshotSent>() == transfer;
    }));
    EXPECT_FALSE(std::get<SnapshotSent>(node.inputs.back()).ok);
    EXPECT_EQ(Entries(path), entries) << "the checkpoint is removed";
  }
}

}  // namespace
}  // namespace raftkv
