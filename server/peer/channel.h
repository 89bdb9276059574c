#ifndef RAFTKV_SERVER_PEER_CHANNEL_H_
#define RAFTKV_SERVER_PEER_CHANNEL_H_

// One connection to the port of a peer, for calls of gRPC over HTTP/2, on nghttp2. gRPC's own
// client library takes several times as long to send a message
// (docs/decisions/0035-an-http2-client-for-peers.md).
//
// It connects when a call starts or when Connect is called, and then tries again whenever it has no
// connection. If one cannot be made, or is lost, all its calls end. Pings detect a peer that does
// not answer any more.
//
// Everything runs on the loop's thread, which never waits here: names are looked up on a thread of
// their own. What is written is collected until Flush. A call learns of its end in Flush, OnReady
// or EndLate, never within another function.

#include <google/protobuf/message.h>
#include <netdb.h>
#include <nghttp2/nghttp2.h>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/rpc/grpc_wire.h"
#include "server/rpc/poller.h"
#include "storage/base/monotonic_time.h"

namespace raftkv {

struct ChannelOptions {
  std::string address;  // host:port
  // From the beginning of an attempt until the peer has sent its settings. For each address of a
  // name.
  absl::Duration connect_max = absl::Seconds(1);
  absl::Duration ping_interval;    // after the last bytes of the peer
  absl::Duration ping_answer_max;  // from a ping until some bytes of the peer
  size_t message_bytes_max;        // of an answer
};

class Channel final : public Poller::Owner {
 public:
  // One call. Its owner derives from this class.
  class Call {
   public:
    Call() = default;
    Call(const Call&) = delete;
    Call& operator=(const Call&) = delete;
    // An open call is cancelled, without OnEnd.
    virtual ~Call();

   protected:
    virtual void OnMessage(const std::string& bytes) = 0;
    // The call may delete itself.
    virtual void OnEnd(const absl::Status& status) = 0;
    // MayWrite was false and may be true now. May write, but neither start nor end a call.
    virtual void OnWritable() {}

    // From Channel::Start until OnEnd.
    bool open() const { return channel_ != nullptr; }
    // The peer gets what is written now, unless the connection is lost; and the channel does not
    // hold too many bytes of this call.
    bool MayWrite();
    void Write(const google::protobuf::Message& message);
    // No more messages follow.
    void HalfClose();
    // Ends the call with CANCELLED.
    void Cancel();

   private:
    friend class Channel;

    Channel* channel_ = nullptr;
    int32_t stream_ = 0;
    MonotonicTime deadline_ = MonotonicTime::InfiniteFuture();
    std::deque<std::string> out_;  // pieces of messages
    size_t out_offset_ = 0;        // of the first piece: what was sent
    size_t unsent_ = 0;            // bytes in out_
    bool half_closed_ = false;
    std::unique_ptr<wire::MessageReader> reader_;
    size_t header_bytes_ = 0;
    int http_status_ = 0;
    int grpc_status_ = -1;  // has not arrived
    std::string grpc_message_;
  };

  Channel(ChannelOptions options, Poller* poller);
  // Ends all calls.
  ~Channel();

  // Connects, unless that is done or was tried just now.
  void Connect();
  bool ready() const { return state_ == State::kReady; }
  // Why no connection can be made, or was lost, in plain words; empty: it is not known, or there is
  // one.
  const std::string& failure() const { return failure_; }
  // It is not connected, though that was tried.
  bool failing() const { return !ready() && (state_ != State::kIdle || !failure_.empty()); }

  // Begins a call of "/package.Service/Method".
  void Start(Call* call, const char* method,
             MonotonicTime deadline = MonotonicTime::InfiniteFuture());
  size_t calls() const { return calls_.size() + ended_.size(); }

  // Sends what was written.
  void Flush();
  // Call it every few milliseconds: ends what is late, and sends pings.
  void EndLate(MonotonicTime now);

  void OnReady() override;

 private:
  enum class State {
    kIdle,
    kLookingUp,   // the name
    kConnecting,  // TCP
    kGreeting,    // until the peer's settings
    kReady,
  };
  struct Callbacks;  // of nghttp2
  struct LookUp;

  void BeginSession();
  void BeginRound();
  void BeginLookUp();
  void TakeLookUp();
  void Dial();
  void OnDialed(int error);
  void NextAddress(std::string why);
  bool Receive();
  std::string WhyEnded() const;
  bool FillOut();
  void Send();
  void WakeWriters();
  void Ping(MonotonicTime now);
  void Lose(std::string why);
  void End(Call* call, absl::Status status);
  void Forget(Call* call);
  void Cancel(Call* call, absl::Status status);
  void RunEnds();

  const ChannelOptions options_;
  Poller* const poller_;
  State state_ = State::kIdle;
  std::string failure_;
  MonotonicTime retry_at_ = MonotonicTime::InfinitePast();
  MonotonicTime connect_by_ = MonotonicTime::InfiniteFuture();
  std::shared_ptr<LookUp> look_up_;
  std::vector<std::pair<std::string, int>> addresses_;  // bytes of a sockaddr, and its family
  size_t address_ = 0;                                  // that is tried
  std::string round_failure_;                           // the first one of this round of addresses
  MonotonicTime looked_up_at_ = MonotonicTime::InfinitePast();
  int fd_ = -1;
  bool watches_writing_ = false;
  bool writers_wait_ = false;  // some call wants to write
  bool goes_away_ = false;     // the peer has said so
  nghttp2_session* session_ = nullptr;
  std::map<int32_t, Call*> calls_;
  std::vector<int32_t> ended_by_peer_;                // streams of which it sends no more
  std::deque<std::pair<Call*, absl::Status>> ended_;  // and OnEnd was not called yet
  MonotonicTime heard_at_ = MonotonicTime::InfinitePast();
  MonotonicTime pinged_at_ = MonotonicTime::InfinitePast();  // since heard_at_; else the past
  std::string first_bytes_;                                  // of the peer, until its settings
  std::string out_;                                          // to be sent, from sent_ on
  size_t sent_ = 0;
};

}  // namespace raftkv

#endif  // RAFTKV_SERVER_PEER_CHANNEL_H_
