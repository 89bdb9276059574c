// One call on its way through the endpoints: connects, asks, and judges the answers, until one
// counts or nobody is left. Made by Client for each call, used by its thread alone; all of it
// happens on one completion queue, within the call's time.
//
// Endpoints have their turn in the order given. The first gets a head start to connect; while it is
// not up, the next begins to connect beside it, and so on, and the first that is up is asked. So an
// endpoint that is stopped costs a head start, not the time to give it up.
//
// A write is with one endpoint at a time, and moves on only when it is known to have had no effect.
// A read that has not been answered in a while is asked of a further endpoint as well, and the
// first answer counts. When each has had its turn, one gets a second: the connection of its first
// may just have been lost.
#ifndef RAFTKV_CLIENT_RACE_H_
#define RAFTKV_CLIENT_RACE_H_

#include <grpcpp/client_context.h>
#include <grpcpp/completion_queue.h>
#include <grpcpp/support/async_unary_call.h>
#include <grpcpp/support/byte_buffer.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/endpoint.h"
#include "client/failure.h"

namespace raftkv::client {

struct RaceRules {
  Kind kind;
  const char* name;  // of the call, as KV.Range
  absl::Duration dial_timeout;
  absl::Duration request_timeout;
};

class Race {
 public:
  // The endpoint numbered `first` has the first turn. All of it outlives the race.
  Race(const RaceRules& rules, const std::vector<std::unique_ptr<Endpoint>>& endpoints,
       size_t first, const grpc::ByteBuffer& request);
  ~Race();  // takes back what is still under way
  Race(const Race&) = delete;
  Race& operator=(const Race&) = delete;

  absl::StatusOr<grpc::ByteBuffer> Run();
  // After Run(): the number of the endpoint that the next call should begin with.
  size_t next_first() const { return next_first_; }

 private:
  struct Attempt;
  // What the queue tells about: a connection, or the answer to an attempt.
  struct Event {
    size_t lane;
    Attempt* attempt;  // null: the connection
  };
  struct Lane {
    Endpoint* endpoint;
    Event news;
    std::unique_ptr<Dial> dial = nullptr;  // while it connects
    bool had_turn = false;
    bool asked = false;
    bool silent = false;  // it took a call and did not answer in time
  };
  struct Attempt {
    Event answered;
    std::shared_ptr<Connection> connection;
    grpc::ClientContext context;
    std::unique_ptr<grpc::ClientAsyncResponseReader<grpc::ByteBuffer>> reader;
    grpc::ByteBuffer response;
    grpc::Status status;
    bool done = false;
  };

  absl::Time BeginWhatIsDue();  // returns when more may be due
  bool MayAsk(absl::Time now) const;
  absl::Time NextAskAt() const;
  Lane* LaneForSecondTurn(absl::Time now, absl::Time* at);
  void Connect(Lane& lane, absl::Time now);
  void OnNews(Lane& lane);
  void Ask(Lane& lane);
  void OnAnswer(Attempt& attempt);
  void Decide(absl::StatusOr<grpc::ByteBuffer> result, size_t next_first);
  absl::Status NobodyLeft() const;
  absl::Status NoAnswer() const;

  const RaceRules rules_;
  const std::string path_;
  const grpc::ByteBuffer& request_;
  const size_t first_;
  const absl::Time begin_;
  const absl::Time deadline_;
  std::vector<Lane> lanes_;  // by their turn
  std::vector<std::unique_ptr<Attempt>> attempts_;
  grpc::CompletionQueue queue_;
  size_t events_ = 0;      // the queue owes
  size_t connecting_ = 0;  // lanes
  size_t calling_ = 0;     // attempts not answered
  absl::Time last_turn_ = absl::InfinitePast();
  bool second_turn_given_ = false;
  absl::Status said_;  // by the last endpoint that said anything
  std::optional<absl::StatusOr<grpc::ByteBuffer>> result_;
  size_t next_first_;
};

}  // namespace raftkv::client

#endif  // RAFTKV_CLIENT_RACE_H_
