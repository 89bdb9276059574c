#include "storage/tables/state.h"

#include "absl/strings/str_cat.h"
#include "storage/base/checksum.h"
#include "storage/base/mutant.h"

namespace raftkv {
namespace {

constexpr uint64_t kFirstFormat = 3;
constexpr uint64_t kFormatOfRaisedVersion = 4;
constexpr size_t kNumbers = 9;
constexpr size_t kChecksumBytes = 4;

}  // namespace

std::string EncodeState(const State& state) {
  std::string out;
  for (uint64_t v : {state.cluster_version > kFirstVersion ? kFormatOfRaisedVersion : kFirstFormat,
                     state.applied.term, state.applied.index, static_cast<uint64_t>(state.revision),
                     static_cast<uint64_t>(state.compacted), state.digest,
                     static_cast<uint64_t>(state.compaction_done),
                     static_cast<uint64_t>(state.compaction_next.revision),
                     uint64_t{state.compaction_next.sub}}) {
    PutFixed64(&out, v);
  }
  PutFixed32(&out, Crc32c(out));
  return out;
}

absl::Status DecodeState(std::string_view record, State* state) {
  const auto damaged = absl::DataLossError("state machine: the state record is damaged");
  if (record.size() < 8 + kChecksumBytes) return damaged;
  const size_t size = record.size() - kChecksumBytes;
  if (Crc32c(record.substr(0, size)) != Fixed32(&record[size])) return damaged;
  const uint64_t format = Fixed64(&record[0]);
  if (format < kFirstFormat || format > kFormatOfRaisedVersion) {
    return absl::FailedPreconditionError(absl::StrCat(
        "state machine: its format is ", format, " and this program reads only ", kFirstFormat,
        " and ", kFormatOfRaisedVersion,
        format > kFormatOfRaisedVersion
            ? "; run a newer raftkv-server"
            : "; run the raftkv-server that wrote it. In a cluster of several members you may "
              "replace this one instead (raftkv member replace)"));
  }
  if (size != kNumbers * 8) return damaged;
  state->cluster_version = format == kFirstFormat ? kFirstVersion : kFirstVersion + 1;
  state->applied = {.term = Fixed64(&record[8]), .index = Fixed64(&record[16])};
  state->revision = static_cast<Revision>(Fixed64(&record[24]));
  state->compacted = static_cast<Revision>(Fixed64(&record[32]));
  state->digest = Fixed64(&record[40]);
  state->compaction_done = static_cast<Revision>(Fixed64(&record[48]));
  state->compaction_next = {static_cast<Revision>(Fixed64(&record[56])),
                            static_cast<uint32_t>(Fixed64(&record[64]))};
  return absl::OkStatus();
}

const Rules& Shared::rules() const {
  return rules_of(RAFTKV_MUTANT("rules-of-the-binary") ? kNewestVersion : state.cluster_version);
}

absl::Status HashRecords(const View& view, char table, Meter* meter, std::string* out) {
  uint64_t hash = 0;
  bool any = false;
  const std::unique_ptr<Iterator> it = view.NewIterator(mvcc::TableEnd(table));
  for (it->Seek(std::string(1, table)); it->valid(); it->Next()) {
    if (!meter->Step(it->key().size() + it->value().size())) return meter->status();
    hash = Hash64(it->value(), Hash64(it->key(), hash));
    any = true;
  }
  if (any) PutFixed64(out, hash);
  return absl::OkStatus();
}

}  // namespace raftkv
