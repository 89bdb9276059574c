// What clients and peers send to a port: the connections, calls and JSON gateway of the server,
// with the limits that it sets, behind one end of a pair of sockets. Everything but the conversion
// of JSON runs on one thread, in virtual time. At the end of a connection nothing of it may be left
// in the port's counters.

#include "server/port/port.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/util/message_differencer.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "proto/etcd/rpc.pb.h"
#include "proto/http.pb.h"
#include "proto/raft.pb.h"
#include "server/port/calls.h"
#include "server/port/http1_connection.h"
#include "server/port/http2_connection.h"
#include "server/port/json_gateway.h"
#include "server/rpc/event_queue.h"
#include "tests/fuzz/input.h"
#include "tests/fuzz/targets.h"

namespace raftkv::fuzz {
namespace {

using google::protobuf::Message;
using port::GrpcStream;
using port::JsonGateway;
using port::StreamCommand;

// --- what is served

// A server with calls of each kind: answered at once, answered later, with an error, and streams.
class Service {
 public:
  Methods OfClients() {
    Methods methods;
    methods.unary.push_back({.name = "/etcdserverpb.KV/Range",
                             .request = &etcdserverpb::RangeRequest::default_instance(),
                             .response = &etcdserverpb::RangeResponse::default_instance(),
                             .handler = OnRange});
    methods.unary.push_back({.name = "/etcdserverpb.KV/Put",
                             .request = &etcdserverpb::PutRequest::default_instance(),
                             .response = &etcdserverpb::PutResponse::default_instance(),
                             .check = CheckPut,
                             .handler = [this](UnaryCall* call) { later_.push_back(call); }});
    methods.unary.push_back({.name = "GET /health",
                             .request = &proto::HttpRequest::default_instance(),
                             .response = &proto::HttpAnswer::default_instance(),
                             .handler = OnPage});
    methods.streams.push_back(
        Row<etcdserverpb::WatchRequest, etcdserverpb::WatchResponse>("/etcdserverpb.Watch/Watch"));
    methods.streams.push_back(Row<etcdserverpb::SnapshotRequest, etcdserverpb::SnapshotResponse>(
        "/etcdserverpb.Maintenance/Snapshot"));
    methods.streams.back().one_request = true;
    methods.streams.back().first_request.wait = absl::Seconds(10);
    return methods;
  }

  Methods OfPeers() {
    Methods methods;
    methods.fields_max = 100'000;
    methods.unary.push_back({.name = "/raftkv.proto.Raft/Hello",
                             .request = &proto::HelloRequest::default_instance(),
                             .response = &proto::HelloResponse::default_instance(),
                             .check = CheckHello,
                             .handler = [this](UnaryCall* call) { later_.push_back(call); }});
    methods.streams.push_back(Row<proto::AppendEntriesRequest, proto::AppendEntriesResponse>(
        "/raftkv.proto.Raft/AppendEntries"));
    methods.streams.back().first_request = {.wait = absl::Seconds(10), .streams = 4};
    return methods;
  }

  // Answers the calls that wait.
  void AnswerLater() {
    for (UnaryCall* call : std::exchange(later_, {})) {
      call->Finish(call->gone() ? absl::CancelledError("the client has gone") : absl::OkStatus());
    }
  }

 private:
  // Answers each request, and takes no further one while two answers wait.
  template <typename Request, typename Response>
  class Handler final : public StreamHandler {
   public:
    explicit Handler(StreamCall* stream) : stream_(stream) {}
    absl::Status OnRequest(Message* request) override {
      constexpr bool kSnapshot = std::is_same_v<Request, etcdserverpb::SnapshotRequest>;
      if (!kSnapshot && request->ByteSizeLong() == 0) {  // that of a snapshot has no fields
        return absl::InvalidArgumentError("an empty request");
      }
      for (size_t i = 0; i < (kSnapshot ? 5 : 1); ++i) waiting_.emplace_back();
      OnWritable();
      return absl::OkStatus();
    }
    bool WantsRequest() const override { return waiting_.size() < 2; }
    void OnWritable() override {
      if (waiting_.empty() || !stream_->writable()) return;
      const Response response = std::move(waiting_.front());
      waiting_.pop_front();
      stream_->Write(response, false);
    }

