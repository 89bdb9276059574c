#include "client/bench/load.h"

#include <poll.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <ctime>
#include <functional>
#include <memory>
#include <queue>
#include <thread>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "client/bench/http2_channel.h"
#include "client/endpoint.h"
#include "client/failure.h"
#include "client/raftkv.h"
#include "proto/etcd/rpc.pb.h"

namespace raftkv::client {
namespace {

using Clock = std::chrono::steady_clock;
using Verb = LoadOptions::Verb;
using Channels = std::vector<std::unique_ptr<Http2Channel>>;

// A worker pauses after a failure, so that rejected connections do not become a busy loop.
constexpr std::chrono::milliseconds kPause{10};
// How often calls that take too long are looked for.
constexpr std::chrono::milliseconds kTick{50};
// One transaction of WriteMissingKeys. etcd allows 128 operations and 1.5 MiB by default.
constexpr int kFillKeys = 64;
constexpr int kFillBytes = 512 << 10;

int64_t MicrosecondsBetween(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration_cast<std::chrono::microseconds>(to - from).count();
}

// The end of a range whose last key has this number.
std::string After(const LoadOptions& options, uint64_t number) {
  return KeyOf(options, number) + '\0';
}

// The method that a verb calls.
const char* NameOf(Verb verb) {
  switch (verb) {
    case Verb::kPut:
    case Verb::kMix:  // a worker knows which of the two it calls
      return "KV.Put";
    case Verb::kGet:
      return "KV.Range";
    case Verb::kTxn:
      return "KV.Txn";
  }
  return "";
}

// When a run measures. Unused by a fill, which ends when every key is written.
struct Phases {
  Clock::time_point measure_from;
  Clock::time_point measure_to;
};

// xorshift64*: cheap, and good enough to choose keys.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed * 0x9E3779B97F4A7C15u + 1) {}
  uint64_t Below(uint64_t bound) {
    state_ ^= state_ >> 12;
    state_ ^= state_ << 25;
    state_ ^= state_ >> 27;
    return (state_ * 0x2545F4914F6CDD1Du >> 32) * bound >> 32;
  }

 private:
  uint64_t state_;
};

// Shared by the threads of one run.
struct Run {
  const LoadOptions& options;
  Verb verb;
  bool fill;  // write every key once, instead of random keys until the end
  Phases phases;
  // Different in each run. Otherwise a run would begin with the keys of the one before, which the
  // server has in its caches.
  uint64_t seed = static_cast<uint64_t>(absl::GetCurrentTimeNanos());
  // The revision of each key's last write, as far as known. Used by txns only.
  std::vector<std::atomic<int64_t>> revisions =
      std::vector<std::atomic<int64_t>>(verb == Verb::kTxn ? options.key_space : 0);
  std::atomic<uint64_t> next_key{0};
  // With a rate: when the next operation may start, in ns.
  std::atomic<int64_t> next_turn{Clock::now().time_since_epoch() / std::chrono::nanoseconds(1)};
  std::atomic<uint64_t> ops{0};     // measured so far
  std::atomic<uint64_t> errors{0};  // measured so far
  Clock::time_point end = {};       // set when `total` is reached, or when all workers are done

  bool stopped() const { return options.stop != nullptr && *options.stop; }
  bool reached_total() const { return options.total > 0 && ops >= options.total; }
  bool over(Clock::time_point now) const {
    return now >= phases.measure_to || stopped() || reached_total();
  }

