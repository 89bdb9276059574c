#include "server/peer/channel.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <system_error>
#include <thread>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "glog/logging.h"
#include "server/clock.h"

namespace raftkv {

namespace {

// The pause after an attempt to connect that failed, and after one to look a name up. It is short,
// because a restarted peer may be needed for a majority.
constexpr absl::Duration kRetryPause = absl::Milliseconds(200);
constexpr absl::Duration kLookUpPause = absl::Seconds(1);
// What may wait in the channel: of one call, and of frames for the socket.
constexpr size_t kUnsentBytesMax = 1 << 20;
constexpr size_t kOutBytes = 256 << 10;
// Small, so that the messages of one read fit into the member's inbox.
constexpr size_t kReadBytes = 16 << 10;
constexpr size_t kHeaderBytesMax = 16 << 10;  // of one answer
constexpr size_t kFirstBytes = 16;            // that are kept to name the cause
constexpr uint32_t kWindowBytes = 1 << 20;    // that a peer may send before it is read

constexpr char kClosed[] = "the other side closed it";
constexpr char kNotAnswering[] = "it does not answer any more";
constexpr char kNoAnswer[] = "no answer: its machine is down, or a firewall drops the connection";
constexpr char kNoMember[] =
    "it closes the connection: it expects TLS, is not a member of raftkv, or has too many "
    "connections";
constexpr char kHttp1[] = "it is not a member of raftkv: it answers in HTTP/1";
constexpr char kHangs[] =
    "it accepts connections, but does not answer: its process may be stopped or overloaded";

nghttp2_nv Field(std::string_view name, std::string_view value) {
  return {reinterpret_cast<uint8_t*>(const_cast<char*>(name.data())),
          reinterpret_cast<uint8_t*>(const_cast<char*>(value.data())), name.size(), value.size(),
          NGHTTP2_NV_FLAG_NONE};
}

std::string ConnectError(int error) {
  switch (error) {
    case ECONNREFUSED:
      return "connection refused: no process listens there";
    case ETIMEDOUT:
      return kNoAnswer;
    default:
      return std::strerror(error);
  }
}

std::string WhyNotFound(int error) {
  switch (error) {
    case EAI_AGAIN:
      return "its name cannot be looked up: no name server answers";
    case EAI_FAIL:
      return "its name cannot be looked up: the name server failed";
    case EAI_SYSTEM:
      return absl::StrCat("its name cannot be looked up: ", std::strerror(errno));
    default:
      return "its name is not found; check its URL and the name server";
  }
}

// The status of a call that ended without one of the peer (the table of the protocol "gRPC over
// HTTP/2").
absl::Status StatusOfReset(uint32_t error) {
  const std::string text = absl::StrCat("the call ended with ", nghttp2_http2_strerror(error));
  switch (error) {
    case NGHTTP2_REFUSED_STREAM:
      return absl::UnavailableError(text);
    case NGHTTP2_CANCEL:
      return absl::CancelledError(text);
    case NGHTTP2_ENHANCE_YOUR_CALM:
      return absl::ResourceExhaustedError(text);
    default:
      return absl::InternalError(text);
  }
}

}  // namespace

// A look-up of a name. It runs on a thread of its own, which nobody waits for: it may take many
// seconds.
struct Channel::LookUp {
  absl::Mutex mutex;
  bool done ABSL_GUARDED_BY(mutex) = false;
  std::string failure ABSL_GUARDED_BY(mutex);
  std::vector<std::pair<std::string, int>> addresses ABSL_GUARDED_BY(mutex);

