// One connection of the load generator to a gRPC service, for unary calls. It runs on the calling
// thread: nothing happens between its functions. With gRPC's own library a call takes as much CPU
// time as the service that is measured, and often both share the processors
// (docs/decisions/0030-load-generator.md).
//
// The owner calls Start and Flush, waits until fd() is ready, calls Receive and Flush, and takes
// the calls that have ended. If the connection is lost, its calls fail, and the next Start connects
// again.
#ifndef RAFTKV_CLIENT_BENCH_HTTP2_CHANNEL_H_
#define RAFTKV_CLIENT_BENCH_HTTP2_CHANNEL_H_

#include <google/protobuf/message_lite.h>
#include <grpcpp/support/status.h>
#include <netdb.h>
#include <nghttp2/nghttp2.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace raftkv::client {

class Http2Channel {
 public:
  // It must not be destroyed while it is in a channel. It may be used again when it has ended.
  class Call {
   public:
    const grpc::Status& status() const { return status_; }
    // Valid if the status is OK. Returns false if the message is malformed.
    bool Parse(google::protobuf::MessageLite* response) const;

   private:
    friend class Http2Channel;
    std::string request_;  // with the prefix of gRPC
    size_t sent_ = 0;      // of the request
    std::string response_;
    int32_t stream_ = 0;
    int http_status_ = 0;
    std::string grpc_status_;  // empty: it has not arrived
    std::string grpc_message_;
    grpc::Status status_;
  };

  // `address`: host:port. `timeout` is sent with each call; the owner must still cancel late ones.
  Http2Channel(std::string address, absl::Duration timeout);
  ~Http2Channel();
  Http2Channel(const Http2Channel&) = delete;
  Http2Channel& operator=(const Http2Channel&) = delete;

  const std::string& address() const { return address_; }

  // Connects, and waits until the service has sent its settings: the kernel accepts connections for
  // a stopped process, too. Call it first, and go on only if it succeeds. Looking up a name may
  // take longer than `timeout`.
  absl::Status Connect(absl::Duration timeout);

  // Begins a call of "/package.Service/Method".
  void Start(Call* call, const char* method, const google::protobuf::MessageLite& request);
  // Ends the call with DeadlineExceeded.
  void Cancel(Call* call);
  // Sends what the socket accepts.
  void Flush();
  // Reads what has arrived.
  void Receive();
  // Appends the calls that have ended since the last time.
  void TakeEnded(std::vector<Call*>* ended);

  int fd() const { return fd_; }  // -1: neither connected nor connecting
  // Poll for writing, then Flush. Always poll for reading.
  bool WantsToWrite() const { return connecting_ || sent_ < out_.size(); }

 private:
  struct Callbacks;  // of nghttp2

  absl::Status Resolve();
  absl::Status AwaitSettings(absl::Time deadline);
  bool Open();
  bool Connected();
  bool FillOut();
  void Lose(absl::string_view why);
  void End(Call* call, grpc::Status status);
  void OnEnd(Call* call, uint32_t http2_error);

  const std::string address_;
  const std::string timeout_;
  std::unique_ptr<addrinfo, void (*)(addrinfo*)> resolved_{nullptr, freeaddrinfo};
  const addrinfo* target_ = nullptr;  // in resolved_
  int fd_ = -1;
  bool connecting_ = false;
  bool settings_arrived_ = false;
  nghttp2_session* session_ = nullptr;
  absl::flat_hash_map<int32_t, Call*> calls_;
  std::vector<Call*> ended_;
  std::string out_;  // to be sent, from sent_ on
  size_t sent_ = 0;
};

}  // namespace raftkv::client

#endif  // RAFTKV_CLIENT_BENCH_HTTP2_CHANNEL_H_
