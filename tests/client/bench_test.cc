#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "client/bench/histogram.h"
#include "client/bench/load.h"
#include "client/cli/cli.h"
#include "glog/logging.h"
#include "tests/client/cli_fixture.h"
#include "tests/client/fake_server.h"

namespace raftkv::client {
namespace {

using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

TEST(Histogram, PercentilesAreWithinOnePercent) {
  Histogram histogram;
  EXPECT_EQ(histogram.Percentile(0.5), 0);
  for (int64_t value = 1; value <= 100000; ++value) histogram.Add(value);
  EXPECT_EQ(histogram.count(), 100000u);
  EXPECT_NEAR(histogram.Percentile(0.5), 50000, 500);
  EXPECT_NEAR(histogram.Percentile(0.99), 99000, 990);
  EXPECT_EQ(histogram.Percentile(1), 100000);
  EXPECT_EQ(histogram.max(), 100000);
}

TEST(Histogram, SmallValuesAreExactAndHugeOnesAreKept) {
  Histogram histogram;
  for (int64_t value : {3, 5, 127}) histogram.Add(value);
  EXPECT_EQ(histogram.Percentile(0.3), 3);
  EXPECT_EQ(histogram.Percentile(0.5), 5);
  EXPECT_EQ(histogram.Percentile(0.9), 127);
  histogram.Add(int64_t{1} << 50);
  EXPECT_EQ(histogram.max(), int64_t{1} << 50);
}

TEST(Histogram, MergeAddsUp) {
  Histogram a, b;
  a.Add(1);
  b.Add(2);
  b.Add(300);
  a.Merge(b);
  EXPECT_EQ(a.count(), 3u);
  EXPECT_EQ(a.max(), 300);
  EXPECT_EQ(a.Percentile(0.6), 2);
}

TEST(Histogram, BarsAreOneForEachPowerOfTwo) {
  Histogram histogram;
  EXPECT_TRUE(histogram.Bars().empty());
  for (const int64_t value : {5, 6, 7, 8, 1000, 1023, 1024}) histogram.Add(value);
  const auto bars = histogram.Bars();
  ASSERT_EQ(bars.size(), 9u);
  EXPECT_EQ(bars.front().last, 7);
  EXPECT_EQ(bars.front().count, 3u);
  EXPECT_EQ(bars[1].last, 15);
  EXPECT_EQ(bars[1].count, 1u);
  EXPECT_EQ(bars[2].count, 0u);
  EXPECT_EQ(bars[7].last, 1023);
  EXPECT_EQ(bars[7].count, 2u);
  EXPECT_EQ(bars.back().last, 2047);
  EXPECT_EQ(bars.back().count, 1u);
}

LoadOptions Short(LoadOptions::Verb verb, std::vector<std::string> endpoints) {
  return {.verb = verb,
          .endpoints = std::move(endpoints),
          .clients = 6,
          .conns = 3,
          .warm_up = absl::Milliseconds(20),
          .duration = absl::Milliseconds(200),
          .val_size = 10,
          .key_space = 5};
}

void NoProgress(const LoadProgress&) {}

TEST(Load, PutsGoToEveryEndpoint) {
  FakeServer a, b;
  const auto report =
      RunLoad(Short(LoadOptions::Verb::kPut, {a.address(), b.address()}), NoProgress);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_GT(report->latency.count(), 0u);
  EXPECT_EQ(report->errors, 0u);
  EXPECT_GT(a.calls, 0);
  EXPECT_GT(b.calls, 0);
  EXPECT_EQ(a.put_request.value().size(), 10u);
  EXPECT_LE(report->latency.count(), static_cast<uint64_t>(a.calls + b.calls));
}

TEST(Load, MissingKeysAreWrittenBeforeGets) {
  FakeServer server;  // answers that there are no keys
  absl::Mutex mutex;
  std::set<std::string> written;
  server.answer_txn = [&](const etcdserverpb::TxnRequest& request, etcdserverpb::TxnResponse*) {
    const absl::MutexLock lock(&mutex);
    for (const auto& op : request.success()) written.insert(op.request_put().key());
  };
  LoadOptions options = Short(LoadOptions::Verb::kGet, {server.address()});
  options.key_space = 1000;
  const auto report = RunLoad(options, NoProgress);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_GT(report->latency.count(), 0u);
  EXPECT_EQ(server.range_request.range_end(), "");
  EXPECT_EQ(written.size(), 1000u);
  EXPECT_EQ(*written.begin(), "bench/0000000000");
  EXPECT_EQ(*written.rbegin(), "bench/0000000999");
}

TEST(Load, MissingKeysAreWrittenOneByOneToAServiceWithoutTransactions) {
  FakeServer server;
  std::atomic<int> calls{0};
  server.before = [&](grpc::ServerContext*) {  // the second call, after a count
    return ++calls == 2 ? grpc::Status(grpc::StatusCode::UNIMPLEMENTED, "no transactions")
                        : grpc::Status::OK;
  };
  const auto report = RunLoad(Short(LoadOptions::Verb::kGet, {server.address()}), NoProgress);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_GT(report->latency.count(), 0u);
  EXPECT_EQ(server.put_request.key().substr(0, 15), "bench/000000000");
}

// Many millions of keys may be missing.
TEST(Load, MissingKeysThatCannotBeWrittenEndTheRunAtOnce) {
  FakeServer server;
  std::atomic<int> calls{0};
  server.before = [&](grpc::ServerContext*) {
    return ++calls == 1 ? grpc::Status::OK  // the count
                        : grpc::Status(grpc::StatusCode::UNAVAILABLE, "no leader");
  };
  LoadOptions options = Short(LoadOptions::Verb::kGet, {server.address()});
  options.key_space = 100'000;
  const auto report = RunLoad(options, NoProgress);
  EXPECT_EQ(report.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(report.status().message(), HasSubstr("cannot write the keys to read"));
  EXPECT_THAT(report.status().message(), HasSubstr("no leader"));
  EXPECT_LE(calls, 2000) << "those in flight at the first error";
}

TEST(Load, ATxnWhoseConditionFailedIsTriedAgainWithTheNewRevision) {
  FakeServer server;  // another client has written every key at revision 5
  server.txn_response.add_responses()->mutable_response_range()->add_kvs()->set_mod_revision(5);
  server.txn_response.mutable_header()->set_revision(6);
  std::atomic<int> failed{0};
  server.answer_txn = [&](const etcdserverpb::TxnRequest& request,
                          etcdserverpb::TxnResponse* response) {
    response->set_succeeded(request.compare(0).mod_revision() >= 5);
    if (!response->succeeded()) ++failed;
  };
  const auto report = RunLoad(Short(LoadOptions::Verb::kTxn, {server.address()}), NoProgress);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_GT(report->latency.count(), 0u);
  EXPECT_EQ(report->errors, 0u);
  EXPECT_GT(failed, 0);
  EXPECT_GT(server.calls, failed);
  EXPECT_EQ(server.txn_request.success(0).request_put().value().size(), 10u);
}

TEST(Load, AMixReadsAndWrites) {
  FakeServer server;
  LoadOptions options = Short(LoadOptions::Verb::kMix, {server.address()});
  options.reads = 0.5;
  const auto report = RunLoad(options, NoProgress);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_GT(report->gets.count(), 0u);
  EXPECT_GT(report->puts.count(), 0u);
  EXPECT_EQ(report->latency.count(), report->gets.count() + report->puts.count());

  options.reads = 1;
  const auto reads = RunLoad(options, NoProgress);
  ASSERT_TRUE(reads.ok()) << reads.status();
  EXPECT_GT(reads->gets.count(), 0u);
  EXPECT_EQ(reads->puts.count(), 0u);
}

TEST(Load, AnOperationMayReadOrWriteSeveralKeys) {
  FakeServer server;
  LoadOptions options = Short(LoadOptions::Verb::kGet, {server.address()});
  options.keys_per_operation = 3;
  const auto gets = RunLoad(options, NoProgress);
  ASSERT_TRUE(gets.ok()) << gets.status();
  EXPECT_GT(gets->latency.count(), 0u);
  uint64_t first = 0, last = 0;
  ASSERT_TRUE(absl::SimpleAtoi(server.range_request.key().substr(6), &first));
  const std::string end = server.range_request.range_end();
  ASSERT_EQ(end.back(), '\0') << "the last key is included, even if the next one is shorter";
  ASSERT_TRUE(absl::SimpleAtoi(end.substr(6, end.size() - 7), &last));
  EXPECT_EQ(last, first + 2);
  EXPECT_LT(last, 5u);

  options.verb = LoadOptions::Verb::kPut;
  const auto puts = RunLoad(options, NoProgress);
  ASSERT_TRUE(puts.ok()) << puts.status();
  EXPECT_GT(puts->latency.count(), 0u);
  ASSERT_EQ(server.txn_request.success_size(), 3);
  EXPECT_EQ(server.txn_request.compare_size(), 0);
  EXPECT_EQ(server.txn_request.failure_size(), 0);
  EXPECT_LT(server.txn_request.success(0).request_put().key(),
            server.txn_request.success(2).request_put().key());
  EXPECT_EQ(server.txn_request.success(2).request_put().value().size(), 10u);
}

TEST(Load, ATotalEndsTheRunWithExactlySoManyOperations) {
  FakeServer server;
  LoadOptions options = Short(LoadOptions::Verb::kPut, {server.address()});
  options.duration = absl::Hours(1);
  options.total = 50;
  const auto report = RunLoad(options, NoProgress);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->latency.count(), 50u);
  EXPECT_GT(report->seconds, 0);
  EXPECT_LT(report->seconds, 3000);
}

// The server answers one operation in 20 ms, and they are to start every 2 ms. Who waits for a free
// worker waits longer and longer. Only with kTaken this is part of the latency.
TEST(Load, WithLateTurnsTakenLatencyCountsFromTheTurn) {
  FakeServer server;
  server.before = [](grpc::ServerContext*) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    return grpc::Status::OK;
  };
  LoadOptions options = Short(LoadOptions::Verb::kPut, {server.address()});
  options.clients = 1;
  options.conns = 1;
  options.duration = absl::Hours(1);
  options.total = 30;
  options.rate = 500;
  options.late_turns = LoadOptions::LateTurns::kTaken;
  const auto taken = RunLoad(options, NoProgress);
  ASSERT_TRUE(taken.ok()) << taken.status();
  // The last of 30 operations starts at least 29 * (20 - 2) ms after its turn.
  EXPECT_GE(taken->latency.max(), 500'000);
  options.late_turns = LoadOptions::LateTurns::kDropped;
  const auto dropped = RunLoad(options, NoProgress);
  ASSERT_TRUE(dropped.ok()) << dropped.status();
  EXPECT_LT(dropped->latency.Percentile(0.5), taken->latency.Percentile(0.5));
}

TEST(Load, AKeyHasTheSizeThatIsAskedFor) {
  FakeServer server;
  const std::string endpoints = "--endpoints=" + server.address();
  const Result good = Raftkv({endpoints.c_str(), "bench", "put", "--total", "3", "--key-size", "24",
                              "--keyspace", "100000", "--histogram"});
  EXPECT_EQ(good.code, kExitOk) << good.err;
  EXPECT_EQ(server.put_request.key().size(), 24u);
  EXPECT_NE(good.out.find(" #"), std::string::npos) << good.out;
  const Result bad = Raftkv({endpoints.c_str(), "bench", "put", "--total", "3", "--key-size", "10",
                             "--keyspace", "100000"});
  EXPECT_EQ(bad.code, kExitBadArguments);
  EXPECT_NE(bad.err.find("--key-size must be from 11 to 32768"), std::string::npos) << bad.err;
}

TEST(Load, FailuresAreCountedByMessageAndNotAsOperations) {
  FakeServer server;
  server.before = [](grpc::ServerContext*) {
    return grpc::Status(grpc::StatusCode::UNAVAILABLE, "etcdserver: no leader");
  };
  const auto report = RunLoad(Short(LoadOptions::Verb::kPut, {server.address()}), NoProgress);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->latency.count(), 0u);
  EXPECT_GT(report->errors, 0u);
  ASSERT_EQ(report->errors_by_message.size(), 1u);
  EXPECT_EQ(report->errors_by_message.begin()->first, "etcdserver: no leader");
}

// The server answers every tenth call too late.
TEST(Load, ACallThatTakesTooLongFailsAndTheOthersGoOn) {
  FakeServer server;
  std::atomic<int> calls{0};
  server.before = [&](grpc::ServerContext*) {
    if (++calls % 10 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(300));
    return grpc::Status::OK;
  };
  LoadOptions options = Short(LoadOptions::Verb::kPut, {server.address()});
  options.request_timeout = absl::Milliseconds(50);
  options.duration = absl::Seconds(1);
  const auto report = RunLoad(options, NoProgress);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_GT(report->latency.count(), 0u);
  EXPECT_GT(report->errors, 0u);
  EXPECT_LT(report->latency.max(), 300'000);
  ASSERT_EQ(report->errors_by_message.size(), 1u);
  EXPECT_THAT(report->errors_by_message.begin()->first, HasSubstr("Deadline Exceeded"));
}

// Accepts connections and HTTP/2's settings, and answers nothing else.
class SilentServer {
 public:
  SilentServer() {
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    PCHECK(bind(listener_, reinterpret_cast<sockaddr*>(&address), size) == 0);
    PCHECK(listen(listener_, 64) == 0);
    PCHECK(getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size) == 0);
    address_ = absl::StrCat("127.0.0.1:", ntohs(address.sin_port));
    thread_ = std::thread([this] {
      for (int fd = 0; (fd = accept(listener_, nullptr, nullptr)) >= 0;) {
        const char settings[] = {0, 0, 0, 4, 0, 0, 0, 0, 0};
        PCHECK(send(fd, settings, sizeof(settings), 0) == sizeof(settings));
        accepted_.push_back(fd);
      }
    });
  }
  ~SilentServer() {
    shutdown(listener_, SHUT_RDWR);
    thread_.join();
    for (const int fd : accepted_) close(fd);
    close(listener_);
  }
  const std::string& address() const { return address_; }

 private:
  const int listener_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  std::string address_;
  std::vector<int> accepted_;
  std::thread thread_;
};

TEST(Load, AServiceThatAnswersNothingIsNotWaitedForLonger) {
  const SilentServer server;
  LoadOptions options = Short(LoadOptions::Verb::kPut, {server.address()});
  options.request_timeout = absl::Milliseconds(50);
  options.duration = absl::Seconds(1);
  const auto report = RunLoad(options, NoProgress);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->latency.count(), 0u);
  EXPECT_GT(report->errors, 6u) << "each worker goes on";
  ASSERT_EQ(report->errors_by_message.size(), 1u);
  EXPECT_THAT(report->errors_by_message.begin()->first, HasSubstr("Deadline Exceeded"));
}