  bool Run(const std::string& host, const std::string& port, int flags) {
    addrinfo hints = {};
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = flags;
    addrinfo* found = nullptr;
    const int error = getaddrinfo(host.c_str(), port.c_str(), &hints, &found);
    std::string why = error == 0 ? "" : WhyNotFound(error);
    absl::MutexLock lock(&mutex);
    done = true;
    failure = std::move(why);
    if (error != 0) return false;
    for (const addrinfo* each = found; each != nullptr; each = each->ai_next) {
      addresses.emplace_back(
          std::string(reinterpret_cast<const char*>(each->ai_addr), each->ai_addrlen),
          each->ai_family);
    }
    freeaddrinfo(found);
    return true;
  }
};

// nghttp2 calls these within Receive and Send.
struct Channel::Callbacks {
  // Null: the call has ended here.
  static Call* Find(void* user, int32_t stream) {
    const auto& calls = static_cast<Channel*>(user)->calls_;
    const auto found = calls.find(stream);
    return found == calls.end() ? nullptr : found->second;
  }

  static ssize_t ReadRequest(nghttp2_session* /*session*/, int32_t stream, uint8_t* to,
                             size_t bytes_max, uint32_t* flags, nghttp2_data_source* /*source*/,
                             void* user) {
    Call* const call = Find(user, stream);
    if (call == nullptr) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    size_t filled = 0;
    while (filled < bytes_max && !call->out_.empty()) {
      const std::string& piece = call->out_.front();
      const size_t bytes = std::min(bytes_max - filled, piece.size() - call->out_offset_);
      std::memcpy(to + filled, piece.data() + call->out_offset_, bytes);
      filled += bytes;
      call->out_offset_ += bytes;
      if (call->out_offset_ < piece.size()) break;
      call->out_.pop_front();
      call->out_offset_ = 0;
    }
    call->unsent_ -= filled;
    if (call->out_.empty() && call->half_closed_) {
      *flags |= NGHTTP2_DATA_FLAG_EOF;
    } else if (filled == 0) {
      return NGHTTP2_ERR_DEFERRED;
    }
    return static_cast<ssize_t>(filled);
  }

  static int OnData(nghttp2_session* /*session*/, uint8_t /*flags*/, int32_t stream,
                    const uint8_t* data, size_t size, void* user) {
    Call* call = Find(user, stream);
    if (call == nullptr) return 0;
    call->reader_->Append({reinterpret_cast<const char*>(data), size});
    std::string message;
    for (;;) {
      const absl::StatusOr<bool> complete = call->reader_->Next(&message);
      if (!complete.ok()) {
        static_cast<Channel*>(user)->Cancel(call, complete.status());
        return 0;
      }
      if (!*complete) return 0;
      call->OnMessage(message);
      if (Find(user, stream) == nullptr) return 0;  // it has cancelled the call
    }
  }

  static int OnHeader(nghttp2_session* /*session*/, const nghttp2_frame* frame, const uint8_t* name,
                      size_t name_size, const uint8_t* value, size_t value_size, uint8_t /*flags*/,
                      void* user) {
    const std::string_view key(reinterpret_cast<const char*>(name), name_size);
    const std::string_view text(reinterpret_cast<const char*>(value), value_size);
    Call* const call = Find(user, frame->hd.stream_id);
    if (call == nullptr) return 0;
    call->header_bytes_ += name_size + value_size;
    if (call->header_bytes_ > kHeaderBytesMax) {
      static_cast<Channel*>(user)->Cancel(
          call, absl::ResourceExhaustedError(absl::StrCat(
                    "the headers of the answer are larger than ", kHeaderBytesMax, " bytes")));
      return 0;
    }
    if (key == "grpc-status") {
      if (!absl::SimpleAtoi(std::string(text), &call->grpc_status_)) call->grpc_status_ = -1;
    } else if (key == "grpc-message") {
      call->grpc_message_ = wire::PercentDecode(text);
    } else if (key == ":status") {
      if (!absl::SimpleAtoi(std::string(text), &call->http_status_)) call->http_status_ = 0;
    }
    return 0;
  }

