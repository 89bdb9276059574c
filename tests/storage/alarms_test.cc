// Which commands the alarms deny.

#include "storage/rules/alarms.h"

#include <map>
#include <string>

#include "gtest/gtest.h"
#include "tests/storage/store_test.h"

namespace raftkv {
namespace {

const absl::Status kNoSpace = absl::ResourceExhaustedError("mvcc: database space exceeded");
const absl::Status kCorrupt = absl::DataLossError("corrupt cluster");

absl::Status UnderNoSpace(const proto::Command& command) {
  return AlarmsInForce{.no_space = true}.Permit(command);
}
absl::Status UnderCorrupt(const proto::Command& command) {
  return AlarmsInForce{.corrupt = true}.Permit(command);
}

TEST(AlarmsInForce, DenyOrPermitEachCommand) {
  struct Denied {
    bool by_no_space = false;
    bool by_corrupt = false;
  };
  const std::map<std::string, Denied> commands = {
      {"put", {.by_no_space = true, .by_corrupt = true}},
      {"lease_grant", {.by_no_space = true, .by_corrupt = true}},
      {"delete_range", {.by_corrupt = true}},
      {"txn", {.by_corrupt = true}},  // an empty one
      {"compaction", {.by_corrupt = true}},
      {"lease_revoke", {.by_corrupt = true}},
      {"record_store_id", {}},
      {"set_cluster_version", {}},
      {"renew_leases", {}},
      {"expire_leases", {}},
      {"change_members", {}},
      {"change_alarm", {}},
      {"bump_revision", {}},
  };
  const auto* const op = proto::Command::descriptor()->FindOneofByName("op");
  ASSERT_NE(op, nullptr);
  for (int i = 0; i < op->field_count(); ++i) {
    const std::string name(op->field(i)->name());
    SCOPED_TRACE(name);
    const auto denied = commands.find(name);
    ASSERT_NE(denied, commands.end()) << "which alarms deny this command?";
    proto::Command command;
    command.GetReflection()->MutableMessage(&command, op->field(i));
    EXPECT_EQ(UnderNoSpace(command), denied->second.by_no_space ? kNoSpace : absl::OkStatus());
    EXPECT_EQ(UnderCorrupt(command), denied->second.by_corrupt ? kCorrupt : absl::OkStatus());
    EXPECT_TRUE(AlarmsInForce().Permit(command).ok());
  }
}

TEST(AlarmsInForce, NoSpaceDeniesATransactionWithAPutAnywhere) {
  for (const char* text : {"txn { success { request_put { key: 'k' } } }",
                           "txn { failure { request_put { key: 'k' } } }",
                           "txn { success { request_txn { failure { request_put {} } } } }"}) {
    EXPECT_EQ(UnderNoSpace(Parse<proto::Command>(text)), kNoSpace) << text;
  }
  EXPECT_TRUE(UnderNoSpace(Parse<proto::Command>("txn { success { request_delete_range {} } "
                                                 "failure { request_range {} } }"))
                  .ok());
}

}  // namespace
}  // namespace raftkv