   private:
    StreamCall* const stream_;
    std::deque<Response> waiting_;
  };

  template <typename Request, typename Response>
  static StreamMethod Row(const char* name) {
    StreamMethod method;
    method.name = name;
    method.request = &Request::default_instance();
    method.open = [](StreamCall* stream) {
      return std::make_unique<Handler<Request, Response>>(stream);
    };
    return method;
  }

  // The answer may be large, so that it waits for the client's windows.
  static void OnRange(UnaryCall* call) {
    const Unary<etcdserverpb::RangeRequest, etcdserverpb::RangeResponse> range(call);
    auto& kv = *range.response()->add_kvs();
    kv.set_key(range.request().key());
    kv.set_value(std::string(std::clamp<int64_t>(range.request().limit(), 0, 1 << 20), 'v'));
    range.Finish(absl::OkStatus());
  }
  static absl::Status CheckPut(const Message& request) {
    const auto& put = static_cast<const etcdserverpb::PutRequest&>(request);
    if (!put.value().empty()) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat("no value for ", put.key()));
  }
  static absl::Status CheckHello(const Message& request) {
    const auto& hello = static_cast<const proto::HelloRequest&>(request);
    return hello.peer().from() != 0 ? absl::OkStatus() : absl::FailedPreconditionError("nobody");
  }
  static void OnPage(UnaryCall* call) {
    const Unary<proto::HttpRequest, proto::HttpAnswer> page(call);
    page.response()->set_status(page.request().query().empty() ? 200 : 503);
    page.response()->set_content_type("text/plain");
    page.response()->set_body(page.request().query());
    page.Finish(absl::OkStatus());
  }