  static int OnFrame(nghttp2_session* /*session*/, const nghttp2_frame* frame, void* user) {
    auto* const channel = static_cast<Channel*>(user);
    if (frame->hd.type == NGHTTP2_SETTINGS && channel->state_ == State::kGreeting) {
      channel->state_ = State::kReady;
      channel->failure_.clear();
      channel->first_bytes_.clear();
    }
    if (frame->hd.type == NGHTTP2_GOAWAY) channel->goes_away_ = true;
    const bool of_call = frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA;
    if (of_call && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0) {
      channel->ended_by_peer_.push_back(frame->hd.stream_id);
    }
    return 0;
  }

  // Also of a call that nghttp2 does not send, because the peer has announced that it stops.
  static int OnClose(nghttp2_session* /*session*/, int32_t stream, uint32_t error, void* user) {
    Call* const call = Find(user, stream);
    if (call != nullptr) static_cast<Channel*>(user)->End(call, StatusOf(*call, error));
    return 0;
  }

  static absl::Status StatusOf(const Call& call, uint32_t error) {
    if (call.grpc_status_ >= 0) {
      return absl::Status(static_cast<absl::StatusCode>(call.grpc_status_), call.grpc_message_);
    }
    if (call.http_status_ == 0 || call.http_status_ == 200) return StatusOfReset(error);
    return absl::UnknownError(absl::StrCat("the answer has the HTTP status ", call.http_status_));
  }

