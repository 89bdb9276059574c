// bench put, bench get, bench txn, bench mix, bench watch.
#include <atomic>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "client/bench/load.h"
#include "client/bench/local_servers.h"
#include "client/bench/watch_load.h"
#include "client/cli/cause.h"
#include "client/cli/cli.h"
#include "client/cli/command.h"
#include "client/cli/usage.h"

namespace raftkv::client {
namespace {

using Json = nlohmann::ordered_json;
using Verb = LoadOptions::Verb;

constexpr double kSecondsMax = 1'000'000;

struct BenchArguments {
  WatchLoadOptions watch;
  LoadOptions& load() { return watch.puts; }
  const LoadOptions& load() const { return watch.puts; }

  bool watches = false;   // bench watch
  bool same_key = false;  // all watches have one key
  double seconds = 10;
  int conns = 0;     // 0: one for each endpoint, but at most one for each client
  int key_size = 0;  // 0: as short as usual
  int64_t total = 0;
  std::string consistency = "l";
  bool histogram = false;
};

// What the local processes of the cluster used between two reports of progress.
struct ServerUse {
  size_t processes = 0;
  double cpu_us_per_op = 0;
  int64_t largest_resident_bytes = 0;
};

// Samples the local servers whenever progress is reported.
class ServerSamples {
 public:
  explicit ServerSamples(LocalServers servers) : servers_(std::move(servers)) {}
  void Sample(const LoadProgress& now) {
    if (now.seconds < 0 || servers_.pids().empty()) return;
    const Point point{now.ops, servers_.CpuSeconds()};
    if (!first_.has_value()) first_ = point;
    last_ = point;
  }
  ServerUse Use() const {
    ServerUse use{.processes = servers_.pids().size(),
                  .cpu_us_per_op = 0,
                  .largest_resident_bytes = servers_.LargestResidentBytes()};
    if (first_.has_value() && last_.ops > first_->ops) {
      use.cpu_us_per_op =
          (last_.cpu - first_->cpu) * 1e6 / static_cast<double>(last_.ops - first_->ops);
    }
    return use;
  }