TEST(Load, ALostConnectionIsOpenedAgain) {
  FakeServer server;
  LoadOptions options = Short(LoadOptions::Verb::kPut, {server.address()});
  options.duration = absl::Hours(1);
  std::atomic<bool> stop{false};
  options.stop = &stop;
  std::thread restart([&] {
    EXPECT_TRUE(server.AwaitCalls(100));
    server.Stop();
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    server.Start();
    EXPECT_TRUE(server.AwaitCalls(server.calls + 100));
    stop = true;
  });
  const auto report = RunLoad(options, NoProgress);
  restart.join();
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_GT(report->errors, 0u);
  EXPECT_GT(report->latency.count(), 100u);
  const std::string lost = "connection to " + server.address() + " lost: ";
  uint64_t lost_count = 0;
  for (const auto& [message, count] : report->errors_by_message) {
    if (message == "CANCELLED") continue;  // gRPC's server ended the call before the connection
    EXPECT_THAT(message, StartsWith(lost));
    lost_count += count;
  }
  EXPECT_GT(lost_count, 0u);
}

TEST(Load, TheTextOfAnErrorIsDecoded) {
  FakeServer server;
  server.before = [](grpc::ServerContext*) {
    return grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "etcdserver: 100 % \"größer\"\n%zz");
  };
  const auto report = RunLoad(Short(LoadOptions::Verb::kPut, {server.address()}), NoProgress);
  ASSERT_TRUE(report.ok()) << report.status();
  ASSERT_EQ(report->errors_by_message.size(), 1u);
  EXPECT_EQ(report->errors_by_message.begin()->first, "etcdserver: 100 % \"größer\"\n%zz");
}

