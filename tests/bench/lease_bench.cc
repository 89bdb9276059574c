// Measures puts beside many leases that are kept alive, and beside the moment when all of them
// expire, for raftkv and for etcd in turn:
//
//   lease_bench [--leases 100000] [--ttl 120] [--puts 1000] [--seconds 10] [--members 3]
//               [--only raftkv|etcd]
//
// Each lease has one key. Puts of other keys are sent at a fixed rate, in three phases: without
// leases; while each lease is renewed once in a third of its TTL; and, after all leases were
// renewed for a last time at once, while they expire. A watch of the leases' keys measures when
// each lease ends: how long after its TTL, counted from the answer to its last renewal. A lease is
// early if it ends less than its TTL after that renewal was sent. The CPU time of each phase is
// printed: that of the members, and that of this program.

#include <cstdio>
#include <ctime>
#include <deque>
#include <thread>

#include "CLI/CLI.hpp"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "client/bench/load.h"
#include "client/bench/local_servers.h"
#include "glog/logging.h"
#include "tests/bench/ms.h"
#include "tests/e2e/cluster.h"

namespace raftkv::e2e {
namespace {

using client::Histogram;
using client::LocalServers;
using etcdserverpb::LeaseKeepAliveRequest;
using etcdserverpb::LeaseKeepAliveResponse;

constexpr int kConnections = 16;
constexpr int kInFlight = 256;  // calls, while the leases are made

struct Settings {
  int leases = 100'000;
  int ttl = 120;  // seconds
  int puts = 1000;
  int seconds = 10;
  int members = 3;
  std::string only;
};

struct Lease {
  int64_t id = 0;
  absl::Time sent;                            // of the last renewal
  absl::Time renewed = absl::InfinitePast();  // its answer
  absl::Time ended = absl::InfiniteFuture();  // the deletion of its key
};

using Connections = std::vector<std::unique_ptr<Connection>>;

// Grants a lease and puts its key, one after the other, until `next` reaches the end.
void MakeLeases(Connection* connection, const Settings& settings, std::atomic<int>* next,
                std::vector<Lease>* leases) {
  for (int i = (*next)++; i < settings.leases; i = (*next)++) {
    etcdserverpb::LeaseGrantRequest grant;
    grant.set_ttl(settings.ttl);
    etcdserverpb::LeaseGrantResponse granted;
    grpc::ClientContext context;
    grpc::Status status = connection->lease->LeaseGrant(&context, grant, &granted);
    CHECK(status.ok()) << status.error_message();
    (*leases)[i].id = granted.id();
    etcdserverpb::PutRequest put;
    put.set_key(absl::StrFormat("leased/%08d", i));
    put.set_lease(granted.id());
    etcdserverpb::PutResponse response;
    grpc::ClientContext put_context;
    status = connection->kv->Put(&put_context, put, &response);
    CHECK(status.ok()) << status.error_message();
  }
}

// One stream of keep-alives, for the leases [first, last). Answers come in the order of the
// requests.
class Renewing {
 public:
  Renewing(Connection* connection, std::vector<Lease>* leases, int first, int last)
      : leases_(*leases),
        first_(first),
        last_(last),
        stream_(connection->lease->LeaseKeepAlive(&context_)),
        reader_([this] { Read(); }) {}
  ~Renewing() {
    stream_->WritesDone();
    reader_.join();
    stream_->Finish();
  }

  // Renews each lease once, evenly over `duration`. Returns after the last request was sent, or
  // early if `stop` becomes true.
  void RenewAll(absl::Duration duration, const std::atomic<bool>& stop) {
    const absl::Time begin = absl::Now();
    for (int i = first_; i < last_ && !stop; ++i) {
      absl::SleepFor(begin + duration * (i - first_) / (last_ - first_) - absl::Now());
      {
        absl::MutexLock lock(&mutex_);
        unanswered_.push_back(i);
        leases_[i].sent = absl::Now();
      }
      LeaseKeepAliveRequest request;
      request.set_id(leases_[i].id);
      CHECK(stream_->Write(request));
    }
  }
  void AwaitAnswers() {
    absl::MutexLock lock(&mutex_);
    mutex_.Await(absl::Condition(
        +[](std::deque<int>* unanswered) { return unanswered->empty(); }, &unanswered_));
  }
  int64_t lost() const { return lost_; }

 private:
  void Read() {
    LeaseKeepAliveResponse response;
    while (stream_->Read(&response)) {
      absl::MutexLock lock(&mutex_);
      Lease& lease = leases_[unanswered_.front()];
      unanswered_.pop_front();
      CHECK_EQ(lease.id, response.id());
      lease.renewed = absl::Now();
      if (response.ttl() <= 0) ++lost_;
    }
  }

