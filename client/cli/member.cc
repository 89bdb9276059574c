// The verbs `member list` and `move-leader`.

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/cli/cli.h"

namespace raftkv::client {
namespace {

int List(const Context& context) {
  const auto members = context.Connect()->MemberList();
  if (!members.ok()) return context.Fail(members.status());
  context.MakeOutput().Members(*members);
  return kExitOk;
}

std::unique_ptr<Client> ConnectTo(std::vector<std::string> endpoints, const Context& context) {
  Options options = context.ClientOptions();
  options.endpoints = std::move(endpoints);
  auto client = Client::Connect(std::move(options));
  return client.ok() ? *std::move(client) : nullptr;
}

// A connection to the leader: through one of the endpoints, else through its client URL. Null if
// there is none.
std::unique_ptr<Client> ConnectToLeader(const std::vector<Member>& members, uint64_t leader,
                                        const Context& context) {
  for (const std::string& endpoint : context.endpoints) {
    auto client = ConnectTo({endpoint}, context);
    if (client == nullptr) continue;
    const auto status = client->Status();
    if (status.ok() && status->header.member_id == leader) return client;
  }
  for (const Member& member : members) {
    if (member.id == leader && !member.client_urls.empty()) {
      return ConnectTo(member.client_urls, context);
    }
  }
  return nullptr;
}

// The member with this id (hexadecimal, as printed by `member list`) or name. nullopt: neither.
std::optional<uint64_t> FindMember(const std::vector<Member>& members, const std::string& text) {
  uint64_t id = 0;
  const bool is_id = absl::SimpleHexAtoi(text, &id);
  for (const Member& member : members) {
    if (is_id && member.id == id) return id;
  }
  for (const Member& member : members) {
    if (member.name == text) return member.id;
  }
  return is_id ? std::optional(id) : std::nullopt;
}

int MoveLeader(const std::string& target, const Context& context) {
  if (context.format == Format::kTable) return context.NoTable();
  if (context.format == Format::kFields) {
    return context.Fail(kExitBadFormat, "fields not supported as output format");
  }
  const std::unique_ptr<Client> any = context.Connect();
  const auto list = any->MemberList();
  if (!list.ok()) return context.Fail(list.status());
  const std::optional<uint64_t> to = FindMember(list->members, target);
  if (!to) {
    return context.BadArguments(absl::StrCat("move-leader: \"", target,
                                             "\" is not the ID or name of a member; see raftkv "
                                             "member list"));
  }
  const auto status = any->Status();
  if (!status.ok()) return context.Fail(status.status());
  if (status->leader == 0) return context.Fail(absl::UnavailableError("there is no leader now"));
  if (status->leader == *to) {
    context.MakeOutput().AlreadyLeader(*to);
    return kExitOk;
  }
  const auto leader = ConnectToLeader(list->members, status->leader, context);
  if (leader == nullptr) {
    return context.BadArguments(absl::StrCat("the leader is none of ",
                                             absl::StrJoin(context.endpoints, ","),
                                             " and has no client URL; name it with --endpoints"));
  }
  const absl::Status moved = leader->MoveLeader(*to);
  if (!moved.ok()) return context.Fail(moved);
  context.MakeOutput().MovedLeader(status->leader, *to);
  return kExitOk;
}

}  // namespace

void AddMemberVerbs(CLI::App& app, Context& context) {
  CLI::App* member = app.add_subcommand("member", "The members of the cluster");
  member->require_subcommand(0, 1);
  member->add_subcommand("list", "Prints id, state, name and URLs of each member")
      ->callback([&context] { context.verb = [&context] { return List(context); }; });

  auto target = std::make_shared<std::string>();
  CLI::App* move = app.add_subcommand("move-leader", "Transfers leadership to another member");
  move->add_option("target", *target, "ID or name of the new leader")->required();
  move->callback([&context, target] {
    context.verb = [&context, target] { return MoveLeader(*target, context); };
  });
}

}  // namespace raftkv::client
