// The verb `member list`.
#include "client/cli/cli.h"

namespace raftkv::client {
namespace {

int List(const Context& context) {
  const auto members = context.Connect()->MemberList();
  if (!members.ok()) return context.Fail(members.status());
  context.MakeOutput().Members(*members);
  return kExitOk;
}

}  // namespace

void AddMemberVerbs(CLI::App& app, Context& context) {
  CLI::App* member = app.add_subcommand("member", "The members of the cluster");
  member->require_subcommand(0, 1);
  member->add_subcommand("list", "Prints id, state, name and URLs of each member")
      ->callback([&context] { context.verb = [&context] { return List(context); }; });
}

}  // namespace raftkv::client