  std::vector<Lease>& leases_;
  const int first_;
  const int last_;
  absl::Mutex mutex_;
  std::deque<int> unanswered_ ABSL_GUARDED_BY(mutex_);
  std::atomic<int64_t> lost_{0};
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<LeaseKeepAliveRequest, LeaseKeepAliveResponse>> stream_;
  std::thread reader_;
};

// Notes when the keys of the leases are deleted.
class Ends {
 public:
  Ends(Connection* connection, std::vector<Lease>* leases)
      : leases_(*leases), stream_(connection->watch->Watch(&context_)) {
    etcdserverpb::WatchRequest request;
    request.mutable_create_request()->set_key("leased/");
    request.mutable_create_request()->set_range_end("leased0");
    request.mutable_create_request()->add_filters(etcdserverpb::WatchCreateRequest::NOPUT);
    CHECK(stream_->Write(request));
    etcdserverpb::WatchResponse created;
    CHECK(stream_->Read(&created) && created.created());
    reader_ = std::thread([this] { Read(); });
  }
  ~Ends() {
    context_.TryCancel();
    reader_.join();
    stream_->Finish();
  }
  int count() const { return count_; }

 private:
  void Read() {
    etcdserverpb::WatchResponse response;
    while (stream_->Read(&response)) {
      const absl::Time now = absl::Now();
      for (const mvccpb::Event& event : response.events()) {
        int number = 0;
        CHECK(absl::SimpleAtoi(event.kv().key().substr(sizeof("leased/") - 1), &number));
        leases_[number].ended = now;
        ++count_;
      }
    }
  }

  std::vector<Lease>& leases_;
  std::atomic<int> count_{0};
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<etcdserverpb::WatchRequest, etcdserverpb::WatchResponse>>
      stream_;
  std::thread reader_;
};

// The CPU seconds of each member, and of this program.
std::vector<double> CpuSeconds(const std::vector<LocalServers>& servers) {
  std::vector<double> seconds;
  for (const LocalServers& server : servers) seconds.push_back(server.CpuSeconds());
  seconds.push_back(static_cast<double>(std::clock()) / CLOCKS_PER_SEC);
  return seconds;
}

// Puts for `seconds`, or until `over`, and prints the times.
void Puts(const std::vector<std::string>& addresses, const std::vector<LocalServers>& servers,
          const Settings& settings, const std::string& phase,
          const std::function<bool()>& over = nullptr) {
  std::atomic<bool> stop{false};
  client::LoadOptions options;
  options.endpoints = addresses;
  options.clients = kInFlight;
  options.conns = kConnections;
  options.warm_up = absl::ZeroDuration();
  options.duration = absl::Seconds(over != nullptr ? 120 : settings.seconds);
  options.request_timeout = absl::Minutes(1);
  options.prefix = "other/";
  options.rate = settings.puts;
  options.late_turns = client::LoadOptions::LateTurns::kTaken;
  options.stop = &stop;
  const std::vector<double> before = CpuSeconds(servers);
  const auto report = client::RunLoad(options, [&](const client::LoadProgress&) {
    if (over != nullptr && over()) stop = true;
  });
  CHECK(report.ok()) << report.status();
  absl::PrintF("  puts %s: %d answered, %d failed; p50 / p99 / max ms: %s / %s / %s\n", phase,
               report->latency.count(), report->errors, Ms(report->latency, 0.5),
               Ms(report->latency, 0.99), Ms(report->latency, 1));
  const std::vector<double> after = CpuSeconds(servers);
  absl::PrintF("    CPU s of the members and of this program:");
  for (size_t i = 0; i < after.size(); ++i) absl::PrintF(" %.2f", after[i] - before[i]);
  absl::PrintF(", in %.1f s\n", report->seconds);
}

class LeaseLoad {
 public:
  LeaseLoad(Cluster* cluster, const Settings& settings)
      : settings_(settings), leases_(settings.leases) {
    for (int i = 0; i < kConnections; ++i) {
      connections_.push_back(
          std::make_unique<Connection>(cluster->client_address(i % settings.members)));
      CHECK(connections_.back()->Ready());
    }
    for (int i = 0; i < settings.members; ++i) {
      addresses_.push_back(cluster->client_address(i));
      servers_.emplace_back(std::vector{addresses_.back()});
    }
  }

  void Run() {
    Puts(addresses_, servers_, settings_, "without leases");
    const int64_t before = LargestMiB();
    Ends ends(connections_[0].get(), &leases_);
    const absl::Time begin = absl::Now();
    Make();
    absl::PrintF(
        "  %d leases with a key each were made in %.1f s; memory of the largest member: "
        "%d MiB before, %d MiB with them\n",
        settings_.leases, absl::ToDoubleSeconds(absl::Now() - begin), before, LargestMiB());
    KeepAlive();
    Expire(&ends);
    Report();
  }

 private:
  int64_t LargestMiB() {
    int64_t largest = 0;
    for (const LocalServers& server : servers_) {
      largest = std::max(largest, server.LargestResidentBytes() >> 20);
    }
    return largest;
  }