// More than HTTP/2 allows in one frame, or before the first window update.
TEST(Load, LargeValuesAndLargeAnswers) {
  FakeServer server;
  auto* const kv = server.range_response.add_kvs();
  kv->set_key("k");
  kv->set_value(std::string(5 << 20, 'v'));
  server.range_response.set_count(5);
  LoadOptions options = Short(LoadOptions::Verb::kMix, {server.address()});
  options.val_size = 1 << 20;
  options.duration = absl::Seconds(1);
  const auto report = RunLoad(options, NoProgress);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->errors, 0u);
  EXPECT_GT(report->gets.count(), 0u);
  EXPECT_GT(report->puts.count(), 0u);
  EXPECT_EQ(server.put_request.value().size(), 1u << 20);
}

TEST(Load, NoReachableEndpointIsAnError) {
  EXPECT_TRUE(absl::IsUnavailable(
      RunLoad(Short(LoadOptions::Verb::kPut, {DeadAddress()}), NoProgress).status()));
}

// Ctrl-C at the first operation that is measured.
TEST(Load, AnInterruptEndsItAndWhatWasMeasuredIsPrinted) {
  const auto before = signal(SIGINT, SIG_DFL);  // a shell's background jobs ignore it
  FakeServer server;
  const auto begin = std::chrono::steady_clock::now();  // another test moves the wall clock
  std::atomic<bool> raised{false};
  server.before = [&](grpc::ServerContext*) {
    const auto time = std::chrono::steady_clock::now() - begin;
    if (time > std::chrono::milliseconds(1500) && !raised.exchange(true)) raise(SIGINT);
    return grpc::Status::OK;
  };
  const std::string endpoints = "--endpoints=" + server.address();
  const Result result =
      Raftkv({endpoints.c_str(), "bench", "put", "--seconds", "1000", "--clients", "1"});
  signal(SIGINT, before);
  EXPECT_EQ(result.code, kExitOk) << result.err;
  EXPECT_EQ(result.out.find("put: 1 client, 1 connection, 256-byte values, "), 0u) << result.out;
  EXPECT_NE(result.out.find(" ops/s "), std::string::npos) << result.out;
  EXPECT_EQ(result.out.find("1000 s"), std::string::npos) << result.out;
  EXPECT_NE(result.out.find("raftkv del --prefix bench/"), std::string::npos) << result.out;
}

