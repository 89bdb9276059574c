#ifndef RAFTKV_TESTS_MODEL_SMALL_RULES_H_
#define RAFTKV_TESTS_MODEL_SMALL_RULES_H_

// Rules and blocks that are small enough for the few keys of the simulator. With them, entries
// reach the limits, counts span several blocks, and any two versions come to different verdicts,
// also those whose real rules are equal.

#include <iterator>

#include "storage/rules/version.h"
#include "storage/state_machine.h"

namespace raftkv {

inline const Rules& SmallRulesOf(ClusterVersion version) {
  static constexpr Rules kVersion1{
      .walked_steps = 8, .count_block_keys = 4, .costs = {.key_bytes_per_step = 0}};
  static constexpr Rules kVersion2 = [] {
    Rules rules = kVersion1;
    rules.costs.key_bytes_per_step = 2;
    return rules;
  }();
  static constexpr Rules kVersion3 = [] {
    Rules rules = kVersion2;
    rules.walked_steps = 9;
    rules.leases = 6;
    rules.lease_keys = 2;
    rules.lease_key_bytes = 40;
    rules.expired_keys = 3;
    rules.alarms = 2;
    return rules;
  }();
  static constexpr Rules kVersion4 = [] {
    Rules rules = kVersion3;
    rules.walked_steps = 10;
    rules.leases = 16;
    rules.session_answers = 4;
    rules.all_session_answers = 12;
    rules.session_answer_bytes = 24;
    rules.all_session_answer_bytes = 300;
    return rules;
  }();
  static constexpr Rules kVersion5 = [] {
    Rules rules = kVersion4;
    rules.walked_steps = 11;
    return rules;
  }();
  static constexpr const Rules* kRules[] = {&kVersion1, &kVersion2, &kVersion3, &kVersion4,
                                            &kVersion5};
  static_assert(std::size(kRules) == kNewestVersion, "each version has small rules of its own");
  return *kRules[version - 1];
}

inline StateMachineOptions SmallOptions() {
  return {.rules_of = SmallRulesOf, .block_keys = 4, .digest_interval = 16};
}

}  // namespace raftkv

#endif  // RAFTKV_TESTS_MODEL_SMALL_RULES_H_