  static const nghttp2_session_callbacks* Table() {
    static const nghttp2_session_callbacks* const table = [] {
      nghttp2_session_callbacks* made = nullptr;
      CHECK_EQ(nghttp2_session_callbacks_new(&made), 0);
      nghttp2_session_callbacks_set_on_data_chunk_recv_callback(made, OnData);
      nghttp2_session_callbacks_set_on_header_callback(made, OnHeader);
      nghttp2_session_callbacks_set_on_frame_recv_callback(made, OnFrame);
      nghttp2_session_callbacks_set_on_stream_close_callback(made, OnClose);
      return made;
    }();
    return table;
  }
};

// --- calls

Channel::Call::~Call() {
  if (channel_ != nullptr) channel_->Forget(this);
}

bool Channel::Call::MayWrite() {
  if (stream_ == 0) return false;  // it has ended
  // nghttp2 has the stream when it has sent the headers. It may still refuse to send them.
  const bool may = channel_->ready() && unsent_ < kUnsentBytesMax &&
                   nghttp2_session_find_stream(channel_->session_, stream_) != nullptr;
  if (!may) channel_->writers_wait_ = true;
  return may;
}

void Channel::Call::Write(const google::protobuf::Message& message) {
  if (stream_ == 0) return;
  for (std::string& piece : wire::Frame(message)) {
    unsent_ += piece.size();
    out_.push_back(std::move(piece));
  }
  nghttp2_session_resume_data(channel_->session_, stream_);
}

void Channel::Call::HalfClose() {
  if (stream_ == 0) return;
  half_closed_ = true;
  nghttp2_session_resume_data(channel_->session_, stream_);
}

void Channel::Call::Cancel() {
  if (open()) channel_->Cancel(this, absl::CancelledError("cancelled"));
}

void Channel::Start(Call* call, const char* method, MonotonicTime deadline) {
  CHECK(!call->open());
  // The peer has announced that it stops, or 2^30 calls were made.
  const bool refused = ready() && nghttp2_session_check_request_allowed(session_) == 0;
  if (refused && calls_.empty()) Lose(kClosed);
  Connect();
  call->channel_ = this;
  call->stream_ = 0;
  call->deadline_ = deadline;
  call->half_closed_ = false;
  call->header_bytes_ = 0;
  call->reader_ = std::make_unique<wire::MessageReader>(options_.message_bytes_max);
  call->http_status_ = 0;
  call->grpc_status_ = -1;
  call->grpc_message_.clear();
  if (session_ == nullptr) return End(call, absl::UnavailableError(failure_));
  if (refused && ready()) return End(call, absl::UnavailableError(kClosed));
  const std::array<nghttp2_nv, 7> headers = {
      Field(":method", "POST"),     Field(":scheme", "http"),
      Field(":path", method),       Field(":authority", options_.address),
      Field("te", "trailers"),      Field("content-type", "application/grpc"),
      Field("user-agent", "raftkv")};
  const nghttp2_data_provider provider = {{.ptr = nullptr}, Callbacks::ReadRequest};
  const int32_t stream =
      nghttp2_submit_request(session_, nullptr, headers.data(), headers.size(), &provider, nullptr);
  if (stream < 0) return End(call, absl::UnavailableError(nghttp2_strerror(stream)));
  call->stream_ = stream;
  calls_[stream] = call;
}

void Channel::Cancel(Call* call, absl::Status status) {
  if (call->stream_ == 0) return;  // it has just ended
  nghttp2_submit_rst_stream(session_, NGHTTP2_FLAG_NONE, call->stream_, NGHTTP2_CANCEL);
  End(call, std::move(status));
}

void Channel::End(Call* call, absl::Status status) {
  calls_.erase(std::exchange(call->stream_, 0));
  call->out_.clear();
  call->out_offset_ = call->unsent_ = 0;
  call->reader_ = nullptr;
  ended_.emplace_back(call, std::move(status));
}

// The call is being destroyed.
void Channel::Forget(Call* call) {
  if (call->stream_ != 0) {
    nghttp2_submit_rst_stream(session_, NGHTTP2_FLAG_NONE, call->stream_, NGHTTP2_CANCEL);
    calls_.erase(call->stream_);
  }
  std::erase_if(ended_, [call](const auto& ended) { return ended.first == call; });
}

void Channel::RunEnds() {
  while (!ended_.empty()) {
    const auto [call, status] = std::move(ended_.front());
    ended_.pop_front();
    call->channel_ = nullptr;
    call->OnEnd(status);
  }
}

// --- the connection

Channel::Channel(ChannelOptions options, Poller* poller)
    : options_(std::move(options)), poller_(poller) {}

Channel::~Channel() {
  Lose("cancelled");
  RunEnds();
}

void Channel::Connect() {
  const MonotonicTime now = MonotonicNow();
  if (state_ != State::kIdle || now < retry_at_) return;
  BeginSession();
  const bool fresh = now < looked_up_at_ + kLookUpPause;
  if (address_ >= addresses_.size() && (!fresh || addresses_.empty())) return BeginLookUp();
  if (address_ >= addresses_.size()) BeginRound();
  Dial();
}

// The addresses are tried in turn.
void Channel::BeginRound() {
  address_ = 0;
  round_failure_.clear();
}

void Channel::BeginSession() {
  CHECK_EQ(nghttp2_session_client_new(&session_, Callbacks::Table(), this), 0);
  const std::array<nghttp2_settings_entry, 2> settings = {
      {{NGHTTP2_SETTINGS_ENABLE_PUSH, 0}, {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, kWindowBytes}}};
  nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, settings.data(), settings.size());
  nghttp2_session_set_local_window_size(session_, NGHTTP2_FLAG_NONE, 0, kWindowBytes);
}

// The name is looked up again for later rounds of its addresses: the peer may have moved.
void Channel::BeginLookUp() {
  state_ = State::kLookingUp;
  std::string_view host = std::string_view(options_.address).substr(0, options_.address.rfind(':'));
  const std::string port =
      options_.address.substr(std::min(host.size() + 1, options_.address.size()));
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);  // IPv6
  look_up_ = std::make_shared<LookUp>();
  if (look_up_->Run(std::string(host), port, AI_NUMERICHOST)) return TakeLookUp();
  if (failure_.empty()) failure_ = "its name is being looked up";
  look_up_ = std::make_shared<LookUp>();
  try {
    std::thread([look_up = look_up_, host = std::string(host), port] {
      look_up->Run(host, port, 0);
    }).detach();
  } catch (const std::system_error& error) {
    Lose(absl::StrCat("its name cannot be looked up: ", error.what()));
  }
}

