#include "server/api/admission.h"

#include <algorithm>
#include <vector>

#include "gtest/gtest.h"

namespace raftkv::api {
namespace {

// Which calls a member admits in each state. A learner serves what etcd's learners serve.
TEST(Admission, DependsOnWhatTheCallNeedsAndOnTheStateOfTheMember) {
  using enum Permission;
  const std::vector<Permission> all = {kNone, kMaintainSelf, kReadSelf, kRead, kWrite, kMaintain};
  struct Row {
    const char* state;
    Standing standing;
    absl::Status denied;  // how all but the admitted calls end
    std::vector<Permission> admitted;
  };
  const std::vector<Permission> own = {kNone, kMaintainSelf};
  const std::vector<Row> rows = {
      {"serves", {}, absl::OkStatus(), all},
      {"stops", {.stopping = true}, Stopping(), {}},
      {"unsent answers", {.unsent_bytes = kUnsentBytesMax + 1}, TooManyRequests(), own},
      {"rejected", {.rejected_by_peers = true}, RejectedByPeers(), own},
      {"halted", {.halted = true}, HasHalted(), own},
      {"out of space", {.out_of_space = true}, OutOfSpace(), {kNone, kMaintainSelf, kReadSelf}},
      {"learner", {.learner = true}, NotForLearners(), {kNone, kMaintainSelf, kReadSelf}},
      {"rejected learner", {.rejected_by_peers = true, .learner = true}, RejectedByPeers(), own},
      {"halted learner", {.halted = true, .learner = true}, HasHalted(), own},
      {"no leader, with hasleader", {.lacks_leader = true}, NoLeader(), own},
  };
  for (const Row& row : rows) {
    for (const Permission permission : all) {
      const bool admitted =
          std::find(row.admitted.begin(), row.admitted.end(), permission) != row.admitted.end();
      EXPECT_EQ(WhyNot(permission, row.standing), admitted ? absl::OkStatus() : row.denied)
          << row.state << ", permission " << static_cast<int>(permission);
    }
  }
}

}  // namespace
}  // namespace raftkv::api