// The values that it reads may have any size.
TEST(BenchCommand, GetNamesNoSizeOfValues) {
  FakeServer server;
  const std::string endpoints = "--endpoints=" + server.address();
  const auto run = [&](const char* verb, const char* format) {
    const Result result = Raftkv({endpoints.c_str(), "bench", verb, "-w", format, "--total", "10",
                                  "--clients", "1", "--key-space", "10"});
    EXPECT_EQ(result.code, kExitOk) << result.err;
    return result.out;
  };
  EXPECT_THAT(run("get", "simple"), StartsWith("get: 1 client, 1 connection, "));
  EXPECT_THAT(run("get", "simple"), Not(HasSubstr("byte values")));
  EXPECT_THAT(run("get", "json"), Not(HasSubstr("val_size")));
  EXPECT_THAT(run("mix", "simple"), HasSubstr("256-byte values"));
  EXPECT_THAT(run("mix", "json"), HasSubstr("\"val_size\":256"));
}

TEST(Load, AnInterruptBeforeTheMeasurementIsAnError) {
  FakeServer server;
  const std::atomic<bool> stop{true};
  for (const auto verb : {LoadOptions::Verb::kPut, LoadOptions::Verb::kGet}) {
    LoadOptions options = Short(verb, {server.address()});
    options.stop = &stop;
    EXPECT_TRUE(absl::IsCancelled(RunLoad(options, NoProgress).status()));
  }
}

