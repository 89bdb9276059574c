// The verbs lease grant, revoke, timetolive, list and keep-alive.
#include <algorithm>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "client/cli/cli.h"
#include "client/clock.h"

namespace raftkv::client {
namespace {

struct LeaseArguments {
  std::string ttl;
  std::string id;
  bool keys = false;
  bool once = false;
};

// Lease ids are written in hexadecimal, as etcdctl does. An id is a signed number of 64 bits.
absl::StatusOr<int64_t> ParseId(const std::string& text) {
  uint64_t id = 0;
  if (absl::SimpleHexAtoi(text, &id)) return static_cast<int64_t>(id);
  return absl::InvalidArgumentError(
      absl::StrCat("bad lease ID arg (\"", text, "\"), expecting ID in Hex"));
}

int Grant(const LeaseArguments& arguments, const Context& context) {
  int64_t ttl = 0;
  if (!absl::SimpleAtoi(arguments.ttl, &ttl)) {
    return context.BadArguments(
        absl::StrCat("bad TTL (\"", arguments.ttl, "\" is not a whole number of seconds)"));
  }
  if (ttl < 0) {
    return context.BadArguments(absl::StrCat("bad TTL (", ttl, " is negative); give seconds"));
  }
  if (context.format == Format::kTable) return context.NoTable();
  const auto result = context.Connect()->LeaseGrant(ttl);
  if (!result.ok()) return context.Fail(result.status());
  context.MakeOutput().Grant(*result);
  return kExitOk;
}

int Revoke(const LeaseArguments& arguments, const Context& context) {
  const auto id = ParseId(arguments.id);
  if (!id.ok()) return context.BadArguments(id.status().message());
  if (context.format == Format::kTable) return context.NoTable();
  const auto result = context.Connect()->LeaseRevoke(*id);
  if (!result.ok()) return context.Fail(result.status());
  context.MakeOutput().Revoke(*result, *id);
  return kExitOk;
}

int TimeToLive(const LeaseArguments& arguments, const Context& context) {
  const auto id = ParseId(arguments.id);
  if (!id.ok()) return context.BadArguments(id.status().message());
  if (context.format == Format::kTable) return context.NoTable();
  const auto result = context.Connect()->LeaseTimeToLive(*id, arguments.keys);
  if (!result.ok()) return context.Fail(result.status());
  context.MakeOutput().TimeToLive(*result, arguments.keys);
  return kExitOk;
}

int List(const LeaseArguments&, const Context& context) {
  if (context.format == Format::kTable) return context.NoTable();
  const auto result = context.Connect()->LeaseList();
  if (!result.ok()) return context.Fail(result.status());
  context.MakeOutput().Leases(*result);
  return kExitOk;
}

// A renewal without an answer must leave time for another one (as in Session). `ttl` is zero before
// the first answer.
absl::Duration RenewalLimit(absl::Duration ttl, const Context& context) {
  if (ttl == absl::ZeroDuration()) return context.command_timeout;
  return std::min(context.command_timeout, std::max(ttl / 3, absl::Seconds(1)));
}

// Runs until the lease is gone. After an error it tries again as long as the lease may exist.
int KeepAlive(const LeaseArguments& arguments, const Context& context) {
  const auto id = ParseId(arguments.id);
  if (!id.ok()) return context.BadArguments(id.status().message());
  if (context.format == Format::kTable) return context.NoTable();
  // A renewal is hedged after a part of request_timeout. The lease may be short, so the other
  // endpoints are asked soon, however long the whole call may take.
  Options options = context.ClientOptions();
  options.request_timeout = std::min(options.request_timeout, absl::Seconds(1));
  const auto client = Client::Connect(options);
  if (!client.ok()) return context.Fail(client.status());
  Output output = context.MakeOutput();
  absl::Duration ttl;
  MonotonicTime lives_until = MonotonicTime::InfinitePast();
  for (;;) {
    const MonotonicTime asked = Now();
    const auto result = (*client)->Call(LeaseKeepAliveRequest(*id),
                                        {.deadline = absl::Now() + RenewalLimit(ttl, context)});
    if (!result.ok()) {
      if (arguments.once || Now() >= lives_until) return context.Fail(result.status());
      absl::SleepFor(std::min(ttl / 20, absl::Milliseconds(500)));
      continue;
    }
    if (result->ttl <= 0) {
      if (arguments.once) return context.Fail(kExitFailed, "requested lease not found");
      context.streams.out << "lease " << absl::StrCat(absl::Hex(*id, absl::kZeroPad16))
                          << " expired or revoked.\n";
      return kExitOk;
    }
    output.KeepAlive(*result);
    if (arguments.once) return kExitOk;
    ttl = absl::Seconds(result->ttl);
    lives_until = asked + ttl;
    absl::SleepFor(ttl / 3);
  }
}

}  // namespace

void AddLeaseVerbs(CLI::App& app, Context& context) {
  CLI::App* lease =
      app.add_subcommand("lease", "Leases: at the end of a lease, its keys are deleted");
  lease->require_subcommand(0, 1);
  const auto add = [&](const char* name, const char* what,
                       int (*run)(const LeaseArguments&, const Context&)) {
    CLI::App* verb = lease->add_subcommand(name, what);
    auto arguments = std::make_shared<LeaseArguments>();
    context.OnVerb(verb, [arguments, run, &context] { return run(*arguments, context); });
    return std::pair(verb, arguments);
  };
  const auto id = [](const auto& added) {
    added.first->add_option("id", added.second->id, "the lease, in hexadecimal")->required();
  };
  add("list", "Prints the IDs of all leases", List);
  const auto grant = add("grant", "Grants a lease and prints its ID", Grant);
  grant.first->add_option("ttl", grant.second->ttl, "time to live in seconds")->required();
  id(add("revoke", "Ends a lease and deletes its keys", Revoke));
  const auto time_to_live =
      add("timetolive", "Prints the remaining time to live of a lease", TimeToLive);
  id(time_to_live);
  time_to_live.first->add_flag("--keys", time_to_live.second->keys, "print its keys, too");
  const auto keep_alive =
      add("keep-alive", "Keeps a lease alive until it is revoked, or until Ctrl-C", KeepAlive);
  id(keep_alive);
  keep_alive.first->add_flag("--once", keep_alive.second->once, "renew the lease once, then exit");
}

}  // namespace raftkv::client
