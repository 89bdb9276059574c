// check perf: puts at a fixed rate for a minute, and judges how the cluster keeps up. Loads, limits
// and texts are etcdctl's, so that results can be compared.
#include <atomic>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/bench/load.h"
#include "client/cli/cause.h"
#include "client/cli/cli.h"
#include "client/cli/command.h"
#include "client/cli/usage.h"

namespace raftkv::client {
namespace {

struct Load {
  const char* name;
  const char* long_name;
  double rate;  // puts per second
  int clients;
};
constexpr Load kLoads[] = {{"s", "small", 150, 50},
                           {"m", "medium", 1000, 200},
                           {"l", "large", 8000, 500},
                           {"xl", "xLarge", 15000, 1000}};
constexpr int kKeyDigits = 256;
constexpr int kValueBytes = 1024;
// What a cluster must reach to pass.
constexpr double kRateMin = 0.9;     // of the load's
constexpr double kSlowestMax = 0.5;  // seconds
constexpr double kDeviationMax = 0.1;

constexpr int kDeletePage = 1000;  // keys that one request deletes; a member limits each request

struct CheckArguments {
  std::string load = "s";
  std::string prefix = "/etcdctl-check-perf/";
  bool auto_compact = false;
  bool auto_defrag = false;
  double seconds = 60;
};

const Load* FindLoad(const std::string& name) {
  for (const Load& load : kLoads) {
    if (name == load.name || name == load.long_name) return &load;
  }
  return nullptr;
}

// Deletes all keys of the check. Returns the revision of the last deletion, 0 if there was none.
absl::StatusOr<int64_t> DeleteKeys(Client* client, const std::string& prefix) {
  int64_t revision = 0;
  for (;;) {
    const auto page =
        client->Range(Keys::Prefix(prefix), {.limit = kDeletePage, .keys_only = true});
    if (!page.ok()) return page.status();
    if (page->kvs.empty()) return revision;
    const std::string end = page->kvs.back().key + std::string(1, '\0');
    const auto deleted = client->Delete(Keys::Range(page->kvs.front().key, end));
    if (!deleted.ok()) return deleted.status();
    revision = deleted->header.revision;
  }
}

// Removes what the check has left. A failure is printed, and does not end the clean-up.
bool CleanUp(Client* client, const CheckArguments& arguments, const Context& context) {
  std::ostream& out = context.streams.out;
  const auto revision = DeleteKeys(client, arguments.prefix);
  if (!revision.ok()) {
    out << "FAIL: Cleanup failed during key deletion: ERROR(" << revision.status().message()
        << ")\n";
    return false;
  }
  if (arguments.auto_compact && *revision != 0) {
    const auto compacted = client->Compact(*revision);
    if (!compacted.ok()) {
      out << "FAIL: ERROR(" << compacted.status().message() << ")\n";
      return false;
    }
    out << "Compacted with revision " << *revision << "\n";
  }
  bool good = true;
  for (const std::string& endpoint : context.endpoints) {
    if (!arguments.auto_defrag) break;
    out << "Defragmenting \"" << endpoint << "\"\n";
    Options options = context.ClientOptions();
    options.endpoints = {endpoint};
    const auto one = Client::Connect(options);
    const absl::Status status = one.ok() ? (*one)->Defragment() : one.status();
    if (status.ok()) continue;
    out << "FAIL: ERROR(" << context.WithCause(status, endpoint).message() << ")\n";
    good = false;
  }
  return good;
}

// Prints a line for each limit. Returns whether all were kept.
bool Judge(const LoadReport& report, double rate, std::ostream& out) {
  bool pass = true;
  if (report.errors > 0) {
    out << "FAIL: too many errors\n";
    for (const auto& [message, count] : report.errors_by_message) {
      out << "FAIL: ERROR(" << message << ") -> " << count << "\n";
    }
    pass = false;
  }
  const double reached = report.OpsPerSecond();
  const double slowest = static_cast<double>(report.latency.max()) / 1e6;
  const double deviation = report.latency.StandardDeviation() / 1e6;
  const auto print = [&](bool good, const std::string& passed, const std::string& failed) {
    out << (good ? passed : failed) << "\n";
    pass = pass && good;
  };
  const int writes = static_cast<int>(reached) + 1;
  print(reached / rate > kRateMin, absl::StrFormat("PASS: Throughput is %d writes/s", writes),
        absl::StrFormat("FAIL: Throughput too low: %d writes/s", writes));
  print(slowest <= kSlowestMax, absl::StrFormat("PASS: Slowest request took %fs", slowest),
        absl::StrFormat("Slowest request took too long: %fs", slowest));
  print(deviation <= kDeviationMax, absl::StrFormat("PASS: Stddev is %fs", deviation),
        absl::StrFormat("Stddev too high: %fs", deviation));
  out << (pass ? "PASS" : "FAIL") << "\n";
  return pass;
}

absl::StatusOr<LoadReport> Measure(const Load& load, const CheckArguments& arguments,
                                   const std::vector<std::string>& endpoints,
                                   const std::atomic<bool>* stop, const Context& context) {
  const LoadOptions options = {.verb = LoadOptions::Verb::kPut,
                               .endpoints = endpoints,
                               .clients = load.clients,
                               .conns = static_cast<int>(endpoints.size()),
                               .warm_up = absl::ZeroDuration(),
                               .duration = absl::Seconds(arguments.seconds),
                               .dial_timeout = context.dial_timeout,
                               .request_timeout = context.command_timeout,
                               .val_size = kValueBytes,
                               .key_space = 1'000'000'000,
                               .prefix = arguments.prefix,
                               .key_digits = kKeyDigits,
                               .rate = load.rate,
                               .stop = stop};
  const bool live = context.streams.err_is_terminal;
  auto report = RunLoad(options, [&](const LoadProgress& now) {
    if (!live) return;
    context.streams.err << absl::StrFormat("\r%3.0f of %.0f s  %8d puts  %d errors   ", now.seconds,
                                           arguments.seconds, now.ops, now.errors)
                        << std::flush;
  });
  if (live) context.streams.err << "\r\033[K" << std::flush;
  return report;
}

int CheckPerf(const CheckArguments& arguments, const Context& context) {
  if (context.format != Format::kSimple) {
    return context.Fail(kExitBadFormat, "check perf supports only the output format simple");
  }
  const Load* load = FindLoad(arguments.load);
  if (load == nullptr) {
    return context.BadArguments(
        absl::StrCat("unknown load \"", arguments.load, "\", use s, m, l or xl"));
  }
  if (arguments.seconds < 1 || arguments.seconds > 3600) {
    return context.BadArguments("--seconds must be from 1 to 3600");
  }
  if (arguments.prefix.empty()) return context.BadArguments("--prefix must not be empty");
  const Reachability reach = CheckReachability(context.endpoints, context.dial_timeout);
  if (reach.up.empty()) return context.Unreachable(reach.down);
  const auto client = context.Connect();
  const auto found = client->Range(Keys::Prefix(arguments.prefix), {.limit = 1, .keys_only = true});
  if (!found.ok()) return context.Fail(found.status());
  if (!found->kvs.empty()) {
    return context.Fail(
        kExitFailed, absl::StrCat("there are keys with the prefix \"", arguments.prefix,
                                  "\"; remove them first: raftkv del --prefix ", arguments.prefix));
  }
  std::atomic<bool> interrupted{false};
  const Interrupts interrupts([&interrupted](int) { interrupted = true; });
  if (!reach.down.empty()) {
    context.streams.err << "Note: " << CannotConnect(reach.down, context.ProbeLimit())
                        << "; checking the others\n";
  }
  const auto report = Measure(*load, arguments, reach.up, &interrupted, context);
  const bool clean = CleanUp(client.get(), arguments, context);
  if (interrupted) return context.Fail(kExitFailed, "interrupted");
  if (!report.ok()) return context.Fail(kExitFailed, report.status().message());
  return Judge(*report, load->rate, context.streams.out) && clean ? kExitOk : kExitFailed;
}

}  // namespace

void AddCheckVerbs(CLI::App& app, Context& context) {
  CLI::App* check = app.add_subcommand("check", "Checks properties of the cluster");
  check->require_subcommand(0, 1);
  CLI::App* perf = check->add_subcommand("perf", "Checks whether the cluster keeps up with a load");
  auto arguments = std::make_shared<CheckArguments>();
  perf->add_option("--load", arguments->load,
                   "puts per second and clients: s (150, 50), m (1000, 200), l (8000, 500) or "
                   "xl (15000, 1000)")
      ->capture_default_str();
  perf->add_option("--prefix", arguments->prefix,
                   "of the keys that are written; there must be none yet")
      ->capture_default_str();
  AddNumber(*perf, "--seconds", arguments->seconds, "length of the measurement")
      ->capture_default_str();
  perf->add_flag("--auto-compact", arguments->auto_compact, "compact the history afterwards");
  perf->add_flag("--auto-defrag", arguments->auto_defrag, "defragment all endpoints afterwards");
  perf->footer(
      "Writes keys of 256 bytes with values of 1 KiB, and deletes them afterwards. It passes if "
      "the\n"
      "cluster reaches 90% of the load's rate without errors, no put takes more than 500 ms, and\n"
      "the standard deviation is at most 100 ms. Otherwise the exit code is 1.\n");
  context.OnVerb(perf, [arguments, &context] { return CheckPerf(*arguments, context); });
}

}  // namespace raftkv::client