TEST(Load, JsonReportHasEveryField) {
  FakeServer server;
  std::istringstream in;
  std::ostringstream out, err;
  const std::string endpoints = "--endpoints=" + server.address();
  const std::vector<const char*> arguments = {
      "raftkv", endpoints.c_str(), "bench", "put", "--seconds",
      "0.1",    "--clients",       "2",     "-w",  "json"};
  EXPECT_EQ(RunCli(static_cast<int>(arguments.size()), arguments.data(),
                   {.in = in, .out = out, .err = err}),
            kExitOk);
  EXPECT_EQ(err.str(), "");
  const auto json = nlohmann::json::parse(out.str());
  EXPECT_EQ(json.at("unreachable"), nlohmann::json::array());
  EXPECT_EQ(json.at("verb"), "put");
  EXPECT_EQ(json.at("clients"), 2);
  EXPECT_GT(json.at("ops_per_second"), 0);
  EXPECT_EQ(json.at("error_count"), 0);
  EXPECT_EQ(json.at("local_servers"), 1) << "this process";
  EXPECT_GT(json.at("server_resident_bytes_max"), 0);
  EXPECT_GT(json.at("histogram").size(), 0u);
  for (const char* name : {"p50_ms", "p90_ms", "p99_ms", "p999_ms", "max_ms"}) {
    EXPECT_GT(json.at(name), 0) << name;
  }
}

