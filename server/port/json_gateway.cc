#include "server/port/json_gateway.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/util/json_util.h>
#include <google/protobuf/util/type_resolver.h>
#include <google/protobuf/util/type_resolver_util.h>
#include <google/protobuf/wrappers.pb.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"

namespace raftkv::port {

namespace {

using google::protobuf::Descriptor;
using google::protobuf::util::TypeResolver;

constexpr char kTypePrefix[] = "type.googleapis.com";
constexpr size_t kWaitingMax = 1 << 20;
constexpr int64_t kRequestOverhead = 1 << 10;

std::string UrlOf(const Descriptor* type) {
  return absl::StrCat(kTypePrefix, "/", type->full_name());
}

// JSON is converted to bytes and back without a message in memory, which may be many times larger
// than the bytes.
absl::StatusOr<std::string> ToProtobuf(TypeResolver* types, const Descriptor* type,
                                       const std::string& json) {
  google::protobuf::util::JsonParseOptions options;
  options.ignore_unknown_fields = true;
  std::string bytes;
  const auto status =
      google::protobuf::util::JsonToBinaryString(types, UrlOf(type), json, &bytes, options);
  if (!status.ok()) return absl::InvalidArgumentError(std::string(status.message()));
  return bytes;
}

absl::StatusOr<std::string> ToJson(TypeResolver* types, const Descriptor* type,
                                   const wire::Pieces& pieces) {
  std::string bytes;
  for (const std::string& piece : pieces) bytes += piece;
  if (bytes.size() > JsonGateway::kAnswerBytesMax) {
    return absl::ResourceExhaustedError("etcdserver: response is too large for JSON");
  }
  bytes.erase(0, wire::kPrefixBytes);
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  std::string json;
  const auto status =
      google::protobuf::util::BinaryToJsonString(types, UrlOf(type), bytes, &json, options);
  if (!status.ok()) return absl::InternalError(std::string(status.message()));
  return json;
}

std::string Quoted(const std::string& text) {
  google::protobuf::StringValue value;
  value.set_value(text);
  std::string json;
  const auto status = google::protobuf::util::MessageToJsonString(value, &json);
  return status.ok() ? json : "\"\"";
}

}  // namespace

JsonGateway::JsonGateway(CommandQueue* command_queue)
    : command_queue_(command_queue),
      types_(google::protobuf::util::NewTypeResolverForDescriptorPool(
          kTypePrefix, google::protobuf::DescriptorPool::generated_pool())),
      worker_(/*threads=*/1, kWaitingMax) {}

JsonGateway::~JsonGateway() = default;

void JsonGateway::Add(const std::vector<JsonRoute>& routes) {
  const auto* pool = google::protobuf::DescriptorPool::generated_pool();
  for (const JsonRoute& route : routes) {
    std::string name = std::string(route.method).substr(1);  // "package.Service.Method"
    name.replace(name.rfind('/'), 1, ".");
    const auto* method = pool->FindMethodByName(name);
    if (method == nullptr) continue;
    methods_[route.path] = {.name = route.method,
                            .many_requests = method->client_streaming(),
                            .many_responses = method->server_streaming(),
                            .request = method->input_type(),
                            .response = method->output_type()};
  }
}

const JsonGateway::Method* JsonGateway::Find(const std::string& path) const {
  const auto it = methods_.find(path);
  return it == methods_.end() ? nullptr : &it->second;
}

void JsonGateway::ConvertRequest(std::shared_ptr<GrpcStream> stream, const Method* method,
                                 std::string json) {
  const int64_t bytes = static_cast<int64_t>(json.size()) + kRequestOverhead;
  bool accepted = command_queue_->ChargeRequest(bytes, bytes, bytes);
  const std::shared_ptr<void> charge(nullptr, [command_queue = command_queue_, bytes](void*) {
    command_queue->ReleaseRequest(bytes);
  });
  accepted = accepted && worker_.Run([this, stream, method, json = std::move(json), charge] {
    if (stream->gone.load(std::memory_order_relaxed)) return;
    command_queue_->Post({.stream = stream,
                          .request = ToProtobuf(types_.get(), method->request, json),
                          .charge = charge});
  });
  if (!accepted) command_queue_->Post({.stream = std::move(stream), .request = TooManyRequests()});
}

void JsonGateway::ConvertAnswer(const Method* method, StreamCommand command) {
  auto shared = std::make_shared<StreamCommand>(std::move(command));
  shared->counted = UnsentBytes(*shared);
  const bool accepted = worker_.Run([this, method, shared] {
    if (shared->stream->gone.load(std::memory_order_relaxed)) {
      shared->message.clear();
    } else if (!shared->message.empty()) {
      absl::StatusOr<std::string> json = ToJson(types_.get(), method->response, shared->message);
      shared->message.clear();
      if (json.ok()) {
        shared->message.push_back(*std::move(json));
      } else {
        shared->status = json.status();
      }
    }
    shared->is_json = true;
    command_queue_->Post(std::move(*shared));
  });
  if (accepted) return;
  shared->message.clear();
  shared->status = TooManyRequests();
  shared->is_json = true;
  command_queue_->Post(std::move(*shared));
}

int HttpStatusOf(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kOk:
      return 200;
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kOutOfRange:
    case absl::StatusCode::kFailedPrecondition:
      return 400;
    case absl::StatusCode::kUnauthenticated:
      return 401;
    case absl::StatusCode::kPermissionDenied:
      return 403;
    case absl::StatusCode::kNotFound:
      return 404;
    case absl::StatusCode::kCancelled:
      return 408;
    case absl::StatusCode::kAlreadyExists:
    case absl::StatusCode::kAborted:
      return 409;
    case absl::StatusCode::kResourceExhausted:
      return 429;
    case absl::StatusCode::kUnimplemented:
      return 501;
    case absl::StatusCode::kUnavailable:
      return 503;
    case absl::StatusCode::kDeadlineExceeded:
      return 504;
    default:
      return 500;
  }
}

std::string JsonError(const absl::Status& status, bool in_stream) {
  const std::string text = Quoted(std::string(status.message()));
  const int code = static_cast<int>(status.code());
  if (!in_stream) {
    return absl::StrCat("{\"error\":", text, ",\"message\":", text, ",\"code\":", code, "}");
  }
  return absl::StrCat("{\"error\":{\"grpc_code\":", code,
                      ",\"http_code\":", HttpStatusOf(status.code()), ",\"message\":", text, "}}");
}

absl::StatusOr<bool> JsonObjects::Next(std::string* object) {
  if (depth_ == 0) {
    bytes_.erase(0, bytes_.find_first_not_of(" \t\r\n"));
    scanned_ = 0;
    if (bytes_.empty()) return false;
    if (bytes_[0] != '{') return absl::InvalidArgumentError("a request must be a JSON object");
  }
  for (; scanned_ < bytes_.size(); ++scanned_) {
    const char c = bytes_[scanned_];
    if (std::exchange(escaped_, false)) continue;
    if (in_string_) {
      escaped_ = c == '\\';
      in_string_ = c != '"';
      continue;
    }
    in_string_ = c == '"';
    depth_ += (c == '{') - (c == '}');
    if (depth_ > 0) continue;
    *object = bytes_.substr(0, scanned_ + 1);
    bytes_.erase(0, scanned_ + 1);
    return true;
  }
  return false;
}

}  // namespace raftkv::port
