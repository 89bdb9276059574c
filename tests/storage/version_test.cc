// The cluster version: how it is raised, what it decides, and what a program does when it meets a
// version that it does not know.

#include "storage/rules/version.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "storage/base/checksum.h"
#include "storage/tables/tables.h"
#include "tests/model/small_rules.h"
#include "tests/storage/store_test.h"

namespace raftkv {
namespace {

proto::Command RaiseCommand(ClusterVersion version) {
  proto::Command command;
  command.mutable_set_cluster_version()->set_version(version);
  return command;
}

// A command that only a newer program would know.
std::string UnknownCommand() {
  proto::Command command;
  command.mutable_origin()->set_number(7);
  command.GetReflection()->MutableUnknownFields(&command)->AddLengthDelimited(90, "what?");
  return command.SerializeAsString();
}

class VersionTest : public StoreTest {
 protected:
  std::unique_ptr<StateMachine> OpenWith(StateMachineOptions options) {
    return *StateMachine::Open(
        std::make_unique<MemoryEngine>(std::make_shared<MemoryDisk>(), Durability::kFlushed),
        options);
  }
  // The format number of the closed store on disk_.
  uint64_t StoredFormat() {
    state_->Flush();
    state_.reset();
    const uint64_t format =
        Fixed64(MemoryEngine(disk_, Durability::kFlushed).Get(kStateKey)->data());
    Reopen();
    return format;
  }
};

TEST_F(VersionTest, IsRaisedThroughTheLogAndNeverLowered) {
  EXPECT_EQ(state_->cluster_version(), 1u);
  Apply(PutCommand("k", "v"));
  EXPECT_EQ(Apply(RaiseCommand(1)).status,
            absl::FailedPreconditionError("the cluster version is already 1"));
  EXPECT_EQ(state_->cluster_version(), 1u);
  EXPECT_EQ(StoredFormat(), 3u) << "programs that know no versions may read it";
  std::shared_ptr<const StateSnapshot> before = state_->Snapshot();
  const uint32_t hash = *before->Hash();

  EXPECT_TRUE(Apply(RaiseCommand(2)).status.ok());
  EXPECT_EQ(state_->cluster_version(), 2u);
  EXPECT_EQ(state_->Snapshot()->cluster_version(), 2u);
  EXPECT_EQ(before->cluster_version(), 1u);
  before.reset();
  EXPECT_NE(*state_->Snapshot()->Hash(), hash);
  EXPECT_EQ(state_->revision(), 2) << "it is no change of a key";
  for (const ClusterVersion version : {0, 1, 2}) {
    EXPECT_EQ(Apply(RaiseCommand(version)).status,
              absl::FailedPreconditionError("the cluster version is already 2"));
  }
  EXPECT_EQ(StoredFormat(), 4u) << "programs that know no versions must not open it";
  EXPECT_EQ(state_->cluster_version(), 2u) << "after it was opened again";
}

TEST_F(VersionTest, IsPartOfTheDigestOnceRaised) {
  const auto other = OpenWith({});
  Apply(RaiseCommand(2));
  proto::Command nothing;
  nothing.mutable_set_cluster_version()->set_version(1);
  other->Apply({MakeEntry(1, 1, nothing)});
  EXPECT_NE(state_->digest(), other->digest());
}

TEST_F(VersionTest, DecidesWhetherTheBytesOfKeysAreCharged) {
  const auto state = OpenWith(SmallOptions());
  const proto::Command walk =
      Parse<proto::Command>("delete_range { key: 'abcd' range_end: 'abcz' }");
  const auto apply = [&](const proto::Command& command) {
    return state->Apply({MakeEntry(1, state->applied().index + 1, command)}).front().status;
  };
  for (int i = 0; i < 3; ++i) apply(PutCommand(absl::StrCat("abcdef", i), ""));
  EXPECT_TRUE(apply(walk).ok()) << "3 of 8 steps";
  for (int i = 0; i < 3; ++i) apply(PutCommand(absl::StrCat("abcdef", i), ""));
  // In the middle of a batch, too.
  const raft::Index next = state->applied().index + 1;
  const std::vector<ApplyResult> results =
      state->Apply({MakeEntry(1, next, RaiseCommand(2)), MakeEntry(1, next + 1, walk)});
  EXPECT_TRUE(results[0].status.ok());
  EXPECT_TRUE(absl::IsResourceExhausted(results[1].status)) << "3 * (1 + 7 / 2) steps";
}

TEST_F(VersionTest, AnEntryThatIsNotUnderstoodChangesNothing) {
  std::vector<std::string> lines;
  const auto state = OpenWith({.not_understood = [&](const auto& line) { lines.push_back(line); }});
  const std::vector<raft::Entry> raise = {MakeEntry(1, 1, PutCommand("k", "v")),
                                          MakeEntry(1, 2, RaiseCommand(kNewestVersion + 1)),
                                          MakeEntry(1, 3, PutCommand("k", "w"))};
  EXPECT_EQ(state->Apply(raise).size(), 1u);
  EXPECT_EQ(state->applied().index, 1u);
  EXPECT_EQ(state->cluster_version(), 1u);
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_EQ(
      lines.back(),
      absl::StrCat("entry 2 raises the cluster version to ", kNewestVersion + 1,
                   ", but this raftkv-server knows versions up to ", kNewestVersion,
                   ": run a newer raftkv-server on this data directory; nothing was changed"));

  EXPECT_EQ(state->Apply({MakeEntry(1, 2, UnknownCommand())}).size(), 0u);
  EXPECT_EQ(lines.back(),
            "entry 2 holds a command that this raftkv-server does not know: run a newer "
            "raftkv-server on this data directory; nothing was changed");
  EXPECT_EQ(state->applied().index, 1u);
}

TEST_F(VersionTest, TheProductEndsWithOneLineAndExitCode2) {
  EXPECT_EXIT(Apply(RaiseCommand(kNewestVersion + 1)), testing::ExitedWithCode(2),
              absl::StrCat("entry 1 raises the cluster version to ", kNewestVersion + 1));
}

TEST_F(VersionTest, AStoreOfANewerVersionIsNotOpened) {
  Apply(RaiseCommand(2));
  state_->Flush();
  state_.reset();
  {
    MemoryEngine engine(disk_, Durability::kFlushed);
    std::string newer;
    PutFixed64(&newer, kNewestVersion + 1);
    WriteBatch batch;
    batch.Put(ClusterVersionTable::kKey, newer);
    engine.Write(batch, /*sync=*/false);
    engine.Flush();
  }
  EXPECT_EQ(
      StateMachine::Open(std::make_unique<MemoryEngine>(disk_, Durability::kFlushed)).status(),
      absl::FailedPreconditionError(
          absl::StrCat("state machine: the cluster version is ", kNewestVersion + 1,
                       ", but this raftkv-server knows versions up to ", kNewestVersion,
                       ": run a newer raftkv-server on this data directory; nothing was changed")));
}

// A version adds a field to a request that exists already.
class FieldTest : public VersionTest {
 protected:
  void AddedBy(ClusterVersion version) {
    FieldVersions() = {{"etcdserverpb.PutRequest.prev_kv", version}};
  }
  ~FieldTest() override { FieldVersions().clear(); }