TEST(Load, AnUnreachableEndpointIsReportedAndTheOthersAreMeasured) {
  FakeServer server;
  const std::string dead = DeadAddress();
  const auto bench = [](std::string endpoints, const char* format) {
    endpoints = "--endpoints=" + endpoints;
    return Raftkv({endpoints.c_str(), "bench", "put", "--seconds", "0.1", "--clients", "2", "-w",
                   format, "--dial-timeout", "1s"});
  };
  const std::string note = "Note: cannot connect to " + dead +
                           " (connection refused: no server listens there); measuring the others\n";
  Result result = bench(dead + "," + server.address(), "json");
  EXPECT_EQ(result.code, kExitOk);
  EXPECT_EQ(result.err, note);
  const auto json = nlohmann::json::parse(result.out);
  EXPECT_EQ(json.at("endpoints"), nlohmann::json::array({server.address()}));
  EXPECT_EQ(json.at("unreachable"), nlohmann::json::array({dead}));
  EXPECT_EQ(json.at("conns"), 1);
  EXPECT_GT(json.at("ops_per_second"), 0);
  EXPECT_EQ(json.at("error_count"), 0);

  result = bench(server.address() + "," + dead, "simple");
  EXPECT_EQ(result.err, note);
  EXPECT_NE(result.out.find("\nunreachable: " + dead + "\n"), std::string::npos) << result.out;

  result = bench(dead, "simple");
  EXPECT_EQ(result.code, kExitUnreachable);
  EXPECT_EQ(result.out, "");
  EXPECT_EQ(result.err, "Error: cannot connect to " + dead +
                            " (connection refused: no server listens there); set a server's "
                            "address with --endpoints\n");
}

}  // namespace
}  // namespace raftkv::client
