#include "tests/e2e/linearizability.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace raftkv::e2e {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using Kind = Operation::Kind;
using Outcome = Operation::Outcome;

// When a call was invoked and when it returned. The histories in this file use small numbers.
struct During {
  int64_t invoked;
  int64_t returned;
};

Operation Put(During time, std::string value, int64_t revision, std::string key = "k") {
  return {.kind = Kind::kPut,
          .key = std::move(key),
          .value = std::move(value),
          .invoked = time.invoked,
          .returned = time.returned,
          .outcome = Outcome::kOk,
          .revision = revision};
}

Operation Delete(During time, bool found, int64_t revision) {
  return {.kind = Kind::kDelete,
          .key = "k",
          .value = "",
          .invoked = time.invoked,
          .returned = time.returned,
          .outcome = Outcome::kOk,
          .revision = revision,
          .found = found};
}

Operation Unknown(Kind kind, int64_t invoked, std::string value = "") {
  return {.kind = kind, .key = "k", .value = std::move(value), .invoked = invoked};
}

Operation NotApplied(int64_t invoked, std::string value) {
  return {.kind = Kind::kPut,
          .key = "k",
          .value = std::move(value),
          .invoked = invoked,
          .outcome = Outcome::kNotApplied};
}

struct Found {
  std::string value;
  int64_t created;
  int64_t modified;
  int64_t version;
};

Operation Get(During time, int64_t revision, Found found) {
  return {.kind = Kind::kGet,
          .key = "k",
          .value = std::move(found.value),
          .invoked = time.invoked,
          .returned = time.returned,
          .outcome = Outcome::kOk,
          .revision = revision,
          .found = true,
          .create_revision = found.created,
          .mod_revision = found.modified,
          .version = found.version};
}

Operation GetNothing(During time, int64_t revision) {
  return {.kind = Kind::kGet,
          .key = "k",
          .value = "",
          .invoked = time.invoked,
          .returned = time.returned,
          .outcome = Outcome::kOk,
          .revision = revision};
}

// A compare-and-swap that succeeded. It put `value`, or deleted the key if `value` is empty.
Operation Swapped(During time, int64_t expected, std::string value, int64_t revision) {
  const bool removes = value.empty();
  return {.kind = Kind::kCas,
          .key = "k",
          .value = std::move(value),
          .expected = expected,
          .removes = removes,
          .invoked = time.invoked,
          .returned = time.returned,
          .outcome = Outcome::kOk,
          .revision = revision,
          .succeeded = true,
          .found = removes};
}

Operation NotSwapped(During time, int64_t expected, int64_t revision, Found found) {
  Operation op = Swapped(time, expected, "never", revision);
  op.succeeded = false;
  op.found = true;
  op.found_value = std::move(found.value);
  op.create_revision = found.created;
  op.mod_revision = found.modified;
  op.version = found.version;
  return op;
}

Operation UnknownSwap(int64_t invoked, int64_t expected, std::string value) {
  Operation op = Swapped({invoked, 0}, expected, std::move(value), 0);
  op.outcome = Outcome::kUnknown;
  op.succeeded = op.found = false;
  return op;
}

// A transaction that gets k, puts j and deletes k.
Operation Txn(During time, int64_t revision, Operation get, std::string value, bool deleted) {
  Operation put = {.kind = Kind::kPut, .key = "j", .value = std::move(value)};
  Operation removal = {.kind = Kind::kDelete, .key = "k", .value = "", .found = deleted};
  return {.kind = Kind::kTxn,
          .key = "",
          .value = "",
          .parts = {std::move(get), std::move(put), std::move(removal)},
          .invoked = time.invoked,
          .returned = time.returned,
          .outcome = Outcome::kOk,
          .revision = revision};
}

Operation At(int64_t revision, Operation get) {
  get.at_revision = revision;
  return get;
}

Operation Compact(During time, int64_t to, int64_t revision, Outcome outcome = Outcome::kOk) {
  return {.kind = Kind::kCompact,
          .key = "",
          .value = "",
          .at_revision = to,
          .invoked = time.invoked,
          .returned = time.returned,
          .outcome = outcome,
          .revision = revision};
}

Operation FailedGet(During time, int64_t at_revision, Outcome outcome) {
  return {.kind = Kind::kGet,
          .key = "k",
          .value = "",
          .at_revision = at_revision,
          .invoked = time.invoked,
          .returned = time.returned,
          .outcome = outcome};
}

std::vector<std::string> Check(std::vector<Operation> operations,
                               std::vector<Change> evidence = {}) {
  return FindViolations({.operations = std::move(operations), .evidence = std::move(evidence)});
}