  // Takes the next turn. If late turns are dropped, it is `now` or later.
  Clock::time_point TakeTurn(Clock::time_point now) {
    const auto interval = static_cast<int64_t>(1e9 / options.rate);
    const int64_t earliest = options.late_turns == LoadOptions::LateTurns::kTaken
                                 ? 0
                                 : now.time_since_epoch() / std::chrono::nanoseconds(1);
    int64_t turn = 0;
    int64_t next = next_turn.load(std::memory_order_relaxed);
    do {
      turn = std::max(next, earliest);
    } while (!next_turn.compare_exchange_weak(next, turn + interval, std::memory_order_relaxed));
    return Clock::time_point(std::chrono::nanoseconds(turn));
  }
};

struct Tally {
  Histogram latency, gets, puts;
  std::map<std::string, uint64_t> errors;
};

class Worker;

// The workers of a thread that wait for a point of time. The earliest is first.
struct Alarm {
  Clock::time_point at;
  Worker* worker;
  bool operator>(const Alarm& other) const { return at > other.at; }
};
using Alarms = std::priority_queue<Alarm, std::vector<Alarm>, std::greater<>>;

// Starts an operation, and the next one whenever one completes. Used by one thread.
class Worker : public Http2Channel::Call {
 public:
  Worker(Run& run, Tally& tally, Http2Channel& channel, Alarms& alarms, uint64_t seed)
      : run_(run), tally_(tally), channel_(channel), alarms_(alarms), random_(seed) {
    const std::string value(run.options.val_size, 'v');
    put_.set_value(value);
    range_.set_serializable(run.options.serializable);
    if (run.verb == Verb::kTxn) {
      txn_.add_compare()->set_target(etcdserverpb::Compare::MOD);
      txn_.add_failure()->mutable_request_range()->set_keys_only(true);
    }
    for (int i = 0; i < keys_; ++i) txn_.add_success()->mutable_request_put()->set_value(value);
  }

  // Starts the next operation, or a wait for its turn. Returns false if there is nothing more to
  // do.
  bool Start() {
    started_ = Clock::now();
    if (run_.options.rate > 0 && !run_.fill && !run_.over(started_)) {
      const Clock::time_point now = started_;
      started_ = run_.TakeTurn(now);
      if (started_ >= run_.phases.measure_to) return false;
      if (started_ > now) {
        Await(State::kAwaitsTurn, started_);
        return true;
      }
    }
    return StartNow();
  }

  // The call has ended. Returns false if this worker is done.
  bool OnCallEnd() {
    state_ = State::kIdle;
    grpc::Status status = this->status();
    if (status.ok() && !ParseAnswer()) {
      status = {grpc::StatusCode::INTERNAL, "malformed answer"};
    }
    if (verb_ == Verb::kTxn && status.ok() && !RecordRevision()) {
      if (run_.over(Clock::now())) return false;
      Send();
      return true;
    }
    const Clock::time_point now = Clock::now();
    Record(status, now);
    if (status.ok()) return Start();
    Await(State::kPauses, now + kPause);
    return true;
  }

  // What it waited for has come. Returns false if this worker is done.
  bool OnAlarm() {
    if (std::exchange(state_, State::kIdle) == State::kPauses) return Start();
    if (run_.options.late_turns == LoadOptions::LateTurns::kDropped) started_ = Clock::now();
    return StartNow();
  }

  void CancelIfLate(Clock::time_point now) {
    if (state_ == State::kCalls && now - sent_at_ >= timeout_) channel_.Cancel(this);
  }

 private:
  enum class State { kIdle, kCalls, kPauses, kAwaitsTurn };

  void Await(State state, Clock::time_point at) {
    state_ = state;
    alarms_.push({at, this});
  }

  bool StartNow() {
    if (run_.fill) {
      const uint64_t end = run_.options.key_space;
      number_ = run_.next_key.fetch_add(keys_, std::memory_order_relaxed);
      if (number_ >= end || run_.stopped() || run_.errors > 0) return false;
      number_ = std::min(number_, end - keys_);
    } else {
      if (run_.over(Clock::now())) return false;
      if (run_.verb == Verb::kMix) {
        verb_ = random_.Below(1'000'000) < run_.options.reads * 1e6 ? Verb::kGet : Verb::kPut;
      }
      number_ = random_.Below(run_.options.key_space - keys_ + 1);
    }
    Send();
    return true;
  }

