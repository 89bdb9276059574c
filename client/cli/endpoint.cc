// endpoint status, health, hashkv, and defrag. The first three ask all endpoints at the same time.
// defrag asks one after the other, because a member of etcd does not serve while it defragments.
// Results are printed in the order in which the endpoints were given.
#include <algorithm>
#include <map>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/cli/cli.h"
#include "client/cli/usage.h"
#include "client/clock.h"

namespace raftkv::client {
namespace {

struct EndpointClient {
  std::string endpoint;
  std::unique_ptr<Client> client;
};

// Makes one client for each endpoint; with `cluster`, for each member's client URLs instead.
absl::Status ConnectToEach(bool cluster, const Context& context,
                           std::vector<EndpointClient>* clients) {
  std::vector<std::string> endpoints = context.endpoints;
  if (cluster) {
    const auto list = context.Connect()->MemberList();
    if (!list.ok()) return list.status();
    endpoints.clear();
    for (const Member& member : list->members) {
      endpoints.insert(endpoints.end(), member.client_urls.begin(), member.client_urls.end());
    }
  }
  for (const std::string& endpoint : endpoints) {
    Options options = context.ClientOptions();
    options.endpoints = {endpoint};
    auto client = Client::Connect(std::move(options));
    if (!client.ok()) return client.status();
    clients->push_back({endpoint, *std::move(client)});
  }
  return absl::OkStatus();
}

// Calls ask(client) for all clients in parallel, so that one that hangs does not delay the others.
template <typename Ask>
auto AskAll(const std::vector<EndpointClient>& clients, Ask ask) {
  std::vector<decltype(ask(*clients[0].client))> answers(clients.size());
  std::vector<std::thread> threads;
  for (size_t i = 0; i < clients.size(); ++i) {
    threads.emplace_back([&, i] { answers[i] = ask(*clients[i].client); });
  }
  for (std::thread& thread : threads) thread.join();
  return answers;
}

void PrintFailure(const char* what, const std::string& endpoint, const absl::Status& error,
                  const Context& context) {
  context.streams.err << "Failed to get the " << what << " of endpoint " << endpoint << " ("
                      << context.WithCause(error, endpoint).message() << ")\n";
}

struct EndpointArguments {
  bool cluster = false;
  int64_t revision = 0;  // hashkv
};

int Status(const EndpointArguments& arguments, const Context& context) {
  std::vector<EndpointClient> clients;
  const absl::Status connected = ConnectToEach(arguments.cluster, context, &clients);
  if (!connected.ok()) return context.Fail(connected);
  auto answers = AskAll(clients, [](Client& client) { return client.Status(); });
  std::vector<EndpointStatus> rows;
  std::vector<std::string> failed;
  for (size_t i = 0; i < clients.size(); ++i) {
    if (answers[i].ok()) {
      rows.push_back({clients[i].endpoint, *std::move(answers[i])});
    } else {
      PrintFailure("status", clients[i].endpoint, answers[i].status(), context);
      failed.push_back(clients[i].endpoint);
    }
  }
  context.MakeOutput().Statuses(rows, failed);
  return failed.empty() ? kExitOk : kExitFailed;
}

// The part of the history that a hash covers. Only hashes of the same part can be compared.
struct HashScope {
  int64_t revision;
  int64_t compact_revision;