TEST(Linearizability, AcceptsOneAfterTheOther) {
  EXPECT_THAT(Check({GetNothing({1, 2}, 1), Put({3, 4}, "a", 2), Get({5, 6}, 2, {"a", 2, 2, 1}),
                     Put({7, 8}, "b", 3), Get({9, 10}, 3, {"b", 2, 3, 2}),
                     Delete({11, 12}, true, 4), GetNothing({13, 14}, 4), Delete({15, 16}, false, 4),
                     Put({17, 18}, "c", 5), Get({19, 20}, 5, {"c", 5, 5, 1})}),
              IsEmpty());
}

TEST(Linearizability, AcceptsAnyOrderOfConcurrentCalls) {
  EXPECT_THAT(Check({Put({1, 9}, "a", 3), Put({1, 9}, "b", 2), GetNothing({1, 9}, 1),
                     Get({1, 9}, 2, {"b", 2, 2, 1}), Get({1, 9}, 3, {"a", 2, 3, 2}),
                     Delete({1, 9}, true, 4), GetNothing({1, 9}, 4)}),
              IsEmpty());
}

TEST(Linearizability, RejectsAStaleRead) {
  EXPECT_THAT(Check({Put({1, 2}, "a", 2), GetNothing({3, 4}, 1)}),
              ElementsAre(HasSubstr("began after")));
}

TEST(Linearizability, RejectsAReadOlderThanAnEarlierRead) {
  EXPECT_THAT(Check({Put({1, 9}, "a", 2), Get({2, 3}, 2, {"a", 2, 2, 1}), GetNothing({4, 5}, 1)}),
              ElementsAre(HasSubstr("began after")));
}

TEST(Linearizability, RejectsAReadFromTheFuture) {
  EXPECT_THAT(Check({Get({1, 2}, 2, {"a", 2, 2, 1}), Put({3, 4}, "a", 2)}),
              ElementsAre(HasSubstr("began after")));
}

TEST(Linearizability, RejectsWritesAgainstRealTime) {
  EXPECT_THAT(Check({Put({1, 2}, "a", 3), Put({3, 4}, "b", 2)}),
              ElementsAre(HasSubstr("began after")));
}

TEST(Linearizability, RejectsTwoWritesAtOneRevision) {
  EXPECT_THAT(Check({Put({1, 9}, "a", 2), Put({1, 9}, "b", 2, "other")}),
              ElementsAre(HasSubstr("another write")));
}

TEST(Linearizability, RejectsALostWrite) {
  EXPECT_THAT(Check({Put({1, 2}, "a", 2), Put({3, 4}, "b", 3), Get({5, 6}, 3, {"a", 2, 2, 1})}),
              ElementsAre(HasSubstr("should have found \"b\"")));
  EXPECT_THAT(Check({Put({1, 2}, "a", 2)}, {{2, false, "k", "other"}}),
              ElementsAre(HasSubstr("was acknowledged for")));
}

TEST(Linearizability, RejectsAWrongVersionOrCreateRevision) {
  EXPECT_THAT(Check({Put({1, 2}, "a", 2), Get({3, 4}, 2, {"a", 2, 2, 2})}),
              ElementsAre(HasSubstr("version 2) should")));
  EXPECT_THAT(Check({Put({1, 2}, "a", 2), Put({1, 2}, "b", 3), Get({3, 4}, 3, {"b", 3, 3, 2})}),
              ElementsAre(HasSubstr("created 3")));
}

TEST(Linearizability, RejectsADeletedKeyThatIsStillThere) {
  EXPECT_THAT(Check({Put({1, 2}, "a", 2), Delete({3, 4}, true, 3), Get({5, 6}, 3, {"a", 2, 2, 1})}),
              ElementsAre(HasSubstr("found a key that did not exist")));
}

TEST(Linearizability, RejectsADeleteThatMissedAKey) {
  EXPECT_THAT(Check({Put({1, 2}, "a", 2), Delete({3, 4}, false, 2)}),
              ElementsAre(HasSubstr("found nothing")));
  EXPECT_THAT(Check({Delete({1, 2}, true, 2)}),
              ElementsAre(HasSubstr("did not exist"), HasSubstr("did not exist")));
}

TEST(Linearizability, AWriteOfUnknownOutcomeMayBeAppliedOrNot) {
  EXPECT_THAT(Check({Unknown(Kind::kPut, 1, "a"), Put({2, 3}, "b", 2)}), IsEmpty());
  EXPECT_THAT(Check({Unknown(Kind::kPut, 1, "a"), Put({2, 3}, "b", 3)}, {{2, false, "k", "a"}}),
              IsEmpty());
  // It may be applied long after its client gave up.
  EXPECT_THAT(
      Check({Unknown(Kind::kPut, 1, "a"), Put({2, 3}, "b", 2), Get({4, 5}, 3, {"a", 2, 3, 2})},
            {{3, false, "k", "a"}}),
      IsEmpty());
  EXPECT_THAT(Check({Put({1, 2}, "a", 2), Unknown(Kind::kDelete, 3), GetNothing({5, 6}, 3)},
                    {{3, true, "k", ""}}),
              IsEmpty());
}

