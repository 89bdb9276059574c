#include "storage/tables/digests.h"

#include <string>

#include "storage/base/checksum.h"
#include "storage/base/mutant.h"

namespace raftkv {

absl::Status Digests::Load() {
  const std::string begin = kKey;
  return shared_.engine->Scan(
      begin, begin + '\0', [this](std::string_view, std::string_view value) {
        if (value.size() % 16 != 0 || value.size() > kDigestsKept * 16) {
          return absl::DataLossError("state machine: the list of digests is damaged");
        }
        for (size_t at = 0; at < value.size(); at += 16) {
          all_.push_back({Fixed64(&value[at]), Fixed64(&value[at + 8])});
        }
        return absl::OkStatus();
      });
}

void Digests::AfterEntry() {
  const State& state = shared_.state;
  if (state.applied.index % interval_ != 0 || state.cluster_version < kDigestsVersion) return;
  const bool late = RAFTKV_MUTANT("digest-is-kept-late") && !all_.empty();
  all_.push_back({state.applied.index, late ? all_.back().digest : state.digest});
  if (all_.size() > kDigestsKept) all_.pop_front();
  std::string record;
  for (const StateDigest& d : all_) {
    PutFixed64(&record, d.index);
    PutFixed64(&record, d.digest);
  }
  shared_.batch.Put(kKey, record);
}

}  // namespace raftkv