  void Send() {
    state_ = State::kCalls;
    sent_at_ = Clock::now();
    switch (verb_) {
      case Verb::kPut:
      case Verb::kMix:
        if (keys_ > 1) {
          for (int i = 0; i < keys_; ++i) {
            txn_.mutable_success(i)->mutable_request_put()->set_key(
                KeyOf(run_.options, number_ + static_cast<uint64_t>(i)));
          }
          return channel_.Start(this, kTxnMethod, txn_);
        }
        if (run_.options.timed_values) StampValue();
        put_.set_key(KeyOf(run_.options, number_));
        return channel_.Start(this, "/etcdserverpb.KV/Put", put_);
      case Verb::kGet:
        range_.set_key(KeyOf(run_.options, number_));
        if (keys_ > 1) {
          range_.set_range_end(After(run_.options, number_ + static_cast<uint64_t>(keys_) - 1));
        }
        return channel_.Start(this, "/etcdserverpb.KV/Range", range_);
      case Verb::kTxn:
        txn_.mutable_compare(0)->set_key(KeyOf(run_.options, number_));
        txn_.mutable_compare(0)->set_mod_revision(run_.revisions[number_].load());
        txn_.mutable_success(0)->mutable_request_put()->set_key(KeyOf(run_.options, number_));
        txn_.mutable_failure(0)->mutable_request_range()->set_key(KeyOf(run_.options, number_));
        return channel_.Start(this, kTxnMethod, txn_);
    }
  }

  bool ParseAnswer() {
    if (verb_ == Verb::kGet) return Parse(&range_response_);
    if (verb_ == Verb::kTxn || keys_ > 1) return Parse(&txn_response_);
    return Parse(&put_response_);
  }

  void StampValue() {
    const int64_t start = started_.time_since_epoch() / std::chrono::nanoseconds(1);
    put_.set_value(absl::StrFormat("%-*d", run_.options.val_size, start));
  }

  // Records the key's revision from the response. Returns false if the condition did not hold,
  // because another client or worker had written the key.
  bool RecordRevision() {
    int64_t revision = txn_response_.header().revision();
    if (!txn_response_.succeeded()) {
      const auto& kvs = txn_response_.responses(0).response_range().kvs();
      revision = kvs.empty() ? 0 : kvs[0].mod_revision();
    }
    run_.revisions[number_].store(revision);
    return txn_response_.succeeded();
  }

  void Record(const grpc::Status& status, Clock::time_point now) {
    const bool measured = now >= run_.phases.measure_from && now < run_.phases.measure_to;
    if (!status.ok()) {
      if (!measured && !run_.fill) return;
      run_.errors.fetch_add(1, std::memory_order_relaxed);
      const char* const method = keys_ > 1 && verb_ == Verb::kPut ? "KV.Txn" : NameOf(verb_);
      ++tally_.errors[std::string(ToError(status, channel_.address(), method).message())];
    } else if (measured) {
      const uint64_t before = run_.ops.fetch_add(1, std::memory_order_relaxed);
      if (run_.options.total > 0 && before >= run_.options.total) return;
      if (before + 1 == run_.options.total) run_.end = now;
      const int64_t latency = MicrosecondsBetween(started_, now);
      tally_.latency.Add(latency);
      if (run_.verb == Verb::kMix) (verb_ == Verb::kGet ? tally_.gets : tally_.puts).Add(latency);
    }
  }

  static constexpr char kTxnMethod[] = "/etcdserverpb.KV/Txn";

  Run& run_;
  Tally& tally_;
  Http2Channel& channel_;
  Alarms& alarms_;
  Random random_;
  const int keys_ = run_.options.keys_per_operation;
  const Clock::duration timeout_ = absl::ToChronoNanoseconds(run_.options.request_timeout);
  Clock::time_point started_;  // the operation
  Clock::time_point sent_at_;  // the call
  Verb verb_ = run_.verb;      // of the current operation
  uint64_t number_ = 0;        // the current key's
  State state_ = State::kIdle;
  etcdserverpb::PutRequest put_;
  etcdserverpb::PutResponse put_response_;
  etcdserverpb::RangeRequest range_;
  etcdserverpb::RangeResponse range_response_;
  etcdserverpb::TxnRequest txn_;
  etcdserverpb::TxnResponse txn_response_;
};

// Drives the workers of one thread, and the channels that only these use.
class Driver {
 public:
  // The thread with this number, of so many.
  Driver(Run& run, const Channels& channels, size_t number, size_t threads, Tally& tally)
      : run_(run) {
    for (size_t i = number; i < channels.size(); i += threads) channels_.push_back(&*channels[i]);
    for (size_t i = 0; i < static_cast<size_t>(run.options.clients); ++i) {
      const size_t channel = i % channels.size();
      if (channel % threads != number) continue;
      workers_.push_back(
          std::make_unique<Worker>(run, tally, *channels[channel], alarms_, run.seed + i));
    }
  }

