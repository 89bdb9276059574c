// etcdserverpb.KV.RangeStream: the answer of Range in chunks (storage/mvcc/range_parts.h). The next
// chunk is read when most of the previous one was sent, so that a client that reads slowly costs
// one chunk of memory, and neither a worker nor a pinned state.
//
// Handlers run on the loop's thread. The first chunk is read there, with the limits of small reads;
// the second one on one of the `readers`; the rest, because there is more than one chunk to read,
// on the `long_readers`.

#include <algorithm>
#include <atomic>
#include <memory>
#include <optional>
#include <set>
#include <utility>

#include "server/api/edge.h"
#include "storage/mvcc/check.h"
#include "storage/mvcc/range_parts.h"

namespace raftkv::api {

namespace {

using etcdserverpb::RangeRequest;
using etcdserverpb::RangeStreamResponse;
using google::protobuf::Message;

constexpr size_t kRangeStreamsMax = 1024;
constexpr int64_t kFirstChunkBytes = 64 << 10;
constexpr int64_t kChunkBytes = 3 << 19;  // as etcd: the largest request, by default
// While the chunks of all streams, read or unsent, have more than this, further chunks are small,
// and a stream whose client has not read its chunk for kUnreadTimeMax is ended.
constexpr int64_t kAllChunksBytes = 64 << 20;
constexpr int64_t kSmallChunkBytes = 64 << 10;
constexpr absl::Duration kUnreadTimeMax = absl::Seconds(10);
constexpr absl::Duration kGiveUpInterval = absl::Milliseconds(10);

absl::Status Check(const RangeRequest& request) {
  if (absl::Status s = mvcc::Check(request); !s.ok()) return ToWire(s);
  // A target without an order means an ascending order in Range. etcd accepts it here, and then
  // sorts each chunk by itself.
  if (request.sort_target() != RangeRequest::KEY || request.sort_order() == RangeRequest::DESCEND) {
    return absl::UnimplementedError("RangeStream does not support custom sort orders");
  }
  if (request.min_mod_revision() != 0 || request.max_mod_revision() != 0 ||
      request.min_create_revision() != 0 || request.max_create_revision() != 0) {
    return absl::UnimplementedError("RangeStream does not support revision filters");
  }
  return absl::OkStatus();
}

class RangeCall;

// All open streams. On the loop's thread.
struct RangeCalls {
  std::set<RangeCall*> calls;
  int64_t bytes = 0;  // of their chunks
  MonotonicTime next_check = MonotonicTime::InfinitePast();
};

// A stream's read, which a worker may run while the stream ends.
struct Reading {
  explicit Reading(RangeRequest request) : parts(std::move(request)) {}
  RangeCall* call = nullptr;           // the loop's thread; null: the stream has ended
  std::atomic<bool> abandoned{false};  // the same, for workers
  mvcc::RangeParts parts;              // used by the loop or by one worker
};

absl::Status ReadChunk(const Edge& edge, Reading* reading, int64_t bytes_max, const Limits& limits,
                       RangeStreamResponse* chunk) {
  if (limits.give_up && limits.give_up()) return absl::CancelledError();
  const std::shared_ptr<const StateSnapshot> snapshot = edge.member->Snapshot();
  const absl::Status permitted = snapshot->alarms_in_force().PermitRead();
  if (!permitted.ok()) return permitted;
  return snapshot->NextPart(&reading->parts, bytes_max, limits, chunk->mutable_range_response());
}

class RangeCall final : public StreamHandler {
 public:
  RangeCall(const Edge* edge, std::shared_ptr<RangeCalls> all, StreamCall* stream)
      : edge_(*edge), all_(std::move(all)), stream_(*stream) {
    all_->calls.insert(this);
  }
  ~RangeCall() override {
    all_->calls.erase(this);
    Hold(0);
    if (reading_ == nullptr) return;
    reading_->call = nullptr;
    reading_->abandoned = true;
  }

  absl::Status OnRequest(Message* message) override {
    auto* request = static_cast<RangeRequest*>(message);
    if (all_->calls.size() > kRangeStreamsMax) return TooManyRequests();
    if (absl::Status status = Check(*request); !status.ok()) return status;
    const bool serializable = request->serializable();
    reading_ = std::make_shared<Reading>(std::move(*request));
    reading_->call = this;
    if (serializable) {
      ReadHere();
      return absl::OkStatus();
    }
    auto done = [edge = &edge_, reading = reading_](Fate fate) {
      edge->on_loop([reading, fate] {
        if (reading->call != nullptr) reading->call->OnUpToDate(fate);
      });
    };
    auto gone = [reading = reading_] { return reading->abandoned.load(); };
    edge_.member->Post(
        ReadRequest{std::move(done), {.deadline = stream_.deadline(), .gone = std::move(gone)}});
    return absl::OkStatus();
  }

  void OnWritable() override {
    Hold(0);
    unread_since_ = MonotonicTime::InfiniteFuture();
    ReadOnWorker();
  }