TEST(Linearizability, RejectsAWriteOfUnknownOutcomeBeforeItBegan) {
  EXPECT_THAT(Check({Put({1, 2}, "b", 3), Unknown(Kind::kPut, 5, "a")}, {{2, false, "k", "a"}}),
              ElementsAre(HasSubstr("began after")));
}

TEST(Linearizability, RejectsAWriteAppliedTwice) {
  EXPECT_THAT(Check({Put({1, 2}, "a", 2), Put({3, 4}, "b", 4)}, {{3, false, "k", "a"}}),
              ElementsAre(HasSubstr("applied again at revision 3")));
  EXPECT_THAT(Check({Put({1, 2}, "a", 2), Unknown(Kind::kDelete, 3), Put({3, 4}, "b", 4)},
                    {{3, true, "k", ""}, {5, true, "k", ""}}),
              ElementsAre(HasSubstr("no client requested")));
}

TEST(Linearizability, RejectsAFailedWriteThatWasApplied) {
  EXPECT_THAT(Check({NotApplied(1, "a"), Put({2, 3}, "b", 2)}), IsEmpty());
  EXPECT_THAT(Check({NotApplied(1, "a"), Put({2, 3}, "b", 3)}, {{2, false, "k", "a"}}),
              ElementsAre(HasSubstr("failed for certain, but was applied")));
}

TEST(Linearizability, RejectsAnInventedWrite) {
  EXPECT_THAT(Check({Put({1, 2}, "a", 2)}, {{3, false, "k", "z"}}),
              ElementsAre(HasSubstr("no client requested")));
}

TEST(Linearizability, RejectsARevisionWithoutACall) {
  EXPECT_THAT(Check({Put({1, 2}, "a", 3)}), ElementsAre(HasSubstr("explain revision 2")));
}

TEST(Linearizability, AcceptsCorrectSwaps) {
  EXPECT_THAT(Check({Swapped({1, 2}, 0, "a", 2), NotSwapped({3, 4}, 0, 2, {"a", 2, 2, 1}),
                     Swapped({5, 6}, 2, "b", 3), NotSwapped({5, 9}, 2, 3, {"b", 2, 3, 2}),
                     Swapped({10, 11}, 3, "", 4), GetNothing({12, 13}, 4)}),
              IsEmpty());
}

TEST(Linearizability, RejectsASwapThatShouldHaveFailed) {
  EXPECT_THAT(Check({Put({1, 2}, "a", 2), Put({3, 4}, "b", 3), Swapped({5, 6}, 2, "c", 4)}),
              ElementsAre(HasSubstr("succeeded, but the key was modified at 3")));
  EXPECT_THAT(Check({Put({1, 2}, "a", 2), Swapped({5, 6}, 0, "c", 3)}),
              ElementsAre(HasSubstr("succeeded, but the key was modified at 2")));
}

TEST(Linearizability, RejectsASwapThatShouldHaveSucceeded) {
  EXPECT_THAT(Check({Put({1, 2}, "a", 2), NotSwapped({3, 4}, 2, 2, {"a", 2, 2, 1})}),
              ElementsAre(HasSubstr("failed, but the key was modified at 2")));
}

TEST(Linearizability, RejectsAFalsifiedAnswerOfASwap) {
  std::vector<Operation> history = {Swapped({1, 2}, 0, "a", 2), Swapped({3, 4}, 2, "b", 3),
                                    NotSwapped({5, 6}, 2, 3, {"b", 2, 3, 2})};
  ASSERT_THAT(Check(history), IsEmpty());
  std::vector<Operation> falsified = history;
  falsified[2].succeeded = true;  // now it is a second write at the same revision
  EXPECT_THAT(Check(falsified), testing::Contains(HasSubstr("another write")));
  falsified = history;
  falsified[1].succeeded = false;
  EXPECT_THAT(Check(falsified), testing::Not(IsEmpty()));
  falsified = history;
  falsified[2].found_value = "a";
  EXPECT_THAT(Check(falsified), ElementsAre(HasSubstr("should have found \"b\"")));
}