  std::vector<UnaryCall*> later_;
};

port::PortOptions OptionsOf(bool for_peers) {
  port::PortOptions options;
  if (!for_peers) return options;
  // As in MakePeerPortOptions, which would bring the whole server into the fuzzer, but for the
  // numbers of connections, streams and calls of the port (there is one connection), the limit of a
  // message (here that of clients) and `vanished` (a pair of sockets has no such option).
  options.request_bytes_max = 512 << 20;
  options.connection.for_peers = true;
  options.connection.metadata_bytes_max = 16 << 10;
  options.connection.streams_max = 64;
  options.connection.stream_window = 8 << 20;
  options.connection.connection_window = 16 << 20;
  options.connection.resets_burst = 100;
  options.connection.resets_rate = 10;
  options.connection.gzip = false;
  return options;
}

// --- what the server sends must make sense

// The frames of HTTP/2: nothing follows on a stream after its end.
void CheckFrames(std::string_view sent) {
  constexpr size_t kHead = 9;
  constexpr uint8_t kData = 0, kHeaders = 1, kReset = 3, kTypesEnd = 10, kEndStream = 1;
  std::map<uint32_t, bool> ended;
  while (sent.size() >= kHead) {
    const auto byte = [&](size_t i) { return static_cast<uint8_t>(sent[i]); };
    const size_t bytes = size_t{byte(0)} << 16 | size_t{byte(1)} << 8 | byte(2);
    const uint8_t type = byte(3);
    const uint32_t stream = (uint32_t{byte(5)} << 24 | uint32_t{byte(6)} << 16 |
                             uint32_t{byte(7)} << 8 | uint32_t{byte(8)}) &
                            0x7fffffff;
    CHECK_LT(type, kTypesEnd);
    if (type == kData || type == kHeaders) {
      CHECK_EQ(stream % 2, 1u) << "a client's streams have odd numbers";
      CHECK(!std::exchange(ended[stream], (byte(4) & kEndStream) != 0))
          << "stream " << stream << " goes on after its end";
    } else if (type == kReset) {
      ended[stream] = true;
    }
    sent.remove_prefix(std::min(sent.size(), kHead + bytes));
  }
}

// The answers of HTTP/1, one after the other.
void CheckAnswers(std::string_view sent) {
  constexpr std::string_view kBegin = "HTTP/1.1 ", kEnd = "\r\n\r\n", kLength = "Content-Length: ";
  while (!sent.empty()) {
    if (sent.size() < kBegin.size()) return;
    CHECK(sent.starts_with(kBegin)) << sent;
    const size_t end = sent.find(kEnd);
    if (end == std::string_view::npos) return;  // the connection was closed before its end
    const std::string_view head = sent.substr(0, end + kEnd.size());
    sent.remove_prefix(head.size());
    if (head.starts_with("HTTP/1.1 100 ")) continue;
    const size_t at = head.find(kLength);
    if (at == std::string_view::npos) return;  // in chunks, or up to the end of the connection
    size_t bytes = 0;
    const size_t number = at + kLength.size();
    CHECK(absl::SimpleAtoi(std::string(head.substr(number, head.find('\r', number) - number)),
                           &bytes));
    if (sent.starts_with(kBegin)) continue;  // the answer to HEAD has no body
    sent.remove_prefix(std::min(sent.size(), bytes));
  }
}

// --- a port with one connection

class FuzzedPort final : private port::Router {
 public:
  explicit FuzzedPort(bool for_peers)
      : options_(OptionsOf(for_peers)),
        command_queue_(options_.request_bytes_max,
                       static_cast<int64_t>(options_.connection.message_bytes_max)),
        events_([] {}) {
    group_.methods = for_peers ? service_.OfPeers() : service_.OfClients();
    group_.events = &events_;
    group_.command_queue = &command_queue_;
    for (const UnaryMethod& method : group_.methods.unary) unary_[method.name] = &method;
    for (const StreamMethod& method : group_.methods.streams) streaming_[method.name] = &method;
    if (for_peers) return;
    json_ = std::make_unique<JsonGateway>(&command_queue_);
    json_->Add({{"/v3/kv/range", "/etcdserverpb.KV/Range"},
                {"/v3/kv/put", "/etcdserverpb.KV/Put"},
                {"/v3/watch", "/etcdserverpb.Watch/Watch"},
                {"/v3/maintenance/snapshot", "/etcdserverpb.Maintenance/Snapshot"}});
  }

  // Serves one connection. Its client sends `input` in pieces (ConnectionBits).
  void Run(uint8_t how, size_t piece, std::string_view input);

  // Passes the body through the gateway's converter and back.
  void RunJson(std::string_view input);

 private:
  absl::Status Open(const std::shared_ptr<GrpcStream>& stream) override {
    if (const auto unary = unary_.find(stream->method); unary != unary_.end()) {
      stream->owner = port::NewUnaryOwner(&group_, unary->second, stream);
    } else if (const auto row = streaming_.find(stream->method); row != streaming_.end()) {
      stream->owner = port::NewStreamOwner(&group_, row->second, stream);
    } else {
      return absl::UnimplementedError(stream->method);
    }
    return absl::OkStatus();
  }
  bool AdmitStream(bool /*of_stranger*/) override {
    ++streams_;
    CHECK_LE(streams_, options_.connection.streams_max + 1);
    return true;
  }
  void OnStreamClosed() override { --streams_; }
  bool ChangeRequestBytes(int64_t change, int64_t of_stream, int64_t of_connection,
                          bool stranger) override {
    return command_queue_.ChargeRequest(change, of_stream, of_connection, stranger);
  }
  void OnSent(size_t bytes) override {
    CHECK_GE(command_queue_.unsent_bytes, bytes);
    command_queue_.unsent_bytes -= bytes;
  }
  bool HasPage(const std::string& path) const override {
    return unary_.contains(absl::StrCat(kPage, path));
  }
  JsonGateway* json() override { return json_.get(); }

  // Serves everything that can be served now.
  void Serve();
  bool RunEvents();
  bool RunCommands();
  std::vector<StreamCommand> TakeCommands();
  // What the client has got. Empty: nothing is there.
  std::string Receive() const;
  void CheckNothingIsLeft();
  bool NothingIsCharged();
  // Waits for the next command of the gateway.
  StreamCommand AwaitCommand();

