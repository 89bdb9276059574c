#include "client/race.h"

#include <grpcpp/generic/generic_stub.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"

namespace raftkv::client {
namespace {

// More than connecting takes nearby. Farther away, a connection that nobody needs may be made.
constexpr absl::Duration kHeadStart = absl::Milliseconds(50);

}  // namespace

Race::Race(const RaceRules& rules, const std::vector<std::unique_ptr<Endpoint>>& endpoints,
           size_t first, const grpc::ByteBuffer& request)
    : rules_(rules),
      path_(absl::StrCat("/etcdserverpb.", absl::StrReplaceAll(rules.name, {{".", "/"}}))),
      request_(request),
      first_(first),
      begin_(absl::Now()),
      deadline_(begin_ + rules.request_timeout),
      next_first_(first) {
  for (size_t i = 0; i < endpoints.size(); ++i) {
    lanes_.push_back({.endpoint = endpoints[(first + i) % endpoints.size()].get(),
                      .news = {.lane = i, .attempt = nullptr}});
  }
}

Race::~Race() {
  for (const auto& attempt : attempts_) {
    if (!attempt->done) attempt->context.TryCancel();
  }
  queue_.Shutdown();
  void* tag = nullptr;
  bool ok = false;
  while (queue_.Next(&tag, &ok)) {
  }
}

absl::StatusOr<grpc::ByteBuffer> Race::Run() {
  while (!result_.has_value()) {
    const absl::Time until = BeginWhatIsDue();
    if (events_ == 0) return NobodyLeft();
    void* tag = nullptr;
    bool ok = false;
    if (queue_.AsyncNext(&tag, &ok, absl::ToChronoTime(until)) !=
        grpc::CompletionQueue::GOT_EVENT) {
      continue;
    }
    --events_;
    const Event& event = *static_cast<Event*>(tag);
    if (event.attempt == nullptr) {
      OnNews(lanes_[event.lane]);
    } else {
      OnAnswer(*event.attempt);
    }
  }
  return *std::move(result_);
}

absl::Time Race::BeginWhatIsDue() {
  for (;;) {
    const absl::Time now = absl::Now();
    if (now >= deadline_) return absl::InfiniteFuture();  // calls under way end by themselves
    if (!MayAsk(now)) return rules_.kind == Kind::kRead ? NextAskAt() : absl::InfiniteFuture();
    auto lane =
        std::find_if(lanes_.begin(), lanes_.end(), [](const Lane& l) { return !l.had_turn; });
    if (lane != lanes_.end()) {
      if (connecting_ > 0 && now < last_turn_ + kHeadStart) return last_turn_ + kHeadStart;
      Connect(*lane, now);
      continue;
    }
    absl::Time at;
    Lane* const again = LaneForSecondTurn(now, &at);
    if (again == nullptr) return at;
    second_turn_given_ = true;
    Connect(*again, now);
  }
}

bool Race::MayAsk(absl::Time now) const {
  if (now >= deadline_) return false;
  if (attempts_.empty()) return true;
  if (rules_.kind == Kind::kRead) return calling_ == 0 || now >= NextAskAt();
  // The next may well take as long to refuse a write; cut off, nobody would know its fate.
  return calling_ == 0 && deadline_ - now >= now - begin_;
}

// Each endpoint that was asked delays the next by an equal part of the first quarter of the time;
// of two, the second has to wait an eighth.
absl::Time Race::NextAskAt() const {
  const size_t waits = std::max<size_t>(2, lanes_.size() - 1);
  return begin_ + rules_.request_timeout / 4 / static_cast<int64_t>(waits) *
                      static_cast<int64_t>(attempts_.size());
}

// The first that was asked, once nothing is under way any more, or when half of the time is gone.
// Null before `*at`.
Race::Lane* Race::LaneForSecondTurn(absl::Time now, absl::Time* at) {
  *at = absl::InfiniteFuture();
  if (second_turn_given_ || connecting_ > 0) return nullptr;
  if (calling_ > 0) {
    // A single endpoint that is slow would only be slower for it.
    if (lanes_.size() > 1) *at = begin_ + rules_.request_timeout / 2;
    if (now < *at) return nullptr;
  }
  const auto asked =
      std::find_if(lanes_.begin(), lanes_.end(), [](const Lane& l) { return l.asked; });
  return asked == lanes_.end() ? nullptr : &*asked;
}

void Race::Connect(Lane& lane, absl::Time now) {
  last_turn_ = now;
  lane.had_turn = true;
  lane.dial = std::make_unique<Dial>(lane.endpoint, std::min(deadline_, now + rules_.dial_timeout));
  ++connecting_;
  OnNews(lane);
}

void Race::OnNews(Lane& lane) {
  const Dial::Progress progress = lane.dial->Look();
  const bool wanted = MayAsk(absl::Now());
  if (progress == Dial::Progress::kWaiting && wanted) {
    lane.dial->Watch(&queue_, &lane.news);
    ++events_;
    return;
  }
  if (progress != Dial::Progress::kFailed) {
    if (wanted) Ask(lane);
    lane.had_turn = wanted;  // if another was up before it, its turn may come again
  }
  --connecting_;
  lane.dial = nullptr;
}

void Race::Ask(Lane& lane) {
  lane.asked = true;
  attempts_.push_back(std::make_unique<Attempt>());
  Attempt& attempt = *attempts_.back();
  attempt.answered = {.lane = lane.news.lane, .attempt = &attempt};
  attempt.connection = lane.dial->connection();
  attempt.context.set_deadline(absl::ToChronoTime(deadline_));
  attempt.reader = grpc::GenericStub(attempt.connection->channel)
                       .PrepareUnaryCall(&attempt.context, path_, request_, &queue_);
  attempt.reader->StartCall();
  attempt.reader->Finish(&attempt.response, &attempt.status, &attempt.answered);
  ++calling_;
  ++events_;
}

void Race::OnAnswer(Attempt& attempt) {
  attempt.done = true;
  --calling_;
  Lane& lane = lanes_[attempt.answered.lane];
  const size_t number = first_ + attempt.answered.lane;
  if (attempt.status.ok()) return Decide(std::move(attempt.response), number);
  const bool is_silent = attempt.status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED;
  if (is_silent) {
    lane.silent = true;
  } else {
    said_ = ToError(attempt.status, lane.endpoint->address(), rules_.name);
  }
  switch (NeverProposed(attempt.context) ? Verdict::kTryNext : Judge(rules_.kind, attempt.status)) {
    case Verdict::kDefinite:
      return Decide(said_, number);
    case Verdict::kUnknown:
      return Decide(UnknownOutcome(is_silent ? NoAnswer() : said_), number + 1);
    case Verdict::kTryNext:
      // This endpoint is in trouble: the next call, at least, begins elsewhere.
      next_first_ = (number + 1) % lanes_.size();
  }
}

void Race::Decide(absl::StatusOr<grpc::ByteBuffer> result, size_t next_first) {
  result_ = std::move(result);
  next_first_ = next_first % lanes_.size();
}

absl::Status Race::NobodyLeft() const {
  if (!said_.ok()) return said_;
  if (!attempts_.empty()) return NoAnswer();
  std::vector<std::string> all;
  for (const Lane& lane : lanes_) all.push_back(lane.endpoint->address());
  std::string whom = absl::StrJoin(all, ", ");
  // Some did not even refuse.
  const absl::Duration patience = std::min(rules_.dial_timeout, rules_.request_timeout);
  if (absl::Now() - begin_ >= patience) {
    absl::StrAppend(&whom, " within ", absl::FormatDuration(patience));
  }
  return Unreachable(whom);
}

absl::Status Race::NoAnswer() const {
  std::vector<std::string> silent;
  for (const Lane& lane : lanes_) {
    if (lane.silent) silent.push_back(lane.endpoint->address());
  }
  return absl::DeadlineExceededError(absl::StrCat("no answer from ", absl::StrJoin(silent, ", "),
                                                  " within ",
                                                  absl::FormatDuration(rules_.request_timeout)));
}

}  // namespace raftkv::client