void Channel::TakeLookUp() {
  {
    absl::MutexLock lock(&look_up_->mutex);
    if (!look_up_->done) return;
    addresses_ = look_up_->addresses;
    if (!look_up_->failure.empty()) failure_ = look_up_->failure;
  }
  look_up_ = nullptr;
  looked_up_at_ = MonotonicNow();
  BeginRound();
  if (!addresses_.empty()) return Dial();
  Lose(failure_);
  retry_at_ = MonotonicNow() + kLookUpPause;
}

// Begins to connect to addresses_[address_].
void Channel::Dial() {
  const auto& [address, family] = addresses_[address_];
  state_ = State::kConnecting;
  connect_by_ = MonotonicNow() + options_.connect_max;
  fd_ = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd_ < 0) return NextAddress(ConnectError(errno));
  const int yes = 1;
  setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
  // Otherwise a ping would wait behind several MiB in the kernel.
  const int unsent = kOutBytes;
  setsockopt(fd_, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent, sizeof(unsent));
  if (connect(fd_, reinterpret_cast<const sockaddr*>(address.data()),
              static_cast<socklen_t>(address.size())) != 0 &&
      errno != EINPROGRESS) {
    return NextAddress(ConnectError(errno));
  }
  watches_writing_ = true;
  poller_->Watch(fd_, this, watches_writing_);
}

void Channel::OnDialed(int error) {
  if (error != 0) return NextAddress(ConnectError(error));
  state_ = State::kGreeting;
  Send();
}

// An address did not work. The session has not sent anything yet, so the next one may use it.
void Channel::NextAddress(std::string why) {
  if (fd_ >= 0) close(std::exchange(fd_, -1));
  if (round_failure_.empty())
    round_failure_ = std::move(why);  // the first address is the likeliest
  if (++address_ < addresses_.size()) return Dial();
  Lose(round_failure_);
}

void Channel::OnReady() {
  if (state_ == State::kConnecting) {
    int error = 0;
    socklen_t size = sizeof(error);
    getsockopt(fd_, SOL_SOCKET, SO_ERROR, &error, &size);
    OnDialed(error);
  } else {
    Receive();
    Send();
  }
  RunEnds();
}

// Why the peer has closed the connection, or must not keep it.
std::string Channel::WhyEnded() const {
  if (ready()) return goes_away_ ? kClosed : "it broke the rules of HTTP/2";
  return first_bytes_.starts_with("HTTP/1") ? kHttp1 : kNoMember;
}

// False: nothing has come.
bool Channel::Receive() {
  static thread_local std::array<uint8_t, kReadBytes> bytes;
  const ssize_t got = recv(fd_, bytes.data(), bytes.size(), MSG_DONTWAIT);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return false;
  if (got <= 0) {
    const bool closed = got == 0 || errno == ECONNRESET || errno == EPIPE;
    Lose(!ready() ? WhyEnded() : closed ? kClosed : std::strerror(errno));
    return false;
  }
  heard_at_ = MonotonicNow();
  pinged_at_ = MonotonicTime::InfinitePast();
  const auto size = static_cast<size_t>(got);
  if (!ready() && first_bytes_.size() < kFirstBytes) {
    first_bytes_.append(reinterpret_cast<const char*>(bytes.data()), std::min(size, kFirstBytes));
  }
  const ssize_t used = nghttp2_session_mem_recv(session_, bytes.data(), size);
  // A peer that has ended a call without resetting it still waits for our requests.
  for (const int32_t stream : std::exchange(ended_by_peer_, {})) {
    Call* const call = Callbacks::Find(this, stream);
    if (call != nullptr) Cancel(call, Callbacks::StatusOf(*call, NGHTTP2_NO_ERROR));
  }
  if (used < 0) Lose(WhyEnded());
  return fd_ >= 0;
}