  const port::PortOptions options_;
  port::CommandQueue command_queue_;
  EventQueue events_;
  Service service_;
  port::Group group_;
  std::map<std::string, const UnaryMethod*> unary_;
  std::map<std::string, const StreamMethod*> streaming_;
  std::unique_ptr<JsonGateway> json_;  // null: for peers
  size_t streams_ = 0;

  MonotonicTime now_;
  std::unique_ptr<port::Connection> connection_;
  bool http1_ = false;
  int client_ = -1;
  bool reads_ = true;
  std::optional<int> rounds_max_;  // of Serve; then the client has gone
  std::string sent_;               // by the server
};

bool FuzzedPort::RunEvents() {
  bool any = false;
  do {  // so that a stream writes several answers before the connection gets the first one
    events_.Push(std::exchange(group_.new_events, {}));
    while (events_.RunNext()) any = true;
  } while (!group_.new_events.empty());
  return any;
}

StreamCommand FuzzedPort::AwaitCommand() {
  std::vector<StreamCommand> commands;
  while (commands.empty()) {
    pollfd wake = {.fd = command_queue_.wake_fd(), .events = POLLIN, .revents = 0};
    poll(&wake, 1, -1);
    commands = command_queue_.Take();
  }
  CHECK_EQ(commands.size(), 1u);
  return std::move(commands.front());
}

// The gateway converts in order, on its thread. So it is idle when it has converted one more
// request.
std::vector<StreamCommand> FuzzedPort::TakeCommands() {
  std::vector<StreamCommand> commands = command_queue_.Take();
  if (!http1_ || json_ == nullptr) return commands;
  static const auto* const mark = new std::shared_ptr<GrpcStream>(
      std::make_shared<GrpcStream>(/*the_id=*/0, nullptr, /*message_bytes_max=*/0));
  json_->ConvertRequest(*mark, json_->Find("/v3/kv/range"), "{}");
  for (bool idle = false; !idle;) {
    pollfd wake = {.fd = command_queue_.wake_fd(), .events = POLLIN, .revents = 0};
    poll(&wake, 1, -1);
    for (StreamCommand& command : command_queue_.Take()) {
      if (command.stream == *mark) {
        idle = true;
      } else {
        commands.push_back(std::move(command));
      }
    }
  }
  return commands;
}

bool FuzzedPort::RunCommands() {
  std::vector<StreamCommand> commands = TakeCommands();
  for (StreamCommand& command : commands) {
    if (command.stream->connection == nullptr) {
      OnSent(UnsentBytes(command));
    } else {
      command.stream->connection->Execute(&command);
    }
  }
  return !commands.empty();
}

std::string FuzzedPort::Receive() const {
  static std::array<char, 64 << 10> buffer;
  const ssize_t got = recv(client_, buffer.data(), buffer.size(), 0);
  return got > 0 ? std::string(buffer.data(), static_cast<size_t>(got)) : std::string();
}

void FuzzedPort::Serve() {
  for (int rounds = 0;; ++rounds) {
    CHECK_LT(rounds, 100'000) << "the connection is served without end";
    if (rounds == rounds_max_) connection_.reset();
    bool busy = RunEvents();
    busy |= RunCommands();
    if (connection_ != nullptr && !connection_->Write(now_)) connection_.reset();
    if (connection_ != nullptr && connection_->unwritten() && !connection_->socket_full()) {
      busy = true;
    }
    if (reads_) {
      for (std::string got = Receive(); !got.empty(); got = Receive()) {
        sent_ += got;
        busy = true;
      }
    }
    if (!busy) return;
  }
}

void FuzzedPort::CheckNothingIsLeft() {
  CHECK_EQ(streams_, 0u);
  CHECK_EQ(command_queue_.running, 0);
  CHECK_EQ(command_queue_.unsent_bytes, 0u);
  CHECK(group_.open_streams.empty() && group_.silent.empty() && events_.empty());
  // The thread of the gateway gives the bytes of its last request back soon.
  for (int tries = 0; !NothingIsCharged(); ++tries) {
    CHECK(json_ != nullptr && tries < 100'000) << "the bytes of requests that are charged";
    usleep(100);
  }
}

// Exactly the limit can be charged, and not one byte more.
bool FuzzedPort::NothingIsCharged() {
  const int64_t max = options_.request_bytes_max;
  const bool not_more = command_queue_.ChargeRequest(max, max, 0);
  const bool not_less = !command_queue_.ChargeRequest(1, max, 0);
  command_queue_.ReleaseRequest(max + 1);
  return not_more && not_less;
}

void FuzzedPort::Run(uint8_t how, size_t piece, std::string_view input) {
  std::array<int, 2> ends;
  PCHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends.data()) == 0);
  client_ = ends[0];
  reads_ = (how & kReadsLate) == 0;
  http1_ = (how & kPagesOnly) != 0;
  sent_.clear();
  Router* const router = this;
  if (http1_) {
    connection_ = std::make_unique<port::Http1Connection>(ends[1], "fuzzer", options_.connection,
                                                          router, now_, /*pages_only=*/true);
  } else {
    connection_ = std::make_unique<port::Http2Connection>(ends[1], "fuzzer", options_.connection,
                                                          router, now_);
  }
  while (!input.empty() && connection_ != nullptr) {
    if (!connection_->wants_read()) {  // it waits for an answer
      service_.AnswerLater();
      Serve();
      if (connection_ == nullptr || !connection_->wants_read()) break;
    }
    const std::string_view bytes = TakeBytes(&input, piece);
    if (send(client_, bytes.data(), bytes.size(), MSG_NOSIGNAL) < 0) break;
    const bool stops = input.empty() && (how & kPortStops) != 0;
    if (stops && connection_->introduced()) connection_->AnnounceGoaway();
    if (!connection_->Read(now_)) {
      connection_ = connection_->Successor();
      http1_ |= connection_ != nullptr;
    }
    if (input.empty() && (how & kLeaves) != 0) rounds_max_ = static_cast<int>(piece / 16 % 8);
    Serve();
    rounds_max_.reset();
    if ((how & kSlow) == 0) continue;
    now_ = now_ + absl::Seconds(1);
    if (connection_ != nullptr && !connection_->EndLate(now_)) connection_.reset();
    service_.AnswerLater();
    Serve();
  }
  reads_ = true;
  if (connection_ != nullptr && (how & kPortStops) != 0) connection_->Goaway();
  if (http1_ && connection_ != nullptr && connection_->wants_read()) {
    shutdown(client_, SHUT_WR);  // and still waits for answers
    if (!connection_->Read(now_)) connection_.reset();
  }
  service_.AnswerLater();
  Serve();
  connection_.reset();  // as when the client closes the socket
  Serve();
  service_.AnswerLater();
  Serve();
  close(std::exchange(client_, -1));
  if (sent_.starts_with("HTTP/1.1 ")) {
    CheckAnswers(sent_);
  } else {
    CheckFrames(sent_);
  }
  CheckNothingIsLeft();
  now_ = now_ + absl::Minutes(10);
}

FuzzedPort& PortOf(bool for_peers) {
  static auto* const of_clients = new FuzzedPort(false);
  static auto* const of_peers = new FuzzedPort(true);
  return for_peers ? *of_peers : *of_clients;
}

// --- JSON

// The messages of etcd's API that are requests, by name.
const std::vector<const google::protobuf::Descriptor*>& RequestTypes() {
  static const auto* const types = [] {
    auto* all = new std::vector<const google::protobuf::Descriptor*>;
    const auto* file = etcdserverpb::RangeRequest::descriptor()->file();
    for (int i = 0; i < file->service_count(); ++i) {
      const auto* service = file->service(i);
      for (int j = 0; j < service->method_count(); ++j) {
        all->push_back(service->method(j)->input_type());
      }
    }
    return all;
  }();
  return *types;
}

// The length of the object at the beginning of `text`, by the rules of JSON for strings and braces.
// npos: its end is not there.
size_t ObjectBytes(std::string_view text) {
  int depth = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '"') {
      for (++i; i < text.size() && text[i] != '"'; ++i) i += text[i] == '\\' ? 1 : 0;
    } else if (text[i] == '{') {
      ++depth;
    } else if (text[i] == '}' && --depth == 0) {
      return i + 1;
    }
  }
  return std::string_view::npos;
}