  // Until all workers are done.
  void Drive() {
    for (const auto& worker : workers_) {
      if (worker->Start()) ++running_;
    }
    while (running_ > 0) {
      for (Http2Channel* channel : channels_) channel->Flush();
      if (!HandleEnded()) ReceiveWhatArrives();
      HandleEnded();
      HandleTime();
    }
  }

 private:
  // Returns whether a call had ended.
  bool HandleEnded() {
    for (Http2Channel* channel : channels_) channel->TakeEnded(&ended_);
    for (Http2Channel::Call* call : ended_) {
      if (!static_cast<Worker*>(call)->OnCallEnd()) --running_;
    }
    const bool any = !ended_.empty();
    ended_.clear();
    return any;
  }

  // Waits until something arrives, or until it is time for something else.
  void ReceiveWhatArrives() {
    polled_.clear();
    for (Http2Channel* channel : channels_) {
      const auto events = static_cast<int16_t>(channel->WantsToWrite() ? POLLIN | POLLOUT : POLLIN);
      polled_.push_back({channel->fd(), events, 0});
    }
    const Clock::time_point until =
        alarms_.empty() ? next_tick_ : std::min(next_tick_, alarms_.top().at);
    const auto left = std::max<Clock::duration>(until - Clock::now(), {});
    const timespec timeout = absl::ToTimespec(absl::FromChrono(left));
    if (ppoll(polled_.data(), polled_.size(), &timeout, nullptr) <= 0) return;
    for (size_t i = 0; i < channels_.size(); ++i) {
      if ((polled_[i].revents & ~POLLOUT) != 0) channels_[i]->Receive();
    }
  }

  void HandleTime() {
    const Clock::time_point now = Clock::now();
    const bool ends = run_.stopped() || run_.reached_total();  // then nobody waits for a turn
    while (!alarms_.empty() && (ends || alarms_.top().at <= now)) {
      Worker* const worker = alarms_.top().worker;
      alarms_.pop();
      if (!worker->OnAlarm()) --running_;
    }
    if (now < next_tick_) return;
    next_tick_ = now + kTick;
    for (const auto& worker : workers_) worker->CancelIfLate(now);
  }