// False: nghttp2 has failed.
bool Channel::FillOut() {
  if (sent_ >= kOutBytes) out_.erase(0, std::exchange(sent_, 0));
  while (out_.size() - sent_ < kOutBytes) {
    const uint8_t* data = nullptr;
    const ssize_t size = nghttp2_session_mem_send(session_, &data);
    if (size < 0) Lose(WhyEnded());
    if (size <= 0) return size == 0;
    out_.append(reinterpret_cast<const char*>(data), static_cast<size_t>(size));
  }
  return true;
}

void Channel::Send() {
  if (state_ != State::kGreeting && state_ != State::kReady) return;
  for (;;) {
    if (ready() && writers_wait_) WakeWriters();
    if (!FillOut()) return;
    if (sent_ == out_.size()) break;
    const ssize_t sent =
        send(fd_, out_.data() + sent_, out_.size() - sent_, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0 && errno == EAGAIN) break;
    if (sent < 0) {
      while (Receive()) {  // it may say why it has closed the connection
      }
      if (fd_ >= 0) Lose(ready() ? kClosed : WhyEnded());
      return;
    }
    sent_ += static_cast<size_t>(sent);
    if (sent_ == out_.size()) {
      out_.clear();
      sent_ = 0;
    }
  }
  // After an error nghttp2 sends a GOAWAY, and nothing else.
  if (!nghttp2_session_want_read(session_) && !nghttp2_session_want_write(session_)) {
    return Lose(WhyEnded());
  }
  const bool blocked = sent_ < out_.size();
  if (blocked != watches_writing_) poller_->Watch(fd_, this, watches_writing_ = blocked);
}

void Channel::WakeWriters() {
  writers_wait_ = false;
  for (const auto& [stream, call] : calls_) call->OnWritable();
}

void Channel::Flush() {
  Send();
  RunEnds();
}

void Channel::EndLate(MonotonicTime now) {
  if (state_ == State::kLookingUp) TakeLookUp();
  if (state_ == State::kConnecting && now >= connect_by_) NextAddress(kNoAnswer);
  if (state_ == State::kGreeting && now >= connect_by_) Lose(kHangs);
  if (state_ == State::kIdle && !failure_.empty()) Connect();
  std::vector<Call*> late;
  for (const auto& [stream, call] : calls_) {
    if (now >= call->deadline_) late.push_back(call);
  }
  for (Call* call : late) Cancel(call, absl::DeadlineExceededError("it does not answer in time"));
  if (ready()) Ping(now);
  Flush();
}

void Channel::Ping(MonotonicTime now) {
  const auto pinged = [this] { return pinged_at_ != MonotonicTime::InfinitePast(); };
  if (!pinged() && now >= heard_at_ + options_.ping_interval) {
    pinged_at_ = now;
    nghttp2_submit_ping(session_, NGHTTP2_FLAG_NONE, nullptr);
  } else if (pinged() && now >= pinged_at_ + options_.ping_answer_max) {
    Receive();  // the answer may have come while this thread waited for the disk
    if (ready() && pinged()) Lose(kNotAnswering);
  }
}

void Channel::Lose(std::string why) {
  if (fd_ >= 0) close(std::exchange(fd_, -1));
  if (state_ == State::kGreeting) ++address_;
  if (state_ == State::kReady) address_ = addresses_.size();
  failure_ = std::move(why);
  retry_at_ = MonotonicNow() + (ready() ? absl::ZeroDuration() : kRetryPause);
  state_ = State::kIdle;
  connect_by_ = MonotonicTime::InfiniteFuture();
  look_up_ = nullptr;
  if (session_ != nullptr) nghttp2_session_del(std::exchange(session_, nullptr));
  out_.clear();
  sent_ = 0;
  first_bytes_.clear();
  ended_by_peer_.clear();
  goes_away_ = writers_wait_ = false;
  while (!calls_.empty()) End(calls_.begin()->second, absl::UnavailableError(failure_));
}

}  // namespace raftkv
