#ifndef RAFTKV_SERVER_PORT_STREAM_H_
#define RAFTKV_SERVER_PORT_STREAM_H_

// One HTTP/2 stream that carries a gRPC call, or one request over HTTP/1. The thread of its port
// and the thread of its handler share it. A connection creates it when the headers of the request
// have arrived. The fields below "the port's thread" are used on that thread only.

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/rpc/grpc_wire.h"
#include "storage/base/monotonic_time.h"

namespace raftkv::port {

class Connection;
class StreamOwner;

using Header = std::pair<std::string, std::string>;

struct GrpcStream {
  GrpcStream(int32_t the_id, Connection* of, size_t message_bytes_max)
      : id(the_id), connection(of), reader(message_bytes_max) {}

  // The request's headers that handlers read (Http2Connection::OnHeader). Constant once the owner
  // exists.
  std::vector<Header> metadata;
  MonotonicTime deadline = MonotonicTime::InfiniteFuture();
  std::string client_address;

  // From any thread. The client has cancelled the call, or its connection is closed.
  std::atomic<bool> gone{false};
  // For a stream of messages: the bytes of responses that were queued and not sent, and of requests
  // that were delivered and not handled. From any thread.
  std::atomic<size_t> unsent{0};
  std::atomic<size_t> unhandled{0};
  // A request of this call was checked and not rejected: for a stream, by its handler; for a unary
  // call, by UnaryMethod::check. From any thread.
  std::atomic<bool> accepted{false};

  // The port's thread.
  const int32_t id;        // 0: over HTTP/1
  Connection* connection;  // null: the stream is closed
  std::unique_ptr<StreamOwner> owner;
  std::string method;  // the header :path
  std::string http_method;
  std::string content_type;
  std::string encoding;
  std::string timeout;
  size_t header_bytes = 0;
  wire::MessageReader reader;
  size_t unconsumed = 0;  // bytes that were read and are not yet given back to flow control
  bool requests_ended = false;
  bool end_delivered = false;
  bool answering = false;  // the response's headers were submitted
  bool ended = false;      // the status is queued: nothing may follow
  bool not_grpc = false;   // answered as plain HTTP
  bool dropped = false;    // queued bytes are not sent any more
  std::deque<std::string> out;
  size_t out_offset = 0;  // bytes of out.front() that were sent
  std::vector<Header> trailers;
  MonotonicTime opened;
  MonotonicTime partial_since;  // of the request that is not complete (reader.partial())
  MonotonicTime sent_by;        // the time until which the answer must have been sent
};

// Serves one stream, on the port's thread. If a function returns an error, the stream ends with it.
class StreamOwner {
 public:
  virtual ~StreamOwner() = default;
  // Whether OnMessage may be called now. If not, flow control stops the client, until a
  // StreamCommand with `deliver`.
  virtual bool WantsMessage() const = 0;
  virtual absl::Status OnMessage(std::string message) = 0;
  // No more requests follow. `damaged`: the last one is not complete.
  virtual absl::Status OnRequestsEnd(bool damaged) = 0;
  // `bytes` bytes of messages were sent.
  virtual void OnSent(size_t bytes) = 0;
  // The stream is closed, by either side. No other function is called after this one.
  virtual void OnClosed() = 0;
  // Called every second. True: the stream takes too long and is reset.
  virtual bool IsLate(MonotonicTime now) const = 0;
};

// A command of another thread for a stream.
struct StreamCommand {
  std::shared_ptr<GrpcStream> stream;
  wire::Pieces message = {};                // to send, if not empty
  std::optional<absl::Status> status = {};  // to send after all messages; ends the stream
  std::vector<Header> trailers = {};        // sent with the status
  bool cancel = false;                      // end the stream at once, without a status
  bool deliver = false;                     // the owner wants messages again

  // JSON over HTTP/1 (json_gateway.h). `request`: a request as protobuf, or why it is not one.
  // `charge`: releases the memory that is charged for it. `is_json`: the message is JSON;
  // `counted`: its bytes before that, for CommandQueue::unsent_bytes.
  std::optional<absl::StatusOr<std::string>> request = {};
  std::shared_ptr<void> charge = {};
  bool is_json = false;
  size_t counted = 0;
};

// The bytes of the command's message that CommandQueue::unsent_bytes contains.
inline size_t UnsentBytes(const StreamCommand& command) {
  size_t bytes = command.counted;
  if (command.is_json) return bytes;
  for (const std::string& piece : command.message) bytes += piece.size();
  return bytes;
}

// A response over HTTP/2, which takes little time to send. With any other command, the connection
// may go on to parse requests that it has read before.
inline bool IsResponse(const StreamCommand& command) {
  const bool http1 = command.stream->id == 0;
  return !http1 && !command.deliver && !command.request.has_value();
}

}  // namespace raftkv::port

#endif  // RAFTKV_SERVER_PORT_STREAM_H_
