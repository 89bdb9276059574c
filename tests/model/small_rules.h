#ifndef RAFTKV_TESTS_MODEL_SMALL_RULES_H_
#define RAFTKV_TESTS_MODEL_SMALL_RULES_H_

// Rules and blocks that are small enough for the few keys of the simulator. With them, entries
// reach the limits, counts span several blocks, and any two versions come to different verdicts,
// also those whose real rules are equal.

#include "storage/state_machine.h"
#include "storage/version.h"

namespace raftkv {

inline const Rules& SmallRulesOf(ClusterVersion version) {
  static constexpr Rules kVersion1{
      .walked_steps = 8, .count_block_keys = 4, .costs = {.key_bytes_per_step = 0}};
  static constexpr Rules kVersion2{
      .walked_steps = 8, .count_block_keys = 4, .costs = {.key_bytes_per_step = 2}};
  static constexpr Rules kVersion3{.walked_steps = 9,
                                   .count_block_keys = 4,
                                   .costs = {.key_bytes_per_step = 2},
                                   .leases = 6,
                                   .lease_keys = 2,
                                   .lease_key_bytes = 40,
                                   .expired_keys = 3,
                                   .alarms = 2};
  static constexpr Rules kVersion4{.walked_steps = 10,
                                   .count_block_keys = 4,
                                   .costs = {.key_bytes_per_step = 2},
                                   .leases = 16,
                                   .lease_keys = 2,
                                   .lease_key_bytes = 40,
                                   .expired_keys = 3,
                                   .alarms = 2,
                                   .session_answers = 4,
                                   .all_session_answers = 12,
                                   .session_answer_bytes = 24,
                                   .all_session_answer_bytes = 300};
  return version == 1 ? kVersion1 : version == 2 ? kVersion2 : version == 3 ? kVersion3 : kVersion4;
}

inline StateMachineOptions SmallOptions() {
  return {.rules_of = SmallRulesOf, .block_keys = 4, .digest_interval = 16};
}

}  // namespace raftkv

#endif  // RAFTKV_TESTS_MODEL_SMALL_RULES_H_