  void Make() {
    std::atomic<int> next{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < kInFlight; ++i) {
      threads.emplace_back(MakeLeases, connections_[i % kConnections].get(), settings_, &next,
                           &leases_);
    }
    for (std::thread& thread : threads) thread.join();
    for (int i = 0; i < kConnections; ++i) {
      const auto bound = [&](int n) {
        return static_cast<int>(int64_t{settings_.leases} * n / kConnections);
      };
      renewing_.push_back(
          std::make_unique<Renewing>(connections_[i].get(), &leases_, bound(i), bound(i + 1)));
    }
  }

  // Calls RenewAll of all streams at the same time.
  void RenewAll(absl::Duration duration, const std::atomic<bool>& stop) {
    std::vector<std::thread> threads;
    for (auto& stream : renewing_) {
      threads.emplace_back([&, duration] { stream->RenewAll(duration, stop); });
    }
    for (std::thread& thread : threads) thread.join();
    for (auto& stream : renewing_) stream->AwaitAnswers();
  }

  void KeepAlive() {
    std::atomic<bool> stop{false};
    std::thread renewer([&] {
      while (!stop) RenewAll(absl::Seconds(settings_.ttl) / 3, stop);
    });
    Puts(addresses_, servers_, settings_, "beside keep-alives");
    stop = true;
    renewer.join();
  }

  void Expire(Ends* ends) {
    const absl::Time begin = absl::Now();
    const std::atomic<bool> never{false};
    RenewAll(absl::ZeroDuration(), never);
    int64_t lost = 0;
    for (auto& stream : renewing_) lost += stream->lost();
    absl::PrintF("  all leases renewed at once: %.1f s; leases lost so far: %d (%d keys)\n",
                 absl::ToDoubleSeconds(absl::Now() - begin), lost, ends->count());
    absl::SleepFor(begin + absl::Seconds(settings_.ttl - 1) - absl::Now());
    Puts(addresses_, servers_, settings_, "beside the expiry",
         [&] { return ends->count() >= settings_.leases; });
  }

  void Report() {
    absl::Time first = absl::InfiniteFuture(), last = absl::InfinitePast();
    int64_t early = 0, open = 0;
    Histogram late;
    for (const Lease& lease : leases_) {
      if (lease.ended == absl::InfiniteFuture()) {
        ++open;
        continue;
      }
      const absl::Duration ttl = absl::Seconds(settings_.ttl);
      if (lease.ended < lease.sent + ttl) ++early;
      first = std::min(first, lease.ended);
      last = std::max(last, lease.ended);
      late.Add(std::max<int64_t>(0, absl::ToInt64Microseconds(lease.ended - lease.renewed - ttl)));
    }
    absl::PrintF(
        "  expired: %d, within %.1f s; late by p50 / p99 / max ms: %s / %s / %s; early: %d; "
        "not expired: %d; memory: %d MiB\n",
        late.count(), absl::ToDoubleSeconds(last - first), Ms(late, 0.5), Ms(late, 0.99),
        Ms(late, 1), early, open, LargestMiB());
  }

  const Settings& settings_;
  std::vector<Lease> leases_;
  Connections connections_;
  std::vector<std::string> addresses_;
  std::vector<LocalServers> servers_;  // one for each member
  std::vector<std::unique_ptr<Renewing>> renewing_;
};

void Measure(Product product, const char* name, const Settings& settings) {
  absl::PrintF("%s\n", name);
  Cluster cluster({.product = product, .size = settings.members, .keep_data = false});
  cluster.StartAll();
  CHECK_GE(cluster.WaitForLeader(), 0);
  LeaseLoad(&cluster, settings).Run();
}

}  // namespace
}  // namespace raftkv::e2e

int main(int argc, char** argv) {
  using raftkv::e2e::Product;
  raftkv::e2e::Settings settings;
  CLI::App app("Measures leases.");
  app.add_option("--leases", settings.leases)->check(CLI::Range(16, 1'000'000));
  app.add_option("--ttl", settings.ttl)->check(CLI::Range(5, 3600));
  app.add_option("--puts", settings.puts)->check(CLI::PositiveNumber);
  app.add_option("--seconds", settings.seconds)->check(CLI::PositiveNumber);
  app.add_option("--members", settings.members)->check(CLI::Range(1, 7));
  app.add_option("--only", settings.only)->check(CLI::IsMember({"raftkv", "etcd"}));
  CLI11_PARSE(app, argc, argv);
  setvbuf(stdout, nullptr, _IOLBF, 0);  // a run takes minutes
  if (settings.only != "etcd") raftkv::e2e::Measure(Product::kRaftkv, "raftkv", settings);
  if (settings.only != "raftkv") raftkv::e2e::Measure(Product::kEtcd, "etcd", settings);
  return 0;
}