// The objects in `body`, which arrives in pieces of `piece` bytes.
std::vector<std::string> Split(std::string_view body, size_t piece) {
  std::vector<std::string> objects;
  port::JsonObjects splitter;
  while (!body.empty()) {
    splitter.Append(TakeBytes(&body, piece));
    for (;;) {
      std::string object;
      const absl::StatusOr<bool> next = splitter.Next(&object);
      if (!next.ok()) return objects;
      if (!*next) break;
      CHECK_EQ(ObjectBytes(object), object.size()) << object;
      objects.push_back(std::move(object));
    }
  }
  return objects;
}

// A request that is converted to protobuf has the same meaning after it was converted to JSON and
// back.
void FuzzedPort::RunJson(std::string_view input) {
  const auto* type = RequestTypes()[TakeByte(&input) % RequestTypes().size()];
  // Only for this target: a method that answers with its request.
  const JsonGateway::Method method = {.name = "echo", .request = type, .response = type};
  const auto stream = std::make_shared<GrpcStream>(/*the_id=*/0, nullptr, /*message_bytes_max=*/0);
  const auto parse = [&](std::string object) -> std::unique_ptr<Message> {
    json_->ConvertRequest(stream, &method, std::move(object));
    const StreamCommand command = AwaitCommand();
    if (!command.request->ok()) return nullptr;
    std::unique_ptr<Message> message(
        google::protobuf::MessageFactory::generated_factory()->GetPrototype(type)->New());
    if (!wire::Parse(**command.request, SIZE_MAX, message.get())) return nullptr;
    return message;
  };
  const std::vector<std::string> objects = Split(input, input.size());
  CHECK(objects == Split(input, 1)) << "the objects depend on how their bytes arrive";
  for (const std::string& object : objects) {
    const std::unique_ptr<Message> message = parse(object);
    if (message == nullptr) continue;
    json_->ConvertAnswer(&method, {.stream = stream, .message = wire::Frame(*message)});
    const StreamCommand answer = AwaitCommand();
    CHECK(!answer.status) << *answer.status;
    std::string json;
    for (const std::string& text : answer.message) json += text;
    CHECK(Split(json, json.size()) == std::vector<std::string>{json}) << json;
    const std::unique_ptr<Message> again = parse(json);
    CHECK(again != nullptr) << json;
    CHECK(google::protobuf::util::MessageDifferencer::Equals(*again, *message)) << json;
  }
  CheckNothingIsLeft();
}

}  // namespace

void RunHttp2Connection(std::string_view input) {
  const uint8_t how = TakeByte(&input);
  const size_t piece = 16 * (1 + size_t{TakeByte(&input)});
  std::string bytes;
  if ((how & kIntroduced) != 0) {
    bytes = NGHTTP2_CLIENT_MAGIC;
    bytes.append("\0\0\0\4\0\0\0\0\0", 9);
  }
  bytes += input;
  PortOf((how & kPeerPort) != 0).Run(how & ~kPagesOnly, piece, bytes);
}

void RunHttp1Connection(std::string_view input) {
  const uint8_t how = TakeByte(&input);
  const size_t piece = 16 * (1 + size_t{TakeByte(&input)});
  const bool for_peers = (how & kPeerPort) != 0 && (how & kPagesOnly) == 0;
  PortOf(for_peers).Run(how, piece, input);
}

void RunJson(std::string_view input) { PortOf(/*for_peers=*/false).RunJson(input); }

}  // namespace raftkv::fuzz