  auto operator<=>(const HashScope&) const = default;
  std::string ToString() const {
    return absl::StrCat("at revision ", revision, ", compacted at ", compact_revision);
  }
};

// etcd 3.4 does not return the revision that it hashed. It is the requested one or, without one,
// the store's revision in the header.
HashScope ScopeOf(const HashKvResult& hash, int64_t asked) {
  const int64_t own = hash.hash_revision != 0 ? hash.hash_revision : hash.header.revision;
  return {asked != 0 ? asked : own, hash.compact_revision};
}

// Reports an error if members hold different data, and notes which hashes cannot be compared.
// Returns the exit code.
int CompareHashes(const std::vector<EndpointHash>& rows, int64_t asked, const Context& context) {
  using Endpoints = std::vector<std::string>;
  std::map<HashScope, std::map<uint32_t, Endpoints>> hashes;
  std::map<HashScope, Endpoints> endpoints;
  for (const EndpointHash& row : rows) {
    const HashScope scope = ScopeOf(row.hash, asked);
    hashes[scope][row.hash.hash].push_back(row.endpoint);
    endpoints[scope].push_back(row.endpoint);
  }
  for (const auto& [scope, by_hash] : hashes) {
    if (by_hash.size() == 1) continue;
    const auto print = [](std::string* out, const auto& entry) {
      absl::StrAppend(out, absl::StrJoin(entry.second, ", "),
                      entry.second.size() == 1 ? " hashes to " : " hash to ", entry.first);
    };
    return context.Fail(kExitFailed, absl::StrCat("members differ ", scope.ToString(), ": ",
                                                  absl::StrJoin(by_hash, "; ", print)));
  }
  if (hashes.size() < 2) return kExitOk;
  const auto print = [](std::string* out, const auto& entry) {
    absl::StrAppend(out, absl::StrJoin(entry.second, ", "), " ", entry.first.ToString());
  };
  // If all have compacted to the same revision, every member can hash up to the lowest revision.
  const HashScope& lowest = endpoints.begin()->first;
  const bool same_compaction = std::all_of(
      endpoints.begin(), endpoints.end(),
      [&](const auto& entry) { return entry.first.compact_revision == lowest.compact_revision; });
  context.streams.err << "Note: cannot compare all hashes: "
                      << absl::StrJoin(endpoints, "; ", print)
                      << (same_compaction ? absl::StrCat("; use --rev ", lowest.revision)
                                          : "; try again when all members have compacted")
                      << "\n";
  return kExitOk;
}

int HashKv(const EndpointArguments& arguments, const Context& context) {
  std::vector<EndpointClient> clients;
  const absl::Status connected = ConnectToEach(arguments.cluster, context, &clients);
  if (!connected.ok()) return context.Fail(connected);
  const auto answers =
      AskAll(clients, [&](Client& client) { return client.HashKv(arguments.revision); });
  std::vector<EndpointHash> rows;
  for (size_t i = 0; i < clients.size(); ++i) {
    if (answers[i].ok()) {
      rows.push_back({clients[i].endpoint, *answers[i]});
    } else {
      PrintFailure("hash", clients[i].endpoint, answers[i].status(), context);
    }
  }
  context.MakeOutput().Hashes(rows);
  const int code = CompareHashes(rows, arguments.revision, context);
  return rows.size() == clients.size() ? code : kExitFailed;
}

// A member is healthy if it serves a linearizable read, which needs a leader and a majority.
EndpointHealth CheckHealth(Client& client) {
  const MonotonicTime start = Now();
  absl::Status read = client.Get("health").status();
  // "Permission denied" is an answer too.
  if (absl::IsPermissionDenied(read)) read = absl::OkStatus();
  return {"", Now() - start, std::move(read)};
}

int Health(const EndpointArguments& arguments, const Context& context) {
  std::vector<EndpointClient> clients;
  const absl::Status connected = ConnectToEach(arguments.cluster, context, &clients);
  if (!connected.ok()) return context.Fail(connected);
  std::vector<EndpointHealth> rows = AskAll(clients, CheckHealth);
  bool healthy = true;
  for (size_t i = 0; i < clients.size(); ++i) {
    rows[i].endpoint = clients[i].endpoint;
    rows[i].error = context.WithCause(rows[i].error, clients[i].endpoint);
    healthy = healthy && rows[i].error.ok();
  }
  context.MakeOutput().Healths(rows);
  return healthy ? kExitOk : context.Fail(kExitFailed, "unhealthy cluster");
}

int Defrag(const EndpointArguments& arguments, const Context& context) {
  if (context.format == Format::kTable) return context.NoTable();
  std::vector<EndpointClient> clients;
  const absl::Status connected = ConnectToEach(arguments.cluster, context, &clients);
  if (!connected.ok()) return context.Fail(connected);
  Output output = context.MakeOutput();
  std::vector<EndpointDefrag> rows;
  int code = kExitOk;
  for (const EndpointClient& each : clients) {
    rows.push_back({each.endpoint, context.WithCause(each.client->Defragment(), each.endpoint)});
    if (!rows.back().error.ok()) code = kExitFailed;
    output.DefragRow(rows.back());
  }
  output.Defrags(rows);
  return code;
}

CLI::App* AddVerb(CLI::App& group, const char* name, const char* what,
                  std::shared_ptr<EndpointArguments> arguments, Context& context,
                  int (*run)(const EndpointArguments&, const Context&)) {
  CLI::App* verb = group.add_subcommand(name, what);
  context.OnVerb(verb, [arguments, run, &context] { return run(*arguments, context); });
  return verb;
}

}  // namespace

void AddEndpointVerbs(CLI::App& app, Context& context) {
  constexpr char kCluster[] = "ask every member's client URL instead of --endpoints";
  auto arguments = std::make_shared<EndpointArguments>();
  CLI::App* endpoint =
      app.add_subcommand("endpoint", "Reports about each endpoint: status, health, hash");
  endpoint->require_subcommand(0, 1);
  endpoint->add_flag("--cluster", arguments->cluster, kCluster);
  CLI::App* status =
      AddVerb(*endpoint, "status", "Prints member ID, version, size, leader and log position",
              arguments, context, Status);
  CLI::App* health =
      AddVerb(*endpoint, "health", "Checks that each endpoint serves linearizable reads", arguments,
              context, Health);
  CLI::App* hashkv =
      AddVerb(*endpoint, "hashkv", "Prints a hash of all keys for each endpoint, and compares them",
              arguments, context, HashKv);
  AddNumber(*hashkv, "--rev", arguments->revision, "hash the keys as of this revision (0: now)");
  CLI::App* defrag =
      AddVerb(app, "defrag", "Returns free space to the file system", arguments, context, Defrag);
  for (CLI::App* verb : {status, health, hashkv, defrag}) {
    verb->add_flag("--cluster", arguments->cluster, kCluster);
  }
}

}  // namespace raftkv::client
