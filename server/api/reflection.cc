// grpc.reflection.v1 and v1alpha: which services there are, and the .proto files that describe
// them, so that tools such as grpcurl need no .proto files.

#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor.pb.h>

#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "proto/etcd/reflection.pb.h"
#include "server/api/edge.h"

namespace raftkv::api {

namespace {

using google::protobuf::DescriptorPool;
using google::protobuf::FileDescriptor;
using google::protobuf::Message;
using grpc::reflection::v1::ErrorResponse;
using grpc::reflection::v1::FileDescriptorResponse;
using grpc::reflection::v1::ServerReflectionRequest;
using grpc::reflection::v1::ServerReflectionResponse;

constexpr int kReflectionStreamsMax = 1024;

// Adds the file and what it imports, each once.
void AddFile(const FileDescriptor* file, std::set<const FileDescriptor*>* added,
             FileDescriptorResponse* to) {
  if (!added->insert(file).second) return;
  google::protobuf::FileDescriptorProto proto;
  file->CopyTo(&proto);
  proto.SerializeToString(to->add_file_descriptor_proto());
  for (int i = 0; i < file->dependency_count(); ++i) AddFile(file->dependency(i), added, to);
}

void SetError(absl::StatusCode code, const std::string& text, ServerReflectionResponse* response) {
  ErrorResponse* error = response->mutable_error_response();
  error->set_error_code(static_cast<int>(code));
  error->set_error_message(text);
}

void SetFile(const FileDescriptor* file, const std::string& wanted,
             ServerReflectionResponse* response) {
  if (file == nullptr) {
    return SetError(absl::StatusCode::kNotFound, "not found: " + wanted, response);
  }
  std::set<const FileDescriptor*> added;
  AddFile(file, &added, response->mutable_file_descriptor_response());
}

using Services = std::set<std::string>;

ServerReflectionResponse Answer(const Services& services, const ServerReflectionRequest& request) {
  const DescriptorPool& pool = *DescriptorPool::generated_pool();
  ServerReflectionResponse response;
  response.set_valid_host(request.host());
  *response.mutable_original_request() = request;
  switch (request.message_request_case()) {
    case ServerReflectionRequest::kListServices:
      for (const std::string& name : services) {
        response.mutable_list_services_response()->add_service()->set_name(name);
      }
      break;
    case ServerReflectionRequest::kFileByFilename:
      SetFile(pool.FindFileByName(request.file_by_filename()), request.file_by_filename(),
              &response);
      break;
    case ServerReflectionRequest::kFileContainingSymbol: {
      const std::string& symbol = request.file_containing_symbol();
      SetFile(pool.FindFileContainingSymbol(symbol), symbol, &response);
      break;
    }
    case ServerReflectionRequest::kAllExtensionNumbersOfType: {
      const std::string& type = request.all_extension_numbers_of_type();
      if (pool.FindMessageTypeByName(type) == nullptr) {
        SetError(absl::StatusCode::kNotFound, "not found: " + type, &response);
      } else {
        response.mutable_all_extension_numbers_response()->set_base_type_name(type);  // no numbers
      }
      break;
    }
    case ServerReflectionRequest::kFileContainingExtension:
      SetError(absl::StatusCode::kNotFound, "there are no extensions", &response);
      break;
    case ServerReflectionRequest::MESSAGE_REQUEST_NOT_SET:
      SetError(absl::StatusCode::kInvalidArgument, "unknown request", &response);
  }
  return response;
}

// One stream. Each request is answered before the next one is read.
class Reflection final : public StreamHandler {
 public:
  Reflection(std::shared_ptr<const Services> services, std::shared_ptr<int> streams,
             StreamCall* stream)
      : services_(std::move(services)), streams_(std::move(streams)), stream_(stream) {
    ++*streams_;
  }
  ~Reflection() override { --*streams_; }

  absl::Status OnRequest(Message* request) override {
    if (*streams_ > kReflectionStreamsMax) return TooManyRequests();
    answer_ = Answer(*services_, *static_cast<ServerReflectionRequest*>(request));
    Send();
    return absl::OkStatus();
  }
  bool WantsRequest() const override { return !answer_; }
  bool OnLastRequest() override {
    last_ = true;
    return answer_.has_value();
  }
  void OnWritable() override { Send(); }

 private:
  void Send() {
    if (!answer_ || !stream_->writable()) return;
    stream_->Write(*std::exchange(answer_, std::nullopt), /*more_follow=*/false);
    if (last_) stream_->Finish(absl::OkStatus());
  }

  const std::shared_ptr<const Services> services_;
  const std::shared_ptr<int> streams_;
  StreamCall* const stream_;
  std::optional<ServerReflectionResponse> answer_;  // to be written
  bool last_ = false;                               // the client sends no more requests
};

}  // namespace

void AddReflection(const std::vector<std::string>& methods_served, Methods* methods) {
  const auto services = std::make_shared<Services>();
  for (const std::string& name : methods_served) {  // "/package.Service/Method"
    services->insert(name.substr(1, name.rfind('/') - 1));
  }
  const auto streams = std::make_shared<int>(0);
  for (const char* package : {"grpc.reflection.v1", "grpc.reflection.v1alpha"}) {
    const std::string service = std::string(package) + ".ServerReflection";
    services->insert(service);
    StreamMethod method;
    method.name = "/" + service + "/ServerReflectionInfo";
    method.request = &ServerReflectionRequest::default_instance();
    method.open = [services, streams](StreamCall* stream) -> std::unique_ptr<StreamHandler> {
      return std::make_unique<Reflection>(services, streams, stream);
    };
    methods->streams.push_back(std::move(method));
  }
}

}  // namespace raftkv::api