  // Called every kGiveUpInterval. A client that has gone needs no check: an event of its stream
  // destroys this object, which frees the bytes, and a worker that reads ends.
  void CheckLimits(MonotonicTime now) {
    const bool stalled = all_->bytes > kAllChunksBytes && now - unread_since_ > kUnreadTimeMax &&
                         !stream_.writable();
    if (stalled || now >= stream_.deadline()) {
      End();
      stream_.Cancel();
    } else if (edge_.member->rejected_by_peers() || edge_.member->halted()) {
      Finish(edge_.member->halted() ? HasHalted() : RejectedByPeers());
    } else if (waits_for_room_) {
      ReadOnWorker();
    }
  }

 private:
  void OnUpToDate(Fate fate) {
    if (fate != Fate::kApplied) return Finish(ReadToWire(fate));
    ReadHere();
  }

  void ReadHere() {
    RangeStreamResponse chunk;
    const absl::Status status = ReadChunk(edge_, reading_.get(), kFirstChunkBytes,
                                          {.steps_max = kInlineLimits.steps_max}, &chunk);
    OnChunk(status, &chunk);
  }

  void ReadOnWorker() {
    if (ended_ || !stream_.writable()) return;
    waits_for_room_ = edge_.unsent_bytes() > kUnsentBytesOfWorkers;
    if (waits_for_room_) return;
    const bool first = !std::exchange(on_worker_, true);
    Limits limits;
    if (first) limits.steps_max = kShortRead.steps_max;
    limits.give_up = [phase = edge_.phase, reading = reading_, deadline = edge_.Deadline(stream_)] {
      return phase->AtLeast(Phase::kDraining) || reading->abandoned || MonotonicNow() >= deadline;
    };
    const int64_t bytes_max = all_->bytes > kAllChunksBytes ? kSmallChunkBytes : kChunkBytes;
    Hold(bytes_max);
    Workers* const workers = first ? edge_.readers : edge_.long_readers;
    const auto read = [edge = &edge_, reading = reading_, bytes_max, limits] {
      auto chunk = std::make_shared<RangeStreamResponse>();
      const absl::Status status = ReadChunk(*edge, reading.get(), bytes_max, limits, chunk.get());
      edge->on_loop([reading, chunk, status] {
        if (reading->call != nullptr) reading->call->OnChunk(status, chunk.get());
      });
    };
    if (!workers->Run(read, stream_.client_address())) Finish(TooManyRequests());
  }

  void OnChunk(const absl::Status& status, RangeStreamResponse* chunk) {
    if (ended_ || !stream_.writable()) return;
    if (!status.ok()) return Finish(edge_.EndOfRead(status));
    const bool last = reading_->parts.done();
    etcdserverpb::RangeResponse* response = chunk->mutable_range_response();
    if (last) edge_.FillHeader(response->header().revision(), response->mutable_header());
    if (!last && response->kvs().empty()) return ReadOnWorker();
    Hold(static_cast<int64_t>(chunk->ByteSizeLong()));
    unread_since_ = MonotonicNow();
    stream_.Write(*chunk, /*more_follow=*/!last);
    if (last) Finish(absl::OkStatus());
  }

  void Finish(const absl::Status& status) {
    End();
    stream_.Finish(status);
  }

  void End() {
    ended_ = true;
    waits_for_room_ = false;
    if (reading_ != nullptr) reading_->abandoned = true;
  }

  // The bytes of its chunk.
  void Hold(int64_t bytes) { all_->bytes += bytes - std::exchange(bytes_, bytes); }

  const Edge& edge_;
  const std::shared_ptr<RangeCalls> all_;
  StreamCall& stream_;
  std::shared_ptr<Reading> reading_;  // null: there is no request yet
  int64_t bytes_ = 0;                 // see Hold
  // Since when the last chunk has been written and not sent.
  MonotonicTime unread_since_ = MonotonicTime::InfiniteFuture();
  bool on_worker_ = false;       // a worker has read a chunk
  bool waits_for_room_ = false;  // the next chunk is read once fewer answers are unsent
  bool ended_ = false;
};

}  // namespace

std::function<void(MonotonicTime)> AddRangeStream(const Edge* edge, Methods* methods) {
  auto all = std::make_shared<RangeCalls>();
  StreamMethod method;
  method.name = "/etcdserverpb.KV/RangeStream";
  method.permission = Permission::kRead;
  method.one_request = true;
  // A call without a request has no handler, so it takes no other call's place.
  method.first_request.wait = absl::Seconds(10);
  method.request = &RangeRequest::default_instance();
  method.open = [edge, all](StreamCall* stream) -> std::unique_ptr<StreamHandler> {
    return std::make_unique<RangeCall>(edge, all, stream);
  };
  methods->streams.push_back(std::move(method));
  return [all](MonotonicTime now) {
    if (all->calls.empty() || now < all->next_check) return;
    all->next_check = now + kGiveUpInterval;
    for (RangeCall* call : all->calls) call->CheckLimits(now);
  };
}

}  // namespace raftkv::api