  const proto::Command with_field_ = Parse<proto::Command>(
      "txn { success { request_txn { success { "
      "request_put { key: 'k' prev_kv: true } } } } }");
  const proto::Command without_ = Parse<proto::Command>(
      "txn { success { request_txn { success { request_put { key: 'k' value: 'v' } } "
      "success { request_delete_range { key: 'l' prev_kv: true } } } } }");
};

TEST_F(FieldTest, NeedsTheVersionThatAddedIt) {
  EXPECT_EQ(Needs(with_field_), 1u);
  AddedBy(2);
  EXPECT_EQ(Needs(with_field_), 2u) << "in a nested transaction, too";
  EXPECT_EQ(Needs(without_), 1u) << "a field of this name in another message is another field";
  proto::Command put = PutCommand("k", "v");
  put.mutable_put()->set_prev_kv(false);
  EXPECT_EQ(Needs(put), 1u) << "the default value";
  put.mutable_put()->set_prev_kv(true);
  EXPECT_EQ(Needs(put), 2u);
  EXPECT_GT(Needs(proto::Command()), kNewestVersion) << "an empty command counts as unknown";
}

TEST_F(FieldTest, HasNoEffectBelowItsVersion) {
  AddedBy(2);
  EXPECT_TRUE(Apply(without_).status.ok());
  const Revision revision = state_->revision();
  EXPECT_EQ(Apply(with_field_).status,
            absl::FailedPreconditionError(
                "the cluster version is 1, and this needs 2: upgrade all members"));
  EXPECT_EQ(state_->revision(), revision);
  Apply(RaiseCommand(2));
  EXPECT_TRUE(Apply(with_field_).status.ok());
  EXPECT_EQ(state_->revision(), revision + 1);
}

TEST_F(FieldTest, AboveTheProgramsVersionEndsIt) {
  AddedBy(kNewestVersion + 1);
  EXPECT_TRUE(Apply(without_).status.ok());
  EXPECT_EXIT(Apply(with_field_), testing::ExitedWithCode(2),
              "entry 2 holds a command that this raftkv-server does not know: run a newer "
              "raftkv-server on this data directory; nothing was changed");
}

// Without a row in storage/tables/tables.h, a command would succeed and do nothing.
TEST(Tables, EveryCommandBelongsToOne) {
  const auto* const op = proto::Command::descriptor()->FindOneofByName("op");
  ASSERT_NE(op, nullptr);
  for (int i = 0; i < op->field_count(); ++i) {
    const auto command = static_cast<proto::Command::OpCase>(op->field(i)->number());
    EXPECT_EQ(Tables::RowsOf(command), 1) << op->field(i)->name();
  }
}

TEST(Needs, NamesTheVersionThatDefinesACommand) {
  EXPECT_EQ(Needs(PutCommand("k", "v")), 1u);
  EXPECT_EQ(Needs(Parse<proto::Command>("renew_leases {}")), 3u);
  EXPECT_EQ(Needs(Parse<proto::Command>("change_alarm {}")), 3u);
  EXPECT_EQ(Needs(Parse<proto::Command>("put { key: 'k' } session { seq: 1 }")), 4u);
  EXPECT_EQ(Needs(Parse<proto::Command>("put { key: 'k' } session {}")), 4u) << "an empty message";
  EXPECT_EQ(Needs(RaiseCommand(2)), 1u) << "or no version could ever be raised";
  EXPECT_GT(Needs(proto::Command()), kNewestVersion);
}

}  // namespace
}  // namespace raftkv
