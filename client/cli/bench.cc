// bench put, bench get, bench txn.
#include <atomic>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "client/bench/load.h"
#include "client/cli/cause.h"
#include "client/cli/cli.h"
#include "client/cli/command.h"
#include "client/cli/usage.h"

namespace raftkv::client {
namespace {

using Json = nlohmann::ordered_json;

struct BenchArguments {
  LoadOptions load;
  double seconds = 10;
  int conns = 0;  // 0: one for each endpoint, but at most one for each client
  std::string consistency = "l";
};

double Milliseconds(const LoadReport& report, double fraction) {
  return static_cast<double>(report.latency.Percentile(fraction)) / 1000;
}

Json ToJson(const char* verb, const LoadOptions& load, const std::vector<std::string>& unreachable,
            const LoadReport& report) {
  Json errors = Json::object();
  for (const auto& [message, count] : report.errors_by_message) errors[message] = count;
  Json json = {{"verb", verb},
               {"endpoints", load.endpoints},
               {"unreachable", unreachable},
               {"clients", load.clients},
               {"conns", load.conns},
               {"val_size", load.val_size},
               {"key_space", load.key_space},
               {"seconds", report.seconds},
               {"ops", report.latency.count()},
               {"ops_per_second", report.OpsPerSecond()},
               {"p50_ms", Milliseconds(report, 0.5)},
               {"p90_ms", Milliseconds(report, 0.9)},
               {"p99_ms", Milliseconds(report, 0.99)},
               {"max_ms", static_cast<double>(report.latency.max()) / 1000},
               {"error_count", report.errors},
               {"errors", errors}};
  if (load.verb == LoadOptions::Verb::kGet) json["consistency"] = load.serializable ? "s" : "l";
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

void PrintText(const char* verb, const LoadOptions& load,
               const std::vector<std::string>& unreachable, const LoadReport& report,
               std::ostream& out) {
  out << absl::StrFormat("%s: %d client%s, %d connection%s, %d-byte values, %.1f s\n", verb,
                         load.clients, load.clients == 1 ? "" : "s", load.conns,
                         load.conns == 1 ? "" : "s", load.val_size, report.seconds)
      << absl::StrFormat("%.0f ops/s   p50 %.3f ms   p90 %.3f ms   p99 %.3f ms   max %.3f ms\n",
                         report.OpsPerSecond(), Milliseconds(report, 0.5),
                         Milliseconds(report, 0.9), Milliseconds(report, 0.99),
                         static_cast<double>(report.latency.max()) / 1000);
  if (!unreachable.empty()) out << "unreachable: " << absl::StrJoin(unreachable, ", ") << "\n";
  for (const auto& [message, count] : report.errors_by_message) {
    out << "error " << count << (count == 1 ? " time: " : " times: ") << message << "\n";
  }
  out << "the keys bench/... stay; remove them: raftkv del --prefix bench/\n";
}

absl::Status InRange(const char* flag, double value, double least, double most) {
  if (value >= least && value <= most) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrFormat("%s must be from %.15g to %.15g", flag, least, most));
}

absl::Status Check(const BenchArguments& arguments) {
  if (arguments.consistency != "l" && arguments.consistency != "s") {
    return absl::InvalidArgumentError(
        absl::StrCat("unknown consistency flag \"", arguments.consistency, "\", use l or s"));
  }
  const LoadOptions& load = arguments.load;
  absl::Status status = InRange("--clients", load.clients, 1, 100'000);
  status.Update(InRange("--seconds", arguments.seconds, 0.001, 1'000'000));
  status.Update(InRange("--val-size", load.val_size, 0, 64 << 20));
  status.Update(InRange("--key-space", load.key_space, 1, 100'000'000));
  return status;
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
  LoadOptions& load = arguments.load;
  load.endpoints = reach.up;
  load.conns = std::min(load.clients,
                        arguments.conns > 0 ? arguments.conns : static_cast<int>(reach.up.size()));
  load.duration = absl::Seconds(arguments.seconds);
  load.dial_timeout = context.dial_timeout;
  load.request_timeout = context.command_timeout;
  load.serializable = arguments.consistency == "s";

  // The first Ctrl-C ends the measurement, and a second one the process.
  std::atomic<bool> interrupted{false};
  load.stop = &interrupted;
  const Interrupts interrupts([&interrupted](int) { interrupted = true; });
  const bool live = context.streams.err_is_terminal;
  LoadProgress before;
  const auto report = RunLoad(load, [&](const LoadProgress& now) {
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
  if (!report.ok()) {
    const int code = absl::IsUnavailable(report.status()) ? kExitUnreachable : kExitFailed;
    return context.Fail(code, report.status().message());
  }
  if (context.format == Format::kJson) {
    context.streams.out << Text(ToJson(name, load, reach.down, *report)) << "\n";
  } else if (context.format == Format::kFields) {
    PrintFields(ToJson(name, load, reach.down, *report), context.streams.out);
  } else {
    PrintText(name, load, reach.down, *report, context.streams.out);
  }
  return report->errors == 0 ? kExitOk : kExitFailed;
}

void AddVerb(CLI::App& bench, const char* name, const char* what, LoadOptions::Verb verb,
             Context& context) {
  CLI::App* app = bench.add_subcommand(name, what);
  auto arguments = std::make_shared<BenchArguments>();
  LoadOptions& load = arguments->load;
  load.verb = verb;
  AddNumber(*app, "--clients", load.clients, "workers, each with one request in flight")
      ->capture_default_str();
  AddNumber(*app, "--conns", arguments->conns,
            "connections, divided among the endpoints (0: one for each)")
      ->capture_default_str();
  AddNumber(*app, "--seconds", arguments->seconds,
            "length of the measurement, after a warm-up of 1 s")
      ->capture_default_str();
  AddNumber(*app, "--val-size", load.val_size, "size of a value in bytes")->capture_default_str();
  AddNumber(*app, "--key-space", load.key_space, "number of different keys")->capture_default_str();
  if (verb == LoadOptions::Verb::kGet) {
    app->add_option("--consistency", arguments->consistency, "l: linearizable, s: serializable")
        ->capture_default_str();
  }
  app->callback([arguments, name, &context] {
    context.verb = [arguments, name, &context] { return Bench(name, *arguments, context); };
  });
}

}  // namespace

void AddBenchVerbs(CLI::App& app, Context& context) {
  CLI::App* bench = app.add_subcommand("bench", "Measures throughput and latency");
  bench->require_subcommand(0, 1);
  AddVerb(*bench, "put", "Writes random keys", LoadOptions::Verb::kPut, context);
  AddVerb(*bench, "get", "Reads random keys; first writes them if some are missing",
          LoadOptions::Verb::kGet, context);
  AddVerb(*bench, "txn", "Writes random keys by compare and swap on mod_revision",
          LoadOptions::Verb::kTxn, context);
}

}  // namespace raftkv::client
