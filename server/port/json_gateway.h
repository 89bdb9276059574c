#ifndef RAFTKV_SERVER_PORT_JSON_GATEWAY_H_
#define RAFTKV_SERVER_PORT_JSON_GATEWAY_H_

// The methods of the API as JSON over HTTP/1: POST of a path with a request as JSON, answered with
// JSON. As in etcd's gateway: bytes are base64, 64-bit numbers are strings, fields have the names
// that they have in the .proto files, fields with their default are left out, and unknown fields of
// a request are ignored.
//
// Messages are converted on a thread of its own, one after the other, because a large one takes
// long. A connection gives it one request and one answer at a time. Messages of a connection that
// was closed meanwhile are dropped when their turn comes. A request is charged
// (CommandQueue::ChargeRequest) until its message is delivered.

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/port/calls.h"
#include "server/port/stream.h"
#include "server/rpc/method.h"
#include "server/workers.h"

namespace google::protobuf {
class Descriptor;
namespace util {
class TypeResolver;
}
}  // namespace google::protobuf

namespace raftkv::port {

class JsonGateway {
 public:
  struct Method {
    std::string name;  // "/package.Service/Method"
    bool many_requests = false;
    bool many_responses = false;
    const google::protobuf::Descriptor* request = nullptr;
    const google::protobuf::Descriptor* response = nullptr;
  };

  // A larger answer, before it is converted, ends with an error.
  static constexpr size_t kAnswerBytesMax = 32 << 20;

  // `command_queue` must outlive this.
  explicit JsonGateway(CommandQueue* command_queue);
  ~JsonGateway();

  // Methods that are not in the program's .proto files are left out.
  void Add(const std::vector<JsonRoute>& routes);
  // Null: there is no such path.
  const Method* Find(const std::string& path) const;

  // Posts a StreamCommand with the request as protobuf, or with the reason why it cannot be
  // converted.
  void ConvertRequest(std::shared_ptr<GrpcStream> stream, const Method* method, std::string json);
  // Posts the command again, with its message as JSON.
  void ConvertAnswer(const Method* method, StreamCommand command);

  // Converts the queued messages. Nothing may be converted afterwards.
  void Stop() { worker_.Stop(); }

 private:
  CommandQueue* const command_queue_;
  const std::unique_ptr<google::protobuf::util::TypeResolver> types_;
  absl::flat_hash_map<std::string, Method> methods_;  // by path
  Workers worker_;
};

// The HTTP status of a gRPC code, as in etcd's gateway.
int HttpStatusOf(absl::StatusCode code);
// The body of an error. `in_stream`: it follows other messages of a stream.
std::string JsonError(const absl::Status& status, bool in_stream);

// Splits the bytes of a body into JSON objects, which may follow each other.
class JsonObjects {
 public:
  void Append(std::string_view bytes) { bytes_.append(bytes); }
  // Moves the next object into `object`. False: it is not complete. InvalidArgument: what follows
  // is not an object.
  absl::StatusOr<bool> Next(std::string* object);
  size_t bytes() const { return bytes_.size(); }

 private:
  std::string bytes_;
  size_t scanned_ = 0;
  int depth_ = 0;
  bool in_string_ = false;
  bool escaped_ = false;
};

}  // namespace raftkv::port

#endif  // RAFTKV_SERVER_PORT_JSON_GATEWAY_H_