  Run& run_;
  std::vector<Http2Channel*> channels_;
  Alarms alarms_;
  std::vector<std::unique_ptr<Worker>> workers_;
  int running_ = 0;
  std::vector<Http2Channel::Call*> ended_;
  std::vector<pollfd> polled_;
  Clock::time_point next_tick_ = Clock::now() + kTick;
};

absl::StatusOr<Channels> ConnectAll(const LoadOptions& options) {
  Channels channels;
  const absl::Time deadline = absl::Now() + options.dial_timeout;
  for (int i = 0; i < options.conns; ++i) {
    const auto address = ParseEndpoint(options.endpoints[i % options.endpoints.size()]);
    if (!address.ok()) return address.status();
    channels.push_back(std::make_unique<Http2Channel>(*address, options.request_timeout));
    if (!channels.back()->Connect(deadline - absl::Now()).ok()) {
      return absl::UnavailableError(absl::StrCat("cannot connect to ", *address));
    }
  }
  return channels;
}

void RunThreads(Run& run, const Channels& channels,
                const std::function<void(const LoadProgress&)>& progress, LoadReport* report) {
  // A second thread only on machines with four or more processors: the service needs some too.
  const size_t threads =
      std::thread::hardware_concurrency() >= 4 ? std::min<size_t>(2, channels.size()) : 1;
  std::vector<Tally> tallies(threads);
  std::atomic<size_t> running{threads};
  std::vector<std::thread> pool;
  for (size_t i = 0; i < threads; ++i) {
    pool.emplace_back([&, i] {
      Driver(run, channels, i, threads, tallies[i]).Drive();
      --running;
      running.notify_all();
    });
  }
  std::thread reporter([&] {
    while (running.load() > 0 && !run.fill) {
      const double seconds = MicrosecondsBetween(run.phases.measure_from, Clock::now()) / 1e6;
      progress({seconds, run.ops.load(), run.errors.load()});
      std::this_thread::sleep_for(std::chrono::milliseconds(200));
    }
  });
  for (std::thread& thread : pool) thread.join();
  if (!run.reached_total()) run.end = Clock::now();
  reporter.join();
  for (const Tally& tally : tallies) {
    report->latency.Merge(tally.latency);
    report->gets.Merge(tally.gets);
    report->puts.Merge(tally.puts);
    for (const auto& [message, count] : tally.errors) {
      report->errors += count;
      report->errors_by_message[message] += count;
    }
  }
}

absl::Status StoppedEarly() {
  return absl::CancelledError("interrupted before the measurement began");
}

// Writes all keys if some are missing: gets of keys that do not exist would be too fast. The first
// error ends it.
absl::Status WriteMissingKeys(const LoadOptions& options, const Channels& channels) {
  const auto client = Client::Connect({.endpoints = options.endpoints,
                                       .dial_timeout = options.dial_timeout,
                                       .request_timeout = options.request_timeout});
  if (!client.ok()) return client.status();
  const auto present = (*client)->Range(
      Keys::Range(KeyOf(options, 0), After(options, options.key_space - 1)), {.count_only = true});
  if (!present.ok()) return present.status();
  if (present->count >= options.key_space) return absl::OkStatus();
  LoadOptions wide = options;
  wide.clients = std::max(options.clients, 64);
  const int fit = std::clamp(kFillBytes / std::max(options.val_size, 1), 1,
                             std::min(options.key_space, kFillKeys));
  LoadReport report;
  // If transactions fail, tries single puts: the service may not have transactions, or may allow
  // fewer operations in one.
  for (const int keys : {fit, 1}) {
    wide.keys_per_operation = keys;
    report = {};
    Run run{.options = wide, .verb = Verb::kPut, .fill = true, .phases = {}};
    RunThreads(run, channels, nullptr, &report);
    if (run.stopped()) return StoppedEarly();
    if (report.errors == 0) return absl::OkStatus();
  }
  return absl::UnavailableError(
      absl::StrCat("cannot write the keys to read: ", report.errors_by_message.begin()->first));
}

}  // namespace

std::string KeyOf(const LoadOptions& options, uint64_t number) {
  return absl::StrFormat("%s%0*d", options.prefix, options.key_digits, number);
}

int64_t StartOf(const std::string& value) {
  int64_t start = 0;
  return absl::SimpleAtoi(value, &start) ? start : 0;
}

Reachability CheckReachability(const std::vector<std::string>& endpoints,
                               absl::Duration dial_timeout) {
  std::vector<absl::Status> errors(endpoints.size());
  std::vector<std::thread> threads;
  for (size_t i = 0; i < endpoints.size(); ++i) {
    threads.emplace_back([&, i] {
      errors[i] =
          ConnectAll({.endpoints = {endpoints[i]}, .conns = 1, .dial_timeout = dial_timeout})
              .status();
    });
  }
  Reachability result;
  for (size_t i = 0; i < endpoints.size(); ++i) {
    threads[i].join();
    (errors[i].ok() ? result.up : result.down).push_back(endpoints[i]);
  }
  return result;
}

absl::StatusOr<LoadReport> RunLoad(const LoadOptions& options,
                                   const std::function<void(const LoadProgress&)>& progress) {
  const auto channels = ConnectAll(options);
  if (!channels.ok()) return channels.status();
  if (options.verb == Verb::kGet || options.verb == Verb::kMix) {
    const absl::Status filled = WriteMissingKeys(options, *channels);
    if (!filled.ok()) return filled;
  }
  Phases phases;
  phases.measure_from = Clock::now() + absl::ToChronoNanoseconds(options.warm_up);
  phases.measure_to = phases.measure_from + absl::ToChronoNanoseconds(options.duration);
  Run run{.options = options, .verb = options.verb, .fill = false, .phases = phases};
  LoadReport report;
  report.seconds = absl::ToDoubleSeconds(options.duration);
  RunThreads(run, *channels, progress, &report);
  if (run.stopped() || run.reached_total()) {
    const Clock::time_point end = std::min(run.end, phases.measure_to);
    if (end <= phases.measure_from) return StoppedEarly();
    report.seconds = MicrosecondsBetween(phases.measure_from, end) / 1e6;
  }
  return report;
}

}  // namespace raftkv::client
