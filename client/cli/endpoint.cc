// endpoint status, endpoint health: each endpoint is asked by itself, in the order given.
#include "absl/strings/str_cat.h"
#include "client/cli/cli.h"

namespace raftkv::client {
namespace {

absl::StatusOr<std::unique_ptr<Client>> ConnectTo(const std::string& endpoint,
                                                  const Context& context) {
  Options options = context.ClientOptions();
  options.endpoints = {endpoint};
  return Client::Connect(std::move(options));
}

// --cluster: the client URLs of all members instead of the endpoints given.
absl::Status AskMemberList(Context& context) {
  const auto members = context.Connect()->MemberList();
  if (!members.ok()) return members.status();
  context.endpoints.clear();
  for (const Member& member : members->members) {
    context.endpoints.insert(context.endpoints.end(), member.client_urls.begin(),
                             member.client_urls.end());
  }
  return absl::OkStatus();
}

int Status(bool cluster, Context& context) {
  if (cluster) {
    const absl::Status asked = AskMemberList(context);
    if (!asked.ok()) return context.Fail(asked);
  }
  std::vector<EndpointStatus> statuses;
  int code = kExitOk;
  for (const std::string& endpoint : context.endpoints) {
    const auto client = ConnectTo(endpoint, context);
    if (!client.ok()) return context.BadArguments(client.status().message());
    auto status = (*client)->Status();
    if (status.ok()) {
      statuses.push_back({endpoint, *std::move(status)});
    } else {
      code = kExitFailed;
      context.streams.err << "Failed to get the status of endpoint " << endpoint << " ("
                          << status.status().message() << ")\n";
    }
  }
  context.MakeOutput().Statuses(statuses);
  return code;
}

// Healthy is who serves a linearizable read: that takes a leader and a majority.
int Health(bool cluster, Context& context) {
  if (cluster) {
    const absl::Status asked = AskMemberList(context);
    if (!asked.ok()) return context.Fail(asked);
  }
  std::vector<EndpointHealth> healths;
  bool healthy = true;
  for (const std::string& endpoint : context.endpoints) {
    const auto client = ConnectTo(endpoint, context);
    if (!client.ok()) return context.BadArguments(client.status().message());
    const absl::Time start = absl::Now();
    absl::Status read = (*client)->Get("health").status();
    // Who may not read the key has been answered, too.
    if (absl::IsPermissionDenied(read)) read = absl::OkStatus();
    healthy = healthy && read.ok();
    healths.push_back({endpoint, absl::Now() - start, std::move(read)});
  }
  context.MakeOutput().Healths(healths);
  return healthy ? kExitOk : context.Fail(kExitFailed, "unhealthy cluster");
}

}  // namespace

void AddEndpointVerbs(CLI::App& app, Context& context) {
  CLI::App* endpoint = app.add_subcommand("endpoint", "Asks each endpoint about itself");
  endpoint->require_subcommand(0, 1);
  auto cluster = std::make_shared<bool>(false);
  endpoint->add_flag("--cluster", *cluster, "all members' endpoints instead of --endpoints");
  endpoint->add_subcommand("status", "Prints member, version, size, leader and log position")
      ->callback([cluster, &context] {
        context.verb = [cluster, &context] { return Status(*cluster, context); };
      });
  endpoint->add_subcommand("health", "Checks that each endpoint serves linearizable reads")
      ->callback([cluster, &context] {
        context.verb = [cluster, &context] { return Health(*cluster, context); };
      });
}

}  // namespace raftkv::client
