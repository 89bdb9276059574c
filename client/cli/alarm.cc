// The verbs alarm list and alarm disarm.
#include "client/cli/cli.h"

namespace raftkv::client {
namespace {

int Print(const absl::StatusOr<AlarmResult>& result, const Context& context) {
  if (!result.ok()) return context.Fail(result.status());
  context.MakeOutput().Alarms(*result);
  return kExitOk;
}

int ListAlarms(const Context& context) {
  if (context.format == Format::kTable) return context.NoTable();
  return Print(context.Connect()->AlarmList(), context);
}

int Disarm(const Context& context) {
  if (context.format == Format::kTable) return context.NoTable();
  return Print(context.Connect()->AlarmDisarm(), context);
}

}  // namespace

void AddAlarmVerbs(CLI::App& app, Context& context) {
  CLI::App* alarm =
      app.add_subcommand("alarm", "Alarms: members short of disk space, or with different data");
  alarm->require_subcommand(0, 1);
  context.OnVerb(alarm->add_subcommand("list", "Lists all alarms"),
                 [&context] { return ListAlarms(context); });
  context.OnVerb(alarm->add_subcommand("disarm", "Ends all alarms"),
                 [&context] { return Disarm(context); });
}

}  // namespace raftkv::client