TEST(Linearizability, ASwapOfUnknownOutcomeMayBeAppliedOnlyWhereItMatches) {
  EXPECT_THAT(Check({Put({1, 2}, "a", 2), UnknownSwap(3, 2, "b"), Get({5, 6}, 3, {"b", 2, 3, 2})},
                    {{3, false, "k", "b"}}),
              IsEmpty());
  EXPECT_THAT(Check({Put({1, 2}, "a", 2), UnknownSwap(3, 2, ""), GetNothing({5, 6}, 3)},
                    {{3, true, "k", ""}}),
              IsEmpty());
  EXPECT_THAT(Check({Put({1, 2}, "a", 2), Put({1, 2}, "b", 3), UnknownSwap(3, 2, "c")},
                    {{4, false, "k", "c"}}),
              ElementsAre(HasSubstr("succeeded, but the key was modified at 3")));
  EXPECT_THAT(Check({Put({1, 2}, "a", 2), Put({1, 2}, "b", 3), UnknownSwap(3, 2, "")},
                    {{4, true, "k", ""}}),
              ElementsAre(HasSubstr("no client requested")));
}

TEST(Linearizability, AcceptsACompleteTransaction) {
  EXPECT_THAT(
      Check({Put({1, 2}, "a", 2), Txn({3, 4}, 3, Get({}, 0, {"a", 2, 2, 1}), "b", true),
             GetNothing({5, 6}, 3), Txn({7, 8}, 4, GetNothing({}, 0), "c", false)},
            {{2, false, "k", "a"}, {3, false, "j", "b"}, {3, true, "k", ""}, {4, false, "j", "c"}}),
      IsEmpty());
}

TEST(Linearizability, RejectsAnIncompleteTransaction) {
  EXPECT_THAT(Check({Put({1, 2}, "a", 2), Txn({3, 4}, 3, Get({}, 0, {"a", 2, 2, 1}), "b", true)},
                    {{2, false, "k", "a"}, {3, false, "j", "b"}}),
              ElementsAre(HasSubstr("was acknowledged for")));
  EXPECT_THAT(Check({Put({1, 2}, "a", 2), Txn({3, 4}, 3, GetNothing({}, 0), "b", true)}),
              ElementsAre(HasSubstr("found nothing")));
  EXPECT_THAT(Check({Put({1, 2}, "a", 2), Txn({3, 4}, 3, Get({}, 0, {"a", 2, 2, 1}), "b", false)}),
              ElementsAre(HasSubstr("did not find an existing key")));
  Operation unknown = Txn({3, 4}, 0, GetNothing({}, 0), "b", false);
  unknown.outcome = Outcome::kUnknown;
  EXPECT_THAT(Check({Put({1, 2}, "a", 2), unknown}, {{3, false, "j", "b"}, {3, true, "k", ""}}),
              IsEmpty());
  EXPECT_THAT(Check({Put({1, 2}, "a", 2), unknown}, {{3, false, "j", "b"}}),
              ElementsAre(HasSubstr("should have left")));
}

TEST(Linearizability, AcceptsThePastUntilItIsCompacted) {
  EXPECT_THAT(
      Check({Put({1, 2}, "a", 2), Put({3, 4}, "b", 3), At(2, Get({5, 6}, 3, {"a", 2, 2, 1})),
             Compact({7, 10}, 3, 3), At(2, Get({8, 9}, 3, {"a", 2, 2, 1})),
             FailedGet({8, 9}, 2, Outcome::kCompacted), FailedGet({11, 12}, 2, Outcome::kCompacted),
             At(3, Get({11, 12}, 3, {"b", 2, 3, 2})), FailedGet({13, 14}, 4, Outcome::kFuture),
             Compact({15, 16}, 3, 0, Outcome::kCompacted)}),
      IsEmpty());
}

TEST(Linearizability, RejectsAWrongPast) {
  EXPECT_THAT(
      Check({Put({1, 2}, "a", 2), Put({3, 4}, "b", 3), At(2, Get({5, 6}, 3, {"b", 2, 3, 2}))}),
      ElementsAre(HasSubstr("should have found \"a\"")));
  EXPECT_THAT(Check({Put({1, 2}, "a", 2), FailedGet({5, 6}, 2, Outcome::kFuture)}),
              ElementsAre(HasSubstr("failed as a future revision")));
}

TEST(Linearizability, RejectsReadsThatDisagreeWithCompactions) {
  EXPECT_THAT(Check({Put({1, 2}, "a", 2), Put({3, 4}, "b", 3), Compact({5, 6}, 3, 3),
                     At(2, Get({7, 8}, 3, {"a", 2, 2, 1}))}),
              ElementsAre(HasSubstr("a compaction had removed its revision")));
  EXPECT_THAT(Check({Put({1, 2}, "a", 2), Put({3, 4}, "b", 3),
                     FailedGet({5, 6}, 2, Outcome::kCompacted), Compact({7, 8}, 3, 3)}),
              ElementsAre(HasSubstr("was not compacted")));
  EXPECT_THAT(Check({Put({1, 2}, "a", 2), Compact({3, 4}, 2, 2), Compact({5, 6}, 2, 2)}),
              ElementsAre(HasSubstr("a compaction had removed its revision")));
}

}  // namespace
}  // namespace raftkv::e2e