 private:
  struct Point {
    uint64_t ops;
    double cpu;
  };
  const LocalServers servers_;
  std::optional<Point> first_;
  Point last_{0, 0};
};

struct BenchReport {
  const char* verb;
  std::vector<std::string> unreachable;
  WatchReport result;
  ServerUse servers;
  const LoadReport& load() const { return result.puts; }
  // What the histogram shows: the delays of events, or else the latencies.
  const Histogram& times(const BenchArguments& arguments) const {
    return arguments.watches ? result.delay : load().latency;
  }
};

// Whether the measured operations write. The values that `bench get` reads may have any size.
bool Writes(const LoadOptions& load) { return load.verb != Verb::kGet; }

double Milliseconds(int64_t microseconds) { return static_cast<double>(microseconds) / 1000; }

Json Percentiles(const Histogram& latency) {
  return {{"p50_ms", Milliseconds(latency.Percentile(0.5))},
          {"p90_ms", Milliseconds(latency.Percentile(0.9))},
          {"p99_ms", Milliseconds(latency.Percentile(0.99))},
          {"p999_ms", Milliseconds(latency.Percentile(0.999))},
          {"max_ms", Milliseconds(latency.max())}};
}

Json ToJson(const BenchArguments& arguments, const BenchReport& report) {
  const LoadOptions& load = arguments.load();
  Json errors = Json::object();
  for (const auto& [message, count] : report.load().errors_by_message) errors[message] = count;
  Json json = {{"verb", report.verb},
               {"endpoints", load.endpoints},
               {"unreachable", report.unreachable},
               {"clients", load.clients},
               {"conns", load.conns},
               {"key_size", load.prefix.size() + load.key_digits}};
  if (Writes(load)) json["val_size"] = load.val_size;
  json.update({{"key_space", load.key_space},
               {"keys_per_operation", load.keys_per_operation},
               {"rate", load.rate},
               {"seconds", report.load().seconds},
               {"ops", report.load().latency.count()},
               {"ops_per_second", report.load().OpsPerSecond()}});
  json.update(Percentiles(report.load().latency));
  json["error_count"] = report.load().errors;
  json["errors"] = errors;
  if (load.verb == Verb::kGet || load.verb == Verb::kMix) {
    json["consistency"] = load.serializable ? "s" : "l";
  }
  if (load.verb == Verb::kMix) {
    json["reads"] = load.reads;
    json["gets"] = Percentiles(report.load().gets);
    json["puts"] = Percentiles(report.load().puts);
  }
  if (arguments.watches) {
    json["watches"] = arguments.watch.watches;
    json["streams"] = arguments.watch.streams;
    json["events"] = report.result.delay.count();
    json["missing_events"] = report.result.missing;
    json["event_delay"] = Percentiles(report.result.delay);
  }
  if (report.servers.processes > 0) {
    json["local_servers"] = report.servers.processes;
    json["server_cpu_us_per_op"] = report.servers.cpu_us_per_op;
    json["server_resident_bytes_max"] = report.servers.largest_resident_bytes;
  }
  Json histogram = Json::array();
  for (const Histogram::Bar& bar : report.times(arguments).Bars()) {
    histogram.push_back({{"ms_max", Milliseconds(bar.last)}, {"count", bar.count}});
  }
  json["histogram"] = histogram;
  return json;
}

std::string Text(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

void PrintFields(const Json& report, std::ostream& out) {
  for (const auto& [name, value] : report.items()) {
    out << Text(name) << " : " << Text(value) << "\n";
  }
}

std::string Percentages(const Histogram& latency) {
  return absl::StrFormat("p50 %.3f ms   p90 %.3f ms   p99 %.3f ms   p99.9 %.3f ms   max %.3f ms",
                         Milliseconds(latency.Percentile(0.5)),
                         Milliseconds(latency.Percentile(0.9)),
                         Milliseconds(latency.Percentile(0.99)),
                         Milliseconds(latency.Percentile(0.999)), Milliseconds(latency.max()));
}

// One line for each power of two, with a bar of at most 40 characters.
void PrintHistogram(const Histogram& latency, std::ostream& out) {
  constexpr double kWidth = 40;
  uint64_t most = 1;
  for (const Histogram::Bar& bar : latency.Bars()) most = std::max(most, bar.count);
  for (const Histogram::Bar& bar : latency.Bars()) {
    const auto width = static_cast<size_t>(
        std::ceil(kWidth * static_cast<double>(bar.count) / static_cast<double>(most)));
    out << absl::StrFormat("%12.3f ms %10d %s\n", Milliseconds(bar.last), bar.count,
                           std::string(width, '#'));
  }
}

std::string Count(int64_t count, const char* what, const char* plural) {
  return absl::StrCat(count, " ", count == 1 ? what : plural);
}

void PrintText(const BenchArguments& arguments, const BenchReport& report, std::ostream& out) {
  const LoadOptions& load = arguments.load();
  const LoadReport& measured = report.load();
  out << report.verb << ": " << Count(load.clients, "client", "clients") << ", "
      << Count(load.conns, "connection", "connections") << ", ";
  if (Writes(load)) out << absl::StrFormat("%d-byte values, ", load.val_size);
  if (load.keys_per_operation > 1) out << load.keys_per_operation << " keys each, ";
  out << absl::StrFormat("%.1f s\n", measured.seconds)
      << absl::StrFormat("%.0f ops/s", measured.OpsPerSecond());
  if (load.rate > 0) out << absl::StrFormat(" of %g", load.rate);
  out << "   " << Percentages(measured.latency) << "\n";
  if (load.verb == Verb::kMix) {
    out << "gets: " << measured.gets.count() << "   " << Percentages(measured.gets) << "\n"
        << "puts: " << measured.puts.count() << "   " << Percentages(measured.puts) << "\n";
  }
  if (arguments.watches) {
    out << Count(arguments.watch.watches, "watch", "watches") << " on "
        << Count(arguments.watch.streams, "stream", "streams") << ", "
        << Count(static_cast<int64_t>(report.result.delay.count()), "event", "events") << ", "
        << report.result.missing << " missing\n"
        << "from the start of a put to its event:   " << Percentages(report.result.delay) << "\n";
  }
  if (report.servers.processes > 0) {
    out << Count(static_cast<int64_t>(report.servers.processes), "local server", "local servers")
        << absl::StrFormat(": %.0f us of CPU for each operation, largest %d MiB\n",
                           report.servers.cpu_us_per_op,
                           report.servers.largest_resident_bytes >> 20);
  }
  if (arguments.histogram) PrintHistogram(report.times(arguments), out);
  if (!report.unreachable.empty()) {
    out << "unreachable: " << absl::StrJoin(report.unreachable, ", ") << "\n";
  }
  for (const auto& [message, count] : measured.errors_by_message) {
    out << "error " << Count(static_cast<int64_t>(count), "time", "times") << ": " << message
        << "\n";
  }
  out << "the keys bench/... stay; remove them: raftkv del --prefix bench/\n";
}

absl::Status InRange(const char* flag, double value, double least, double most) {
  if (value >= least && value <= most) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrFormat("%s must be from %.15g to %.15g", flag, least, most));
}

int KeySpace(const BenchArguments& arguments) {
  if (!arguments.watches) return arguments.load().key_space;
  return arguments.same_key ? 1 : arguments.watch.watches;
}

// The digits of the largest key's number.
int DigitsNeeded(int key_space) { return static_cast<int>(absl::StrCat(key_space - 1).size()); }

absl::Status Check(const BenchArguments& arguments) {
  if (arguments.consistency != "l" && arguments.consistency != "s") {
    return absl::InvalidArgumentError(
        absl::StrCat("unknown consistency flag \"", arguments.consistency, "\", use l or s"));
  }
  const LoadOptions& load = arguments.load();
  absl::Status status = InRange("--clients", load.clients, 1, 100'000);
  status.Update(InRange("--seconds", arguments.seconds, 0.001, kSecondsMax));
  status.Update(InRange("--total", static_cast<double>(arguments.total), 0, 1e15));
  status.Update(InRange("--rate", load.rate, 0, 10'000'000));
  status.Update(InRange("--reads", load.reads, 0, 1));
  status.Update(InRange("--val-size", load.val_size, 0, 64 << 20));
  status.Update(InRange("--key-space", load.key_space, 1, 100'000'000));
  status.Update(InRange("--keys", load.keys_per_operation, 1, std::min(10'000, load.key_space)));
  status.Update(InRange("--watches", arguments.watch.watches, 1, 10'000'000));
  status.Update(InRange("--streams", arguments.watch.streams, 1, 10'000));
  if (!status.ok() || arguments.key_size == 0) return status;
  const auto least = static_cast<double>(load.prefix.size() + DigitsNeeded(KeySpace(arguments)));
  return InRange("--key-size", arguments.key_size, least, 32 << 10);
}

// Fills in what depends on several flags, and on the endpoints that answer.
void Complete(const Context& context, std::vector<std::string> endpoints,
              BenchArguments* arguments) {
  LoadOptions& load = arguments->load();
  load.endpoints = std::move(endpoints);
  load.conns =
      std::min(load.clients,
               arguments->conns > 0 ? arguments->conns : static_cast<int>(load.endpoints.size()));
  load.duration = absl::Seconds(arguments->seconds);
  load.total = static_cast<uint64_t>(arguments->total);
  load.late_turns = LoadOptions::LateTurns::kTaken;
  load.dial_timeout = context.dial_timeout;
  load.request_timeout = context.command_timeout;
  load.serializable = arguments->consistency == "s";
  if (arguments->watches) load.key_space = KeySpace(*arguments);
  if (arguments->key_size > 0) {
    load.key_digits = arguments->key_size - static_cast<int>(load.prefix.size());
  }
}

// The processes of the whole cluster, if they are local: a put to one member makes all of them
// work.
LocalServers FindLocalServers(const LoadOptions& load) {
  std::vector<std::string> urls = load.endpoints;
  const auto client = Client::Connect({.endpoints = load.endpoints,
                                       .dial_timeout = load.dial_timeout,
                                       .request_timeout = load.dial_timeout});
  if (client.ok()) {
    // Not every service that can be measured has members.
    if (const auto members = (*client)->MemberList(); members.ok()) {
      for (const auto& member : members->members) {
        urls.insert(urls.end(), member.client_urls.begin(), member.client_urls.end());
      }
    }
  }
  return LocalServers(urls);
}

absl::StatusOr<WatchReport> Run(const BenchArguments& arguments,
                                const std::function<void(const LoadProgress&)>& progress) {
  if (arguments.watches)
    return RunWatchLoad(
        arguments.watch, [] {}, progress);
  auto report = RunLoad(arguments.load(), progress);
  if (!report.ok()) return report.status();
  return WatchReport{.puts = *std::move(report), .delay = {}, .missing = 0};
}

int Bench(const char* name, BenchArguments& arguments, const Context& context) {
  if (context.format == Format::kTable) return context.NoTable();
  const absl::Status good = Check(arguments);
  if (!good.ok()) return context.BadArguments(good.message());
  const Reachability reach = CheckReachability(context.endpoints, context.dial_timeout);
  if (reach.up.empty()) return context.Unreachable(reach.down);
  if (!reach.down.empty()) {
    context.streams.err << "Note: " << CannotConnect(reach.down, context.ProbeLimit())
                        << "; measuring the others\n";
  }
  Complete(context, reach.up, &arguments);

  // The first Ctrl-C ends the measurement, and a second one the process.
  std::atomic<bool> interrupted{false};
  arguments.load().stop = &interrupted;
  const Interrupts interrupts([&interrupted](int) { interrupted = true; });
  const bool live = context.streams.err_is_terminal;
  ServerSamples servers(FindLocalServers(arguments.load()));
  LoadProgress before;
  auto result = Run(arguments, [&](const LoadProgress& now) {
    servers.Sample(now);
    if (!live) return;
    if (now.seconds <= 0) {
      context.streams.err << "\rwarming up" << std::flush;
      return;
    }
    const double rate = (now.ops - before.ops) / (now.seconds - std::max(before.seconds, 0.0));
    context.streams.err << absl::StrFormat("\r%5.1f s  %8.0f ops/s  %d errors   ", now.seconds,
                                           rate, now.errors)
                        << std::flush;
    before = now;
  });
  if (live) context.streams.err << "\r\033[K" << std::flush;
  if (!result.ok()) {
    const int code = absl::IsUnavailable(result.status()) ? kExitUnreachable : kExitFailed;
    return context.Fail(code, result.status().message());
  }
  const BenchReport report{name, reach.down, *std::move(result), servers.Use()};
  if (context.format == Format::kJson) {
    context.streams.out << Text(ToJson(arguments, report)) << "\n";
  } else if (context.format == Format::kFields) {
    PrintFields(ToJson(arguments, report), context.streams.out);
  } else {
    PrintText(arguments, report, context.streams.out);
  }
  const bool good_run = report.load().errors == 0 && report.result.missing == 0;
  return good_run ? kExitOk : kExitFailed;
}

void AddVerb(CLI::App& bench, const char* name, const char* what,
             const std::shared_ptr<BenchArguments>& arguments, Context& context) {
  CLI::App* app = bench.add_subcommand(name, what);
  LoadOptions& load = arguments->load();
  AddNumber(*app, "--clients", load.clients, "workers, each with one request in flight")
      ->capture_default_str();
  AddNumber(*app, "--conns", arguments->conns,
            "connections, divided among the endpoints (0: one for each)")
      ->capture_default_str();
  CLI::Option* seconds =
      AddNumber(*app, "--seconds", arguments->seconds,
                arguments->watches ? "length of the measurement"
                                   : "length of the measurement, after a warm-up of 1 s")
          ->capture_default_str();
  AddNumber(*app, "--total", arguments->total,
            "end after so many operations (0: by time). Without --seconds, only then")
      ->capture_default_str();
  AddNumber(*app, "--rate", load.rate,
            "start so many operations a second, and count\n"
            "latency from the time when each should start, even\n"
            "if all workers are busy then (0: no limit)")
      ->capture_default_str();
  AddNumber(*app, "--key-size", arguments->key_size,
            "size of a key in bytes (0: the prefix bench/ and 10 digits)")
      ->capture_default_str();
  AddNumber(*app, "--val-size", load.val_size, "size of a value in bytes")->capture_default_str();
  if (!arguments->watches) {
    AddNumber(*app, "--key-space,--keyspace", load.key_space, "number of different keys")
        ->capture_default_str();
  }
  if (load.verb == Verb::kGet || (load.verb == Verb::kPut && !arguments->watches)) {
    AddNumber(*app, "--keys", load.keys_per_operation,
              load.verb == Verb::kGet ? "consecutive keys that one operation reads"
                                      : "consecutive keys that one operation writes, in a\n"
                                        "transaction (the service's limit: usually 128)")
        ->capture_default_str();
  }
  if (load.verb == Verb::kMix) {
    AddNumber(*app, "--reads", load.reads, "the share of gets, from 0 to 1")->capture_default_str();
  }
  if (load.verb == Verb::kGet || load.verb == Verb::kMix) {
    app->add_option("--consistency", arguments->consistency, "l: linearizable, s: serializable")
        ->capture_default_str();
  }
  if (arguments->watches) {
    AddNumber(*app, "--watches", arguments->watch.watches, "watches, each of a key of its own")
        ->capture_default_str();
    app->add_flag("--same-key", arguments->same_key, "all watches have the same key");
    AddNumber(*app, "--streams", arguments->watch.streams, "streams, divided among the connections")
        ->capture_default_str();
  }
  app->add_flag("--histogram", arguments->histogram,
                arguments->watches ? "print the delays of events as a histogram"
                                   : "print the latencies as a histogram");
  context.OnVerb(app, [arguments, name, seconds, &context] {
    if (arguments->total > 0 && seconds->count() == 0) arguments->seconds = kSecondsMax;
    return Bench(name, *arguments, context);
  });
}

std::shared_ptr<BenchArguments> ArgumentsOf(Verb verb) {
  auto arguments = std::make_shared<BenchArguments>();
  arguments->load().verb = verb;
  return arguments;
}

// The rate is one that every cluster can carry: the delay of events says little about a cluster
// that is overloaded.
std::shared_ptr<BenchArguments> ArgumentsOfWatch() {
  auto arguments = ArgumentsOf(Verb::kPut);
  arguments->watches = true;
  arguments->load().clients = 64;
  arguments->load().rate = 1000;
  return arguments;
}

}  // namespace

void AddBenchVerbs(CLI::App& app, Context& context) {
  CLI::App* bench = app.add_subcommand("bench", "Measures throughput and latency");
  bench->require_subcommand(0, 1);
  AddVerb(*bench, "put", "Writes random keys", ArgumentsOf(Verb::kPut), context);
  AddVerb(*bench, "get", "Reads random keys; first writes them if some are missing",
          ArgumentsOf(Verb::kGet), context);
  AddVerb(*bench, "txn", "Writes random keys by compare and swap on mod_revision",
          ArgumentsOf(Verb::kTxn), context);
  AddVerb(*bench, "mix", "Reads and writes random keys; first writes them if some are missing",
          ArgumentsOf(Verb::kMix), context);
  AddVerb(*bench, "watch", "Watches keys and writes them; measures when the events arrive",
          ArgumentsOfWatch(), context);
}

}  // namespace raftkv::client
